"""The worker in deploy/cloudflare, run by workerd itself, with a gateway of this machine as its container."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import pytest

from tests.docs.blocks import ROOT
from tests.support.answers import chunk
from tests.support.clock import wait_until
from tests.support.fake_upstream import STALL, FakeUpstream, sse
from tests.support.gateway_process import GatewayProcess

CLOUDFLARE = ROOT / "deploy" / "cloudflare"
PACKAGES = ("wrangler@4.86.0",)  # brings miniflare and workerd
CACHE = ROOT / ".cache" / "cloudflare"
KEY = "a-key-of-sixteen"
SECRETS = {"PROXY_API_KEY": KEY, "ANTHROPIC_API_KEY": "sk-ant-secret", "START_WAIT": "5", "UNRELATED": "x"}
CONFIG = """
[server]
api_keys = ["KEY"]
allowed_hosts = ["container"]
demo = true
# Between workerd and the client it shows only with the next bytes that the client has left.
ping_interval = 1

[providers.up]
kind = "openai"
base_url = "URL/v1"
api_key = "sk-upstream"
"""


@pytest.fixture(scope="session")
def installed() -> Path:
    """A folder with wrangler, miniflare and workerd."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("there is no npm")
    CACHE.mkdir(parents=True, exist_ok=True)
    if not (CACHE / "node_modules" / "miniflare").exists():
        command = [npm, "install", "--no-fund", "--no-audit", "--loglevel=error", "--prefix", str(CACHE), *PACKAGES]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        if done.returncode:
            pytest.skip(f"wrangler cannot be installed: {done.stderr.strip()[-300:]}")
    return CACHE


@pytest.fixture
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream(sse(chunk({"role": "assistant", "content": "Now"}), STALL)) as fake:
        yield fake


@pytest.fixture
def gateway(tmp_path: Path, upstream: FakeUpstream) -> Iterator[GatewayProcess]:
    config = tmp_path / "dragoman.toml"
    config.write_text(CONFIG.replace("KEY", KEY).replace("URL", upstream.url))
    config.chmod(0o600)
    with GatewayProcess(tmp_path, command=("dragoman", "serve", "--config", str(config))) as gateway:
        yield gateway


@contextmanager
def worker(installed: Path, gateway: GatewayProcess, **bindings: str) -> Iterator[str]:
    """The address of a worker with these secrets and variables."""
    script = Path(__file__).with_name("serve.mjs")
    told = json.dumps({name: value for name, value in (SECRETS | bindings).items() if value})
    process = subprocess.Popen(
        ["node", script, installed, CLOUDFLARE / "src" / "worker.js", str(gateway.port), told],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1"), url + process.stdout.read()
        yield url.rstrip("/")
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()


def ask(url: str, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, str], Any]:
    headers = {"x-api-key": KEY, "content-type": "application/json"} | {
        k.replace("_", "-"): v for k, v in headers.items()
    }
    request = urllib.request.Request(url + path, None if body is None else json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:
            return reply.status, dict(reply.headers), json.load(reply)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, {name.lower(): value for name, value in error.headers.items()}, json.load(error)


def hello(stream: bool = False) -> dict[str, Any]:
    turn = {"role": "user", "content": "Hello"}
    return {"model": "demo/demo", "max_tokens": 50, "stream": stream, "messages": [turn]}


def test_a_request_starts_the_container_with_the_secrets_and_is_answered(
    installed: Path, gateway: GatewayProcess
) -> None:
    with worker(installed, gateway) as url:
        status, _, answer = ask(url, "/v1/messages", hello())
        _, _, log = ask(url, "/test/log")

    assert status == 200
    assert "Hello" in answer["content"][-1]["text"]
    (started,) = log["starts"]
    assert started["enableInternet"] is True
    assert started["env"]["PROXY_API_KEY"] == KEY
    assert started["env"]["ANTHROPIC_API_KEY"] == "sk-ant-secret"
    assert "UNRELATED" not in started["env"]
    assert log["port"] == 8080


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/", "/claude/v1/models", "/ping"])
def test_every_path_is_handed_on(installed: Path, gateway: GatewayProcess, path: str) -> None:
    with worker(installed, gateway) as url:
        status, _, answer = ask(url, path)

    assert status in (200, 404)
    assert "starting" not in json.dumps(answer)


@pytest.mark.parametrize(("path", "kind"), [("/v1/messages", "overloaded_error"), ("/v1/responses", "server_error")])
def test_until_the_container_is_ready_the_answer_is_503_in_the_clients_dialect(
    installed: Path, gateway: GatewayProcess, path: str, kind: str
) -> None:
    with worker(installed, gateway, BOOT="60000", START_WAIT="0") as url:
        status, headers, answer = ask(url, path, hello())

    assert status == 503
    assert headers["retry-after"] == "5"
    assert answer["error"]["type"] == kind


def test_a_request_waits_for_a_container_that_is_quick_to_start(installed: Path, gateway: GatewayProcess) -> None:
    with worker(installed, gateway, BOOT="700") as url:
        status, _, _ = ask(url, "/v1/messages", hello())

    assert status == 200


def test_a_worker_without_a_client_key_serves_nobody(installed: Path, gateway: GatewayProcess) -> None:
    with worker(installed, gateway, PROXY_API_KEY="") as url:
        status, _, answer = ask(url, "/v1/messages", hello())
        _, _, log = ask(url, "/test/log")

    assert status == 500
    assert "wrangler secret put PROXY_API_KEY" in answer["error"]["message"]
    assert log["starts"] == []


def test_a_wrong_key_is_refused_by_the_gateway(installed: Path, gateway: GatewayProcess) -> None:
    with worker(installed, gateway) as url:
        status, _, _ = ask(url, "/v1/messages", hello(), x_api_key="another")

    assert status == 401


def test_events_pass_as_they_come_and_keep_the_container_awake(
    installed: Path, gateway: GatewayProcess, upstream: FakeUpstream
) -> None:
    with worker(installed, gateway, SLEEP_AFTER="0") as url:
        place = urlsplit(url)
        connection = HTTPConnection(str(place.hostname), place.port, timeout=20)
        body = json.dumps({"model": "up/m", "stream": True, "messages": [{"role": "user", "content": "Hello"}]})
        connection.request("POST", "/v1/chat/completions", body, {"x-api-key": KEY, "content-type": "application/json"})
        reply = connection.getresponse()
        said = b""
        while b"Now" not in said:
            part = reply.read1()
            assert part, said
            said += part
        _, _, meanwhile = ask(url, "/test/alarm")
        connection.close()
        upstream.wait_until_left(seconds=20)
        afterwards = wait_for_sleep(url)

    assert reply.status == 200
    assert meanwhile["signals"] == []
    assert afterwards["signals"] == [15]


def wait_for_sleep(url: str) -> dict[str, Any]:
    def look() -> dict[str, Any]:
        _, _, log = ask(url, "/test/alarm")
        return dict(log) if log["signals"] else {}

    return wait_until(look, 20, "going to sleep")


def test_a_container_that_sleeps_is_started_again_by_the_next_request(installed: Path, gateway: GatewayProcess) -> None:
    with worker(installed, gateway, SLEEP_AFTER="0") as url:
        ask(url, "/v1/messages", hello())
        wait_for_sleep(url)
        status, _, _ = ask(url, "/v1/messages", hello())
        _, _, log = ask(url, "/test/log")

    assert status == 200
    assert len(log["starts"]) == 2


def test_a_container_that_is_used_does_not_sleep(installed: Path, gateway: GatewayProcess) -> None:
    with worker(installed, gateway) as url:
        ask(url, "/v1/messages", hello())
        _, _, log = ask(url, "/test/alarm")

    assert log["signals"] == []


def test_a_session_stays_with_its_instance_and_sessions_are_spread(installed: Path, gateway: GatewayProcess) -> None:
    with worker(installed, gateway, INSTANCES="4") as url:
        placed = {
            session: {ask(url, "/test/log", session_id=session)[2]["id"] for _ in range(3)}
            for session in map(str, range(20))
        }

    assert all(len(places) == 1 for places in placed.values())
    assert len(set().union(*placed.values())) > 1


def test_many_requests_at_once_start_one_container(installed: Path, gateway: GatewayProcess) -> None:
    statuses: list[int] = []
    with worker(installed, gateway, BOOT="300") as url:
        threads = [
            threading.Thread(target=lambda: statuses.append(ask(url, "/v1/messages", hello())[0])) for _ in range(10)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        _, _, log = ask(url, "/test/log")

    assert statuses == [200] * 10
    assert len(log["starts"]) == 1


def read_settings() -> dict[str, Any]:
    text = (CLOUDFLARE / "wrangler.jsonc").read_text()
    settings: dict[str, Any] = json.loads(re.sub(r"^\s*//[^\n]*$", "", text, flags=re.MULTILINE))
    return settings


def test_the_settings_fit_the_schema_of_wrangler(installed: Path) -> None:
    schema = json.loads((installed / "node_modules" / "wrangler" / "config-schema.json").read_text())
    settings = read_settings()

    jsonschema.validate(settings, schema)
    assert (CLOUDFLARE / settings["main"]).is_file()
    (container,) = settings["containers"]
    assert (CLOUDFLARE / container["image"]).is_file()
    assert (CLOUDFLARE / container["image_build_context"]).resolve() == ROOT


def test_wrangler_bundles_the_worker(installed: Path, tmp_path: Path) -> None:
    settings = read_settings()
    # Without the container, which would be built by docker.
    del settings["containers"]
    settings["main"] = str(CLOUDFLARE / settings["main"])
    (tmp_path / "wrangler.json").write_text(json.dumps(settings))

    done = subprocess.run(
        [installed / "node_modules" / ".bin" / "wrangler", "deploy", "--dry-run", "--outdir", tmp_path / "out"],
        cwd=tmp_path,
        env=os.environ | {"HOME": str(tmp_path), "WRANGLER_SEND_METRICS": "false", "CI": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    exported = re.search(r"export \{([^}]{1,200})\}", (tmp_path / "out" / "worker.js").read_text())
    assert exported is not None
    assert {"Gateway", "worker_default as default"} <= {name.strip() for name in exported[1].split(",")}


NESTED = {"claudeAiOauth": {"accessToken": "sk-ant-oat-SECRET", "refreshToken": "sk-ant-ort-SECRET", "expiresAt": 1}}


@pytest.mark.parametrize("login", [NESTED, {"accessToken": "sk-ant-oat-SECRET"}], ids=["nested", "flat"])
def test_a_login_goes_to_the_secret_and_nowhere_else(login: dict[str, Any], tmp_path: Path) -> None:
    done, put = update(json.dumps(login), tmp_path)

    assert done.returncode == 0, done.stderr
    assert json.loads(put) == login
    assert "SECRET" not in done.stdout + done.stderr
    assert (tmp_path / "words").read_text().split() == ["secret", "put", "CLAUDE_OAUTH_CREDS"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no json", "no JSON"),
        ("{}", "no access token"),
        ('{"accessToken": ""}', "no access token"),
        ('{"accessToken": "sk-SECRET", "expiresAt": 1}', "has ended"),
        (None, "cannot be read"),
    ],
)
def test_what_is_no_login_is_refused_and_nothing_is_put(text: str | None, said: str, tmp_path: Path) -> None:
    done, put = update(text, tmp_path)

    assert done.returncode == 1
    assert said in done.stderr
    assert put == ""
    assert "SECRET" not in done.stdout + done.stderr


def update(text: str | None, folder: Path) -> tuple[subprocess.CompletedProcess[str], str]:
    """Runs update-creds.js with a stand-in of wrangler; what it said, and what it put."""
    if shutil.which("node") is None:
        pytest.skip("there is no node")
    login, put = folder / "login.json", folder / "put"
    if text is not None:
        login.write_text(text)
    wrangler = folder / "wrangler"
    wrangler.write_text(f'#!/bin/sh\necho "$@" > {folder}/words\ncat > {put}\n')
    wrangler.chmod(0o755)
    done = subprocess.run(
        ["node", CLOUDFLARE / "update-creds.js", login],
        env=os.environ | {"WRANGLER": str(wrangler)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done, put.read_text() if put.exists() else ""
