"""deploy/nginx.conf, run by nginx itself between a client and the gateway: streams leave as they come."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.docs.blocks import ROOT
from tests.gateway.conftest import chunk
from tests.support.fake_upstream import STALL, FakeUpstream, sse
from tests.support.gateway_process import GatewayProcess, free_port

RECIPE = (ROOT / "deploy" / "nginx.conf").read_text()
NAME = "llm.example"
TIMEOUT = 10  # seconds, for each step that must come to pass

# What a distribution's nginx.conf has around the recipe, with every file in a folder of the test.
AROUND = """
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

GATEWAY = """
[server]
trusted_proxies = ["127.0.0.1"]
allowed_hosts = ["NAME"]

[providers.up]
kind = "openai"
base_url = "URL/v1"
api_key = "sk-upstream"

[models]
default = "up/m"
"""


@pytest.fixture
def nginx() -> str:
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip("nginx is not on this machine")
    return program


@pytest.fixture
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream(sse(chunk({"role": "assistant", "content": "Now"}), STALL)) as fake:
        yield fake


@pytest.fixture
def front(nginx: str, upstream: FakeUpstream, tmp_path: Path) -> Iterator[http.client.HTTPSConnection]:
    """A connection to nginx, as it is with the recipe in front of a gateway."""
    config = tmp_path / "dragoman.toml"
    config.write_text(GATEWAY.replace("NAME", NAME).replace("URL", upstream.url))
    authority = trustme.CA()
    port = free_port()
    with GatewayProcess(tmp_path, command=("dragoman", "serve", "--config", str(config))) as gateway:
        _write_nginx(tmp_path, authority, port, gateway.port)
        process = subprocess.Popen([nginx, "-p", tmp_path, "-e", tmp_path / "error.log", "-c", tmp_path / "nginx.conf"])
        try:
            _wait_for(port, tmp_path / "error.log")
            trust = ssl.create_default_context()
            authority.configure_trust(trust)
            with contextlib.closing(_Connection("127.0.0.1", port, context=trust, timeout=TIMEOUT)) as connection:
                yield connection
        finally:
            process.terminate()
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
    assert upstream.seen[0].peer_left is None


def test_a_client_that_leaves_ends_the_stream_behind_nginx(
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
    # The list of models may be asked for as well.
    assert max(len(seen.body) for seen in upstream.wait_for()) > 5_000_000


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


def _write_nginx(folder: Path, authority: trustme.CA, port: int, gateway_port: int) -> None:
    """The recipe with the ports and the certificate of this test in the place of its own."""
    certificate = authority.issue_cert(NAME)
    (folder / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    (folder / "key.pem").write_bytes(certificate.private_key_pem.bytes())
    own = {
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "server 127.0.0.1:8080": f"server 127.0.0.1:{gateway_port}",
        f"/etc/ssl/{NAME}.pem": f"{folder}/cert.pem",
        f"/etc/ssl/{NAME}.key": f"{folder}/key.pem",
    }
    recipe = RECIPE
    for theirs, ours in own.items():
        assert theirs in recipe
        recipe = recipe.replace(theirs, ours)
    (folder / "nginx.conf").write_text(AROUND.replace("RECIPE", recipe).replace("FOLDER", str(folder)))


def _wait_for(port: int, log: Path) -> None:
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise AssertionError(f"nginx does not listen; it said: {log.read_text()}")
