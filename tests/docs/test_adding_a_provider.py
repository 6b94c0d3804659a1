"""The provider of docs/adding-a-provider.md is found by its entry point, and serves a request as it says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from flask.testing import FlaskClient

from app import create_app
from app.settings import load_settings
from tests.docs.blocks import ROOT, blocks
from tests.support.answers import chat_answer
from tests.support.fake_upstream import FakeUpstream, json_reply

DOCUMENT = ROOT / "docs" / "adding-a-provider.md"
SAMPLE = Path(__file__).parent / "sample"
ANSWER = chat_answer("Beep.", model="roadrunner-1")


class Acme(NamedTuple):
    """A gateway with the provider, and the server that it leads to."""

    client: FlaskClient
    server: FakeUpstream


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sample as pip would have installed it: the module, and the package's entry points beside it."""
    (setup,) = blocks(DOCUMENT, "ini")
    _, group, entry = setup.splitlines()
    about = tmp_path / "acme_dragoman-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-dragoman\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[{group.removesuffix(' =')}]\n{entry.strip()}\n")
    monkeypatch.syspath_prepend(str(SAMPLE))
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.fixture
def acme(installed: None, tmp_path: Path) -> Iterator[Acme]:
    (table,) = blocks(DOCUMENT, "toml")
    config = tmp_path / "dragoman.toml"
    with FakeUpstream(json_reply(ANSWER)) as server:
        config.write_text(table.replace("\n[models]", f'base_url = "{server.url}"\n\n[models]'))
        app = create_app(load_settings(config, {"HOME": str(tmp_path), "ACME_KEY": "key-of-acme"}, {}))
        yield Acme(app.test_client(), server)
        app.runtime.services.transport.close()


def test_the_document_shows_the_sample() -> None:
    assert blocks(DOCUMENT, "python") == [(SAMPLE / "acme_dragoman.py").read_text()]


def test_a_provider_of_another_package_serves_a_client_of_another_dialect(acme: Acme) -> None:
    body = {"model": "any", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]}

    answer = acme.client.post("/v1/messages", json=body)

    (seen,) = acme.server.seen
    assert answer.get_json()["content"] == [{"type": "text", "text": "Beep."}]
    assert (seen.path, seen.json()["model"]) == ("/chat/completions", "roadrunner-1")
    assert (seen.headers["x-acme-key"], seen.headers["x-acme-version"]) == ("key-of-acme", "2")
    assert "authorization" not in seen.headers


def test_what_the_provider_says_of_its_models_is_heeded(acme: Acme) -> None:
    source = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
    turn = {"role": "user", "content": [{"type": "image", "source": source}, {"type": "text", "text": "What is it?"}]}

    answer = acme.client.post("/v1/messages", json={"model": "any", "max_tokens": 9, "messages": [turn]})

    (seen,) = acme.server.seen
    assert answer.headers["x-dragoman-dropped"] == "messages[0]"
    assert "image_url" not in seen.body.decode()
