"""Two hosts, which are two processes here, with the limits of keys in one Redis."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.fake_upstream import FakeUpstream, json_reply
from tests.support.gateway_process import GatewayProcess

KEYS = [f"dm-team-member-{number:04}" for number in range(10)]
MOST_REQUESTS, CLIENTS = 9, 200
ANSWER = {
    "id": "c1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
}


def ask(url: str, key: str) -> int:
    body = json.dumps({"model": "up/m", "messages": [{"role": "user", "content": "hi"}]}).encode()
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    request = urllib.request.Request(f"{url}/v1/chat/completions", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def reasons(gateway: GatewayProcess) -> str:
    request = urllib.request.Request(f"{gateway.url}/health", headers={"x-api-key": KEYS[0]})
    with urllib.request.urlopen(request, timeout=10) as reply:
        return str(json.load(reply).get("reasons"))


def test_ten_keys_on_two_hosts_stay_within_their_limits_and_go_on_without_redis(tmp_path: Path) -> None:
    if shutil.which("redis-server") is None:
        pytest.skip("needs Debian's redis-server")
    pytest.importorskip("redis", reason="needs the extra redis")
    socket = tmp_path / "redis.sock"
    server = subprocess.Popen(
        ["redis-server", "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(tmp_path)],
        stdout=subprocess.DEVNULL,
    )
    try:
        with FakeUpstream(json_reply(ANSWER)) as upstream:
            for name in ("one", "two"):
                (tmp_path / name).mkdir()
                keys = [
                    f'[keys.k{number}]\nkey = "{key}"\nrequests_per_hour = {MOST_REQUESTS}'
                    for number, key in enumerate(KEYS)
                ]
                provider = f'[providers.up]\nkind = "openai"\nbase_url = "{upstream.url}/v1"\napi_key = "sk-up"'
                shared = f'[server]\nworkers = 2\n[shared]\nredis = "unix://{socket}"'
                (tmp_path / name / "dragoman.toml").write_text("\n".join([shared, provider, *keys]))
            with GatewayProcess(tmp_path / "one") as one, GatewayProcess(tmp_path / "two") as two:
                hosts = [one, two]
                asked = [(hosts[number % 2].url, KEYS[number // 2 % 10]) for number in range(400)]
                with ThreadPoolExecutor(CLIENTS) as clients:
                    answers = Counter(clients.map(lambda each: ask(*each), asked))
                server.kill()
                server.wait()
                alone = ask(one.url, KEYS[0])
                _await_reason(one)
    finally:
        server.kill()
        server.wait()

    assert answers == {200: MOST_REQUESTS * len(KEYS), 429: 400 - MOST_REQUESTS * len(KEYS)}
    assert len(upstream.seen) == MOST_REQUESTS * len(KEYS) + (alone == 200)
    assert alone == 200


def _await_reason(gateway: GatewayProcess) -> None:
    """Each of both workers says what it has noticed, and chance chooses between them."""
    deadline = time.monotonic() + 20
    while "each host counts alone" not in reasons(gateway):
        assert time.monotonic() < deadline
        time.sleep(0.1)
