"""The gateway in this process, between a WSGI client and scripted upstreams."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from app import create_app
from app.accounts.record import RequestRecord
from app.application import Application
from app.logs import request_log
from app.settings import LedgerSettings, ModelsSettings, ProviderSettings, ServerSettings, Settings
from tests.support.fake_upstream import FakeUpstream


class Client:
    """A client of one gateway. `ask` posts a body and gives back the whole answer."""

    def __init__(self, app: Application) -> None:
        self.app = app
        self.http = app.test_client()

    def ask(self, path: str, body: dict[str, Any] | bytes, **headers: str) -> TestResponse:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.post(path, data=data, headers={"content-type": "application/json", **named})

    def chat(self, model: str = "chat/m", **more: Any) -> TestResponse:
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}], **more}
        return self.ask("/v1/chat/completions", body)

    def message(self, model: str = "chat/m", **more: Any) -> TestResponse:
        body = {"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}], **more}
        return self.ask("/v1/messages", body, anthropic_version="2023-06-01")


class Collector:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.records: list[RequestRecord] = []

    def take(self, taken: Iterable[RequestRecord]) -> None:
        self.records.extend(taken)


def listen(client: Client) -> list[RequestRecord]:
    """What the gateway records from now on."""
    collector = Collector()
    client.app.runtime.recorder.sinks = (collector,)
    return collector.records


MakeClient = Callable[..., Client]


@pytest.fixture(autouse=True)
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What outlives a request lies here, not in the user's own folder."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    return tmp_path / "dragoman"


@pytest.fixture
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream() as fake:
        yield fake


@pytest.fixture
def make_client(upstream: FakeUpstream) -> Iterator[MakeClient]:
    """make_client(models={…}, server={…}, chat={…}): a client of a gateway whose providers all lead to `upstream`; None
    leaves one of the usual two out."""

    made: list[Client] = []

    def make(models: Any = None, server: Any = None, ledger: Any = None, **providers: dict[str, Any] | None) -> Client:
        tables: dict[str, dict[str, Any]] = {
            "chat": {"kind": "openai", "base_url": f"{upstream.url}/v1", "api_key": "sk-upstream"},
            "messages": {"kind": "anthropic", "base_url": upstream.url, "api_key": "sk-upstream"},
        }
        for name, more in providers.items():
            if more is None:
                del tables[name]
            else:
                tables[name] = tables.get(name, {}) | more
        client = Client(
            create_app(
                Settings(
                    server=ServerSettings(**(server or {})),
                    providers={name: ProviderSettings(**table) for name, table in tables.items()},
                    models=ModelsSettings(**(models or {})),
                    ledger=LedgerSettings(**(ledger or {})),
                )
            )
        )
        made.append(client)
        return client

    yield make
    for client in made:
        client.app.runtime.services.transport.close()


@pytest.fixture
def client(make_client: MakeClient) -> Client:
    return make_client()


@pytest.fixture
def log_lines() -> Iterator[Callable[[], list[Any]]]:
    """What the log got of requests so far."""
    file = io.BytesIO()
    request_log.open(file, as_json=True)

    def read() -> list[Any]:
        request_log.flush()
        return [json.loads(line) for line in file.getvalue().splitlines()]

    yield read
    request_log.close()


def events_of(response: TestResponse) -> list[Any]:
    """The decoded `data` payloads of an answered stream."""
    payloads = [line[6:] for line in response.text.splitlines() if line.startswith("data: ")]
    return [json.loads(payload) if payload != "[DONE]" else payload for payload in payloads]
