"""Several hosts, which are several processes here, with one Postgres and one Redis; and what is asked of them."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.answers import chat_answer
from tests.support.fake_upstream import FakeUpstream, Reply, Seen, json_reply
from tests.support.gateway_process import GatewayProcess

ADMIN = "dm-admin-0123456789"


class CountingUpstream(FakeUpstream):
    """It counts what it is asked at a time, by model, and the tokens that it says it used; each answer costs others."""

    def __init__(self, seconds: float = 0.05) -> None:
        super().__init__()
        self.seconds = seconds
        self.under_way: Counter[str] = Counter()
        self.maximum: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        self.tokens: Counter[str] = Counter()
        self._counting = threading.Lock()

    def _answer(self, sock: socket.socket, request: Seen, reply: Reply) -> bool:
        if request.method != "POST":
            return super()._answer(sock, request, json_reply({"data": []}))
        model = request.json()["model"]
        with self._counting:
            self.under_way[model] += 1
            self.maximum[model] = max(self.maximum[model], self.under_way[model])
            self.maximum[""] = max(self.maximum[""], self.under_way.total())
        time.sleep(self.seconds)
        with self._counting:
            self.under_way[model] -= 1
            self.answers[model] += 1
            prompt, completion = 10 + self.answers.total() % 7, 3 + self.answers.total() % 5
            self.tokens[model] += prompt + completion
        return super()._answer(sock, request, json_reply(answer(model, prompt, completion)))


def answer(model: str, prompt: int, completion: int) -> dict[str, Any]:
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return chat_answer("ok", model=model, usage=usage)


def configure(folder: Path, upstream: FakeUpstream, *tables: str, provider: str = "") -> Path:
    """A folder for one host, with `dragoman.toml`."""
    folder.mkdir()
    head = f"""
[server]
workers = 2
[providers.up]
kind = "openai"
base_url = "{upstream.url}/v1"
api_key = "sk-up"
{provider}
[keys.admin]
key = "{ADMIN}"
role = "admin"
"""
    (folder / "dragoman.toml").write_text("\n".join([head, *tables]))
    return folder


@contextlib.contextmanager
def both(one: Path, two: Path) -> Iterator[tuple[GatewayProcess, GatewayProcess]]:
    """Two hosts that start at the same time."""
    with contextlib.ExitStack() as stack:
        first, second = GatewayProcess(one), GatewayProcess(two)
        for gateway in (first, second):
            stack.push(gateway)
        for gateway in (first, second):
            gateway.__enter__()
        yield first, second


def ask(url: str, key: str, model: str = "m", timeout: float = 60) -> int:
    """The status of a chat with `up/<model>`; 0 where there was no answer at all."""
    body = json.dumps({"model": f"up/{model}", "messages": [{"role": "user", "content": "hi"}]}).encode()
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    request = urllib.request.Request(f"{url}/v1/chat/completions", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as reply:
            reply.read()
            return int(reply.status)
    except urllib.error.HTTPError as error:
        error.read()
        error.close()
        return error.code
    except (OSError, http.client.HTTPException):
        return 0


def get(gateway: GatewayProcess, path: str) -> Any:
    request = urllib.request.Request(f"{gateway.url}{path}", headers={"x-api-key": ADMIN})
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.load(reply)


def read_metric(gateway: GatewayProcess, name: str) -> float:
    """The sum of a metric over its labels; 0 where there is none."""
    request = urllib.request.Request(f"{gateway.url}/metrics", headers={"x-api-key": ADMIN})
    with urllib.request.urlopen(request, timeout=30) as reply:
        lines = reply.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))
