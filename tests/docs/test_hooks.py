"""The hooks of docs/hooks.md are found by their entry points, and do what they say."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app import create_app
from app.accounts.record import RequestRecord
from app.gateway.recording.hooks import load_hooks
from app.settings import load_settings
from tests.accounts.records import record
from tests.docs.blocks import ROOT, blocks
from tests.support.answers import chat_answer
from tests.support.fake_upstream import FakeUpstream, Reply, json_reply

DOCUMENT = ROOT / "docs" / "hooks.md"
MODULES = ("mail_masking", "exporting")
ANSWER = chat_answer("Hi.")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package of the document as pip would have installed it."""
    (setup,) = blocks(DOCUMENT, "ini")
    _, group, *entries = setup.splitlines()
    about = tmp_path / "my_hooks-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: my-hooks\nVersion: 1.0\n")
    lines = "\n".join(entry.strip() for entry in entries)
    (about / "entry_points.txt").write_text(f"[{group.removesuffix(' =')}]\n{lines}\n")
    for module, text in zip(MODULES, blocks(DOCUMENT, "python"), strict=True):
        (tmp_path / f"{module}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for module in MODULES:
        sys.modules.pop(module, None)


def test_the_masking_hook_masks(installed: None, tmp_path: Path) -> None:
    (table,) = blocks(DOCUMENT, "toml")
    config = tmp_path / "dragoman.toml"
    with FakeUpstream(json_reply(ANSWER)) as server:
        config.write_text(
            f'{table}\n[providers.up]\nkind = "openai"\nbase_url = "{server.url}"\napi_key = "none-here"\n'
        )
        app = create_app(load_settings(config, {"HOME": str(tmp_path)}, {}))
        said = "write to ann.lee+x@mail.example.org, please"
        body = {"model": "up/m", "messages": [{"role": "user", "content": said}]}

        answer = app.test_client().post("/v1/chat/completions", json=body)
        app.runtime.services.transport.close()

    assert answer.status_code == 200
    assert server.seen[0].json()["messages"][0]["content"] == "write to [mail], please"
    assert app.runtime.observers.hooks.names == ("mask-mail",)


def test_the_exporting_hook_exports(installed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeUpstream(Reply(framing="length")) as server:
        hooks = load_hooks(off=["mask-mail"])
        exporting = sys.modules["exporting"]
        monkeypatch.setattr(exporting.Export, "url", server.url)
        whole: RequestRecord = record(1)

        hooks.take([whole])
        hooks.hand_out()

    sent = server.seen[0].json()
    assert (sent["id"], sent["sessionId"], sent["model"]) == (whole.id, "5e1a", "oca/gpt-4.1")
    assert sent["usage"]["cache_read"] == 4000
    assert hooks.failures == {"export": 0}
