"""A gateway with pages, and somebody who looks at them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import Client, TestResponse

from app import create_app
from app.accounts.record import RequestRecord
from app.application import Application
from app.dashboard import sign_in, tickets
from app.settings import KeySettings, ModelsSettings, ProviderSettings, ServerSettings, Settings

SECRET = "sk-planted\"'<&>secret-0123456789"
SCRIPT = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\u202e"

MakeApp = Callable[..., Application]


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    sign_in._tries.clear()


@pytest.fixture
def make_app() -> Iterator[MakeApp]:
    made: list[Application] = []

    def make(
        server: dict[str, Any] | None = None,
        *records: RequestRecord,
        keys: dict[str, KeySettings] | None = None,
        base_url: str = "http://127.0.0.1:9",
        demo: bool = False,
    ) -> Application:
        settings = Settings(
            server=ServerSettings(**(server or {})),
            providers={
                "up": ProviderSettings(kind="openai", base_url=f"{base_url}/v1", api_key=SECRET, models=("m", SCRIPT)),
                **({"demo": ProviderSettings(kind="demo")} if demo else {}),
            },
            models=ModelsSettings(default="up/m"),
            keys=keys or {},
        )
        app = create_app(settings)
        made.append(app)
        app.runtime.watch()
        # They would run in threads of their own here, beside the test; where their work is wanted it is called.
        for loop in app.runtime.loops:
            loop.stop()
        assert app.runtime.accounts is not None
        for each in records:
            app.runtime.accounts.accounts.take([each])
        app.runtime.recorder.hand_out()
        app.runtime.accounts.flush()
        return app

    yield make
    for app in made:
        app.runtime.finish(1)
        app.runtime.services.transport.close()


def enter(app: Application) -> Client:
    client = app.test_client()
    answer = client.get("/_/enter", query_string={"token": tickets.issue_ticket()})
    assert answer.status_code == 303
    return client


def sign_with(app: Application, key: str) -> tuple[Client, TestResponse]:
    client = app.test_client()
    found = re.search(r'name="csrf" value="(\w+)"', client.get("/_/sign-in").text)
    assert found is not None
    return client, client.post("/_/sign-in", data={"csrf": found[1], "key": key})


def read_mark(client: Client) -> str:
    """What the forms of a visitor carry."""
    found = re.search(r'name="csrf" value="(\w+)"', client.get("/_/models").text)
    assert found is not None
    return found[1]
