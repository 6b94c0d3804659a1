"""What upstreams are asked by the genuine programs is what the golden files say.

`make replay` writes them; read the diff.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app import create_app
from app.settings import ModelsSettings, ProviderSettings, Settings
from tests.gateway.conftest import Client
from tests.replay.cleaning import KEPT, LONGEST
from tests.replay.programs import PROGRAMS
from tests.replay.recording import HERE, Recorded, read, requests_of
from tests.support.fake_upstream import FakeUpstream, json_reply

WRITES = os.environ.get("GOLDEN") == "write" and not os.environ.get("CI")
# An upstream of each dialect: fields of its provider, and the model that all names lead to.
UPSTREAMS: dict[str, tuple[dict[str, Any], str]] = {
    "anthropic_messages": ({"kind": "anthropic"}, "claude-sonnet-4-6"),
    "openai_chat": ({"kind": "openai", "dialect": "openai_chat"}, "some-model"),
    "openai_responses": ({"kind": "openai", "dialect": "openai_responses"}, "gpt-5.4"),
}
HEADERS = ("anthropic-version", "anthropic-beta")
RECORDED = [path for folder in PROGRAMS for path in requests_of(folder)]


@pytest.fixture(scope="module")
def server() -> Iterator[FakeUpstream]:
    with FakeUpstream() as fake:
        yield fake


@pytest.fixture(scope="module")
def gateways(server: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Client]]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        made = {}
        for dialect, (fields, model) in UPSTREAMS.items():
            path = "" if dialect == "anthropic_messages" else "/v1"
            provider = ProviderSettings(base_url=server.url + path, api_key="sk-upstream", **fields)
            models = ModelsSettings(default=f"up/{model}", small=f"up/{model}", big=f"up/{model}")
            made[dialect] = Client(create_app(Settings(providers={"up": provider}, models=models)))
        yield made
        for gateway in made.values():
            gateway.app.runtime.services.transport.close()


@pytest.mark.parametrize("dialect", UPSTREAMS)
@pytest.mark.parametrize("path", RECORDED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_recorded_request_asks_what_its_golden_file_says(
    gateways: dict[str, Client], server: FakeUpstream, path: Path, dialect: str
) -> None:
    request = read(path.read_text())
    server.seen.clear()
    server.script(json_reply({"error": {"message": "no answer is wanted", "type": "permission_error"}}, 403))

    gateways[dialect].ask(request.first.split()[1], _lead(request.body), **request.headers)

    (asked,) = [seen for seen in server.seen if seen.method == "POST"]
    headers = {name: asked.headers[name] for name in HEADERS if name in asked.headers}
    told = Recorded(f"POST {asked.path}", headers, asked.json()).write()
    golden = path.with_suffix(f".{dialect}")
    if WRITES:
        golden.write_text(told)
    assert told == golden.read_text(), f"{golden.parent.name}/{golden.name}: see tests/replay/README.md"


def _lead(body: Any) -> Any:
    """The request without the name of the provider that the recording gateway had."""
    return {**body, "model": body["model"].removeprefix("up/")}


def test_every_program_has_its_recordings_and_its_golden_files_and_no_others() -> None:
    kinds = {".request", *(f".{dialect}" for dialect in UPSTREAMS)}

    for folder in PROGRAMS:
        names = {path.name for path in (HERE / folder).iterdir()} - {"version"}
        assert names == {f"{path.stem}{kind}" for path in requests_of(folder) for kind in kinds}
        assert names, folder


def test_every_program_was_recorded_in_the_version_that_its_row_names() -> None:
    for folder, program in PROGRAMS.items():
        assert (HERE / folder / "version").read_text() == f"{program.package} {program.version}\n"


def test_a_recording_holds_no_long_text_of_others_and_no_place_of_a_machine() -> None:
    longest = max(LONGEST, KEPT + len("… (1000000 characters)"))

    for path in RECORDED:
        text = path.read_text()
        assert not re.search(r"/(?:root|tmp|work|home/[a-z]+/\.)|127\.0\.0\.1|localhost", text), path
        for said in _texts(json.loads(text.partition("\n\n")[2])):
            assert len(said) <= longest or said.startswith("gw1."), said


def _texts(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for inner in value.values():
                yield from _texts(inner)
        case list():
            for inner in value:
                yield from _texts(inner)
