"""Credentials in the running server: many workers on one login, files replaced under load, and no secret told."""

from __future__ import annotations

import http.client
import json
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.credentials.issuer import Issuer, Reply, make_jwt
from tests.credentials.logins import LoginFile
from tests.support.answers import chat_stream
from tests.support.fake_upstream import FakeUpstream, json_reply
from tests.support.fake_upstream import Reply as UpstreamReply
from tests.support.gateway_process import BIN, GatewayProcess, bare_environ


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    issuer = Issuer("oca")
    yield issuer
    issuer.stop()


def write_settings(folder: Path, login: LoginFile, upstream: FakeUpstream, server: str) -> None:
    # `models` keeps the catalogue of the upstream out of the count.
    (folder / "dragoman.toml").write_text(
        f"""
        [server]
        {server}
        [providers.oca]
        base_url = "{upstream.url}"
        idcs_url = "{login.issuer.url}"
        token_file = "{login.path}"
        models = ["oca/m"]
        """
    )


def ask(gateway: GatewayProcess, model: str = "oca/m", **headers: str) -> tuple[int, str]:
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "hi"}]})
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=60)
    try:
        connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json", **headers})
        reply = connection.getresponse()
        return reply.status, reply.read().decode()
    finally:
        connection.close()


def test_eight_workers_with_four_hundred_requests_refresh_once(tmp_path: Path, issuer: Issuer) -> None:
    # The stand-in accepts each refresh token once, so that a second refresh would be seen.
    issuer.delay = 0.5
    login = LoginFile("oca", tmp_path, issuer)
    with FakeUpstream(chat_stream("hello")) as upstream:
        write_settings(tmp_path, login, upstream, "workers = 8")
        with GatewayProcess(tmp_path, XDG_RUNTIME_DIR=str(tmp_path)) as gateway, ThreadPoolExecutor(400) as pool:
            answers = list(pool.map(lambda _: ask(gateway), range(400)))

        shown = {seen.headers["authorization"] for seen in upstream.seen if seen.path.endswith("/chat/completions")}

    assert Counter(status for status, _ in answers) == {200: 400}
    assert issuer.uses == ["refresh-secret-0"]
    assert shown <= {f"Bearer {token}" for token in issuer.live}


def test_a_token_file_that_is_replaced_a_thousand_times_fails_no_request(tmp_path: Path, issuer: Issuer) -> None:
    login = LoginFile("oca", tmp_path, issuer, left=3600)
    done = threading.Event()
    statuses: Counter[int] = Counter()
    errors: list[str] = []

    def keep_asking() -> None:
        while not done.is_set():
            status, text = ask(gateway)
            statuses[status] += 1
            if status != 200:
                errors.append(text)

    def replace(number: int) -> None:
        """By rename, in place, and in place with a moment in which half of it is there."""
        text = json.dumps(login.document(make_jwt(3600, number=number), None, 3600))
        if number % 3 == 0:
            login.write(make_jwt(3600, number=number), None)
        elif number % 3 == 1:
            login.path.write_text(text)
        else:
            login.path.write_text(text[:40])
            time.sleep(0.002)
            login.path.write_text(text)

    with FakeUpstream(chat_stream("hello")) as upstream:
        write_settings(tmp_path, login, upstream, "workers = 2")
        with GatewayProcess(tmp_path, XDG_RUNTIME_DIR=str(tmp_path)) as gateway:
            askers = [threading.Thread(target=keep_asking) for _ in range(4)]
            for asker in askers:
                asker.start()
            for number in range(1000):
                replace(number)
                time.sleep(0.003)
            done.set()
            for asker in askers:
                asker.join()

    assert errors == []
    assert statuses[200] > 100
    assert issuer.uses == []


# ---- secrets

CLIENT_KEY = "planted-client-key"
PROVIDER_KEY = "planted-provider-key"


def read(url: str, **headers: str) -> str:
    """Whatever is answered, headers included."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20) as reply:
            return f"{reply.headers}{reply.read().decode()}"
    except urllib.error.HTTPError as error:
        with error:
            return f"{error.headers}{error.read().decode()}"


def test_no_secret_is_in_anything_that_the_program_writes(tmp_path: Path, issuer: Issuer) -> None:
    """Everything fails in turn, at the most talkative log level, with upstreams that echo what they were sent."""
    login = LoginFile("oca", tmp_path, issuer, left=7200)
    planted = [*login.pair, CLIENT_KEY, PROVIDER_KEY, "code-planted", "code-secret"]
    said: list[str] = []
    issuer.hook = lambda token: echo_of(token) if len(issuer.uses) > 1 else None
    oca = FakeUpstream(refusal(login.pair[0]), chat_stream("hello"), refusal("it"))
    with oca as upstream, FakeUpstream(refusal(PROVIDER_KEY)) as other:
        write_settings(tmp_path, login, upstream, f'api_keys = ["{CLIENT_KEY}"]\nlog_level = "debug"')
        with (tmp_path / "dragoman.toml").open("a") as settings:
            settings.write(f'[providers.key]\nkind = "anthropic"\napi_key = "{PROVIDER_KEY}"\nbase_url = "{other.url}"')
        with GatewayProcess(tmp_path, XDG_RUNTIME_DIR=str(tmp_path)) as gateway:
            for headers in ({}, {"authorization": f"Bearer {CLIENT_KEY}"}, {"x-api-key": f"{CLIENT_KEY}-wrong"}):
                said += [ask(gateway, model, **headers)[1] for model in ("oca/m", "oca/m", "key/m")]
                for path in ("/health", "/v1/models", "/login", "/logout", "/callback?code=code-planted&state=s", "/x"):
                    said.append(read(gateway.url + path, **headers))
            planted += issuer.live | {issuer.newest}
            login.path.write_text('{"half": "' + login.pair[1])
            said.append(ask(gateway, authorization=f"Bearer {CLIENT_KEY}")[1])
            for command in ("status", "config list", "logout", "status"):
                said.append(run(tmp_path, *command.split()))
            (tmp_path / "dragoman.toml").write_text(f'[server]\napi_keys = "{CLIENT_KEY}\nport = {{')
            time.sleep(2.5)
            said.append(read(f"{gateway.url}/health", authorization=f"Bearer {CLIENT_KEY}"))
            said.append(gateway.log.read_text())

    # A renewal, and a login: `read` follows to the issuer and back.
    assert len(issuer.live) == 2
    assert "upstream key rejected its credentials" in "".join(said)
    assert "Oracle error: 401: it is no good" in "".join(said)
    assert [secret for secret in planted for text in said if secret in text] == []


def echo_of(token: str) -> Reply:
    return 400, {"error": "invalid_grant", "error_description": f"{token} is not known"}, {}


def refusal(token: str) -> UpstreamReply:
    return json_reply({"error": {"message": f"{token} is no good", "type": "auth_error"}}, 401)


def run(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [BIN / "dragoman", *arguments],
        cwd=folder,
        env=bare_environ(folder / "home", XDG_RUNTIME_DIR=str(folder)),
        capture_output=True,
        text=True,
        timeout=30,
    )
    return done.stdout + done.stderr
