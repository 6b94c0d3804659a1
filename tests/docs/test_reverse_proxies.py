"""The recipes in deploy/ for reverse proxies, each run by its own program between a client and the gateway: streams
leave as they come."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
import trustme

from tests.docs.blocks import ROOT
from tests.support.answers import chunk
from tests.support.fake_upstream import STALL, FakeUpstream, sse
from tests.support.gateway_process import BIN, GatewayProcess, free_port

NAME = "llm.example"
TIMEOUT = 10  # seconds, for each step that must come to pass
PROGRAMS = f"{BIN}:{os.environ['PATH']}:/usr/sbin:/usr/local/sbin"

# What a distribution's own settings have around the recipe, with every file in a folder of the test.
AROUND_NGINX = """
daemon off;
worker_processes 1;
pid FOLDER/nginx.pid;
error_log FOLDER/error.log;
events {}
http {
    access_log off;
    client_body_temp_path FOLDER/body;
    proxy_temp_path FOLDER/proxy;
    fastcgi_temp_path FOLDER/fastcgi;
    uwsgi_temp_path FOLDER/uwsgi;
    scgi_temp_path FOLDER/scgi;
RECIPE
}
"""
AROUND_CADDY = """
{
	admin off
	auto_https disable_redirects
	storage file_system FOLDER/caddy
}
RECIPE
"""
AROUND_APACHE = """
ServerRoot /usr/lib/apache2
DefaultRuntimeDir FOLDER
PidFile FOLDER/apache.pid
ErrorLog FOLDER/error.log
ServerName localhost
LoadModule mpm_event_module modules/mod_mpm_event.so
LoadModule authz_core_module modules/mod_authz_core.so
LoadModule ssl_module modules/mod_ssl.so
LoadModule headers_module modules/mod_headers.so
LoadModule proxy_module modules/mod_proxy.so
LoadModule proxy_http_module modules/mod_proxy_http.so
Listen 127.0.0.1:PORT
RECIPE
"""
AROUND_TRAEFIK = """
entryPoints:
  websecure:
    address: 127.0.0.1:PORT
    transport:
      respondingTimeouts:
        readTimeout: 0
providers:
  file:
    filename: FOLDER/recipe.yaml
"""
CERTIFICATES_OF_TRAEFIK = """
tls:
  certificates:
    - certFile: FOLDER/cert.pem
      keyFile: FOLDER/key.pem
"""


class Proxy(msgspec.Struct, frozen=True):
    """A program, its recipe, what of the recipe is changed for the test, and how it is started."""

    program: str
    recipe: str
    own: dict[str, str]
    around: str
    command: Callable[[str, Path], list[str]]
    after: str = ""

    def write(self, folder: Path, port: int, gateway_port: int) -> None:
        """The recipe with the ports and the certificate of this test in the place of its own."""
        recipe = (ROOT / "deploy" / self.recipe).read_text() + self.after
        for theirs, ours in self.own.items():
            assert theirs in recipe
            recipe = recipe.replace(theirs, ours)
        for file, text in (("recipe.yaml", recipe), ("settings.yaml", self.around.replace("RECIPE", recipe))):
            for word, value in (("FOLDER", str(folder)), ("GATEWAY", str(gateway_port)), ("PORT", str(port))):
                text = text.replace(word, value)
            (folder / file).write_text(text)


CERTIFICATE = {f"/etc/ssl/{NAME}.pem": "FOLDER/cert.pem", f"/etc/ssl/{NAME}.key": "FOLDER/key.pem"}
PROXIES = {
    "nginx": Proxy(
        "nginx",
        "nginx.conf",
        {
            "listen 443 ssl": "listen 127.0.0.1:PORT ssl",
            "server 127.0.0.1:8080": "server 127.0.0.1:GATEWAY",
            **CERTIFICATE,
        },
        AROUND_NGINX,
        lambda program, folder: [
            program,
            "-p",
            f"{folder}",
            "-e",
            f"{folder}/error.log",
            "-c",
            f"{folder}/settings.yaml",
        ],
    ),
    "caddy": Proxy(
        "caddy",
        "Caddyfile",
        {
            f"\n{NAME} {{": f"\nhttps://{NAME}:PORT {{\n\tbind 127.0.0.1\n\ttls FOLDER/cert.pem FOLDER/key.pem",
            "127.0.0.1:8080": "127.0.0.1:GATEWAY",
        },
        AROUND_CADDY,
        lambda program, folder: [program, "run", "--adapter", "caddyfile", "--config", f"{folder}/settings.yaml"],
    ),
    "apache": Proxy(
        "apache2",
        "apache.conf",
        {"*:443": "127.0.0.1:PORT", "127.0.0.1:8080": "127.0.0.1:GATEWAY", **CERTIFICATE},
        AROUND_APACHE,
        lambda program, folder: [program, "-D", "FOREGROUND", "-f", f"{folder}/settings.yaml"],
    ),
    "traefik": Proxy(
        "traefik",
        "traefik.yaml",
        {"127.0.0.1:8080": "127.0.0.1:GATEWAY"},
        AROUND_TRAEFIK,
        lambda program, folder: [program, f"--configFile={folder}/settings.yaml"],
        CERTIFICATES_OF_TRAEFIK,
    ),
}

GATEWAY = """
[server]
trusted_proxies = ["127.0.0.1"]
allowed_hosts = ["NAME"]
root_path = "/llm"
# Some proxies notice that a client has left when they next have something to send it.
ping_interval = 1

[providers.up]
kind = "openai"
base_url = "URL/v1"
api_key = "sk-upstream"

[models]
default = "up/m"
"""


@pytest.fixture
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream(sse(chunk({"role": "assistant", "content": "Now"}), STALL)) as fake:
        yield fake


@pytest.fixture(params=PROXIES.values(), ids=PROXIES)
def front(
    request: pytest.FixtureRequest, upstream: FakeUpstream, tmp_path: Path
) -> Iterator[http.client.HTTPSConnection]:
    """A connection to a proxy, as it is with its recipe in front of a gateway."""
    proxy: Proxy = request.param
    program = shutil.which(proxy.program, path=PROGRAMS)
    if program is None:
        pytest.skip(f"{proxy.program} is not on this machine")
    config = tmp_path / "dragoman.toml"
    config.write_text(GATEWAY.replace("NAME", NAME).replace("URL", upstream.url))
    config.chmod(0o600)
    authority = trustme.CA()
    certificate = authority.issue_cert(NAME)
    (tmp_path / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    (tmp_path / "key.pem").write_bytes(certificate.private_key_pem.bytes())
    port = free_port()
    with GatewayProcess(tmp_path, command=("dragoman", "serve", "--config", str(config))) as gateway:
        proxy.write(tmp_path, port, gateway.port)
        said = tmp_path / "proxy.log"
        with said.open("w") as log:
            command = proxy.command(program, tmp_path)
            environ = os.environ | {"HOME": str(tmp_path)}
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environ, start_new_session=True)
        try:
            trust = ssl.create_default_context()
            authority.configure_trust(trust)
            with contextlib.closing(_Connection("127.0.0.1", port, context=trust, timeout=TIMEOUT)) as connection:
                _wait_for(connection, process, said)
                yield connection
        finally:
            # What is told to end waits for its streams; workers of a proxy that is killed outlive it.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(TIMEOUT)


class _Connection(http.client.HTTPSConnection):
    """Reaches the address that it is given, by the name on the certificate."""

    def connect(self) -> None:
        plain = socket.create_connection((self.host, self.port), self.timeout)
        self.sock = self._context.wrap_socket(plain, server_hostname=NAME)


def test_an_event_passes_while_the_stream_behind_it_is_silent(
    front: http.client.HTTPSConnection, upstream: FakeUpstream
) -> None:
    _ask(front)

    answer = front.getresponse()
    said = _read_until(answer, b"Now")

    assert answer.status == 200
    assert b"[DONE]" not in said
    assert upstream.seen[-1].peer_left is None


def test_a_client_that_leaves_ends_the_stream_behind_the_proxy(
    front: http.client.HTTPSConnection, upstream: FakeUpstream
) -> None:
    _ask(front)
    _read_until(front.getresponse(), b"Now")

    front.close()

    upstream.wait_until_left(seconds=TIMEOUT)


def test_the_name_and_the_size_of_a_request_come_through(
    front: http.client.HTTPSConnection, upstream: FakeUpstream
) -> None:
    _ask(front, padding=5_000_000)

    answer = front.getresponse()

    assert answer.status == 200
    (sent,) = [each for each in upstream.wait_for() if each.method == "POST"]
    assert len(sent.body) > 5_000_000


def test_a_page_below_a_path_of_its_own_leads_only_below_it(front: http.client.HTTPSConnection) -> None:
    front.request("GET", "/llm", headers={"host": NAME, "accept": "text/html"})
    led = front.getresponse()
    led.read()
    front.request("GET", "/llm/v1/models", headers={"host": NAME})
    listed = front.getresponse()

    assert (led.status, led.headers["location"]) == (303, "/llm/_/")
    assert listed.status == 200
    assert json.load(listed)["object"] == "list"


def _ask(front: http.client.HTTPSConnection, padding: int = 0) -> None:
    turn = {"role": "user", "content": "Hello" + "." * padding}
    body = json.dumps({"model": "any", "stream": True, "messages": [turn]})
    front.request("POST", "/v1/chat/completions", body, {"host": NAME, "content-type": "application/json"})


def _read_until(answer: http.client.HTTPResponse, wanted: bytes) -> bytes:
    """What came until `wanted` was among it; the connection's time limit ends the wait."""
    said = b""
    while wanted not in said:
        part = answer.read1()
        assert part, f"the answer ended with {said!r}"
        said += part
    return said


def _wait_for(front: http.client.HTTPSConnection, process: subprocess.Popen[bytes], said: Path) -> None:
    """A proxy may listen before it has read its recipe and knows its certificate."""
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError):
            front.connect()
            return
        time.sleep(0.02)
    raise AssertionError(f"the proxy does not listen; it said: {said.read_text()}")
