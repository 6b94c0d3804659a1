"""What the gateway makes of each case is what its golden files say. `make golden` writes them; read the diff."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app import create_app
from app.blueprints import api
from app.settings import ModelsSettings, ProviderSettings, RouteSettings, Settings
from tests.gateway.conftest import Client
from tests.golden.golden import ASKED_MODEL, HERE, ID, MODELS, NOW, PAIRS, PROVIDERS, cases, read, source, translate
from tests.support.fake_upstream import FakeUpstream

WRITES = os.environ.get("GOLDEN") == "write" and not os.environ.get("CI")


@pytest.fixture(scope="module")
def server() -> Iterator[FakeUpstream]:
    with FakeUpstream() as fake:
        yield fake


@pytest.fixture(scope="module")
def gateways(server: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Client]]:
    """A gateway for each dialect that its one upstream may speak. Ids and times are always the same."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        patched.setattr(api, "new_id", lambda: ID)
        patched.setattr(time, "time", lambda: float(NOW))
        made = {dialect: _make_gateway(dialect, server.url) for dialect in PROVIDERS}
        yield made
        for gateway in made.values():
            gateway.app.runtime.services.transport.close()


def _make_gateway(dialect: str, url: str) -> Client:
    path = "" if dialect == "anthropic_messages" else "/v1"
    provider = ProviderSettings(base_url=url + path, api_key="sk-upstream", **PROVIDERS[dialect])
    models = ModelsSettings(routes={ASKED_MODEL: RouteSettings(targets=(f"up/{MODELS[dialect]}",))})
    return Client(create_app(Settings(providers={"up": provider}, models=models)))


@pytest.mark.parametrize("case", cases())
@pytest.mark.parametrize(("client", "upstream"), PAIRS)
def test_a_case_is_what_its_golden_files_say(
    gateways: dict[str, Client], server: FakeUpstream, client: str, upstream: str, case: str
) -> None:
    request = read(source(client, upstream, case, "request").read_text())
    reply = read(source(client, upstream, case, "reply").read_text())

    told = translate(gateways[upstream], server, request, reply)

    folder = HERE / f"{client}-{upstream}"
    if WRITES:
        folder.mkdir(exist_ok=True)
        for kind, text in told.items():
            (folder / f"{case}.{kind}").write_text(text)
    for kind, text in told.items():
        assert text == (folder / f"{case}.{kind}").read_text(), f"{folder.name}/{case}.{kind}: see `make golden`"


def test_every_pair_has_the_files_of_every_case_and_no_others() -> None:
    expected = {f"{case}.{kind}" for case in cases() for kind in ("client", "reply", "request", "upstream")}

    folders = {path.name: _names(path) for path in HERE.iterdir() if "-" in path.name}

    assert folders == {f"{client}-{upstream}": expected for client, upstream in PAIRS}


def test_the_cases_cover_whole_answers_and_streams() -> None:
    replies = [source("openai_chat", "openai_chat", case, "reply").read_text() for case in cases()]

    assert len(replies) >= 10
    assert {"text/event-stream" in reply.partition("\n\n")[0] for reply in replies} == {True, False}


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}
