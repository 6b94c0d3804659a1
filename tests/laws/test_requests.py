"""The laws of requests: round trip, no silent loss, identity, determinism."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from app.adaptation.adapt import adapt
from app.conversation.blocks import Block, Compaction, Refusal, Text, ToolResult
from app.conversation.request import Request
from app.errors import InvalidRequest
from tests.laws.cases import (
    MENDED,
    WIRE,
    every_file,
    every_pair,
    generous,
    is_mended,
    leaves,
    parse_request,
    without_paths,
)
from tests.support.same_dialect import send_on

# Values that may be left out, for they say what holds anyway.
DEFAULTS = {"", "custom", "auto", "message", "text"}


@pytest.mark.parametrize(("dialect", "path"), every_file("requests"))
def test_a_request_parsed_and_rendered_is_the_same_request(dialect: ModuleType, path: Path) -> None:
    request = parse_request(dialect, path)

    rendered = dialect.render_request(request, generous(dialect, request))
    again = dialect.parse_request(rendered.body, {**rendered.headers})

    assert without_paths(again) == without_paths(request)
    assert set(request.betas) <= set(again.betas)
    kept = {extension.name: extension.value for extension in again.extensions}
    assert all(
        kept.get(extension.name) == extension.value for extension in request.extensions if "[" not in extension.name
    )


@pytest.mark.parametrize(("dialect", "path"), every_file("requests"))
def test_a_request_keeps_every_value_or_reports_it(dialect: ModuleType, path: Path) -> None:
    sent = json.loads(path.read_bytes())
    request = parse_request(dialect, path)

    rendered = dialect.render_request(request, generous(dialect, request))

    arrived = [str(leaf) for leaf in leaves(json.loads(rendered.body))]
    reported = [str(leaf) for extension in request.extensions for leaf in leaves(extension.value)]
    words = [leaf for leaf in leaves(sent) if isinstance(leaf, str) and leaf not in DEFAULTS]
    lost = [word for word in words if not any(word in other for other in arrived + reported)]
    assert lost == []


@pytest.mark.parametrize(("dialect", "path"), every_file("requests"))
def test_the_same_request_gives_the_same_bytes(dialect: ModuleType, path: Path) -> None:
    first = parse_request(dialect, path)
    second = parse_request(dialect, path)

    rendered = [dialect.render_request(request, generous(dialect, request)) for request in (first, second)]

    assert rendered[0] == rendered[1]


@pytest.mark.parametrize(("dialect", "path"), every_file("requests"))
def test_a_request_passes_byte_by_byte_or_means_the_same(dialect: ModuleType, path: Path) -> None:
    body = path.read_bytes()
    request = parse_request(dialect, path)

    sent = send_on(dialect, body, generous(dialect, request))

    assert (sent.body == body) is not is_mended(path), f"{MENDED} is wrong about it"
    again = dialect.parse_request(sent.body, sent.headers)
    assert without_paths(again) == without_paths(request)


@pytest.mark.parametrize(("dialect", "path"), every_file("requests"))
def test_another_model_name_changes_nothing_else(dialect: ModuleType, path: Path) -> None:
    body = path.read_bytes()
    capabilities = generous(dialect, parse_request(dialect, path))
    same = send_on(dialect, body, capabilities).body

    other = send_on(dialect, body, msgspec.structs.replace(capabilities, model='other/"model"')).body

    assert json.loads(other) == {**json.loads(same), "model": 'other/"model"'}
    assert abs(len(other) - len(same)) < 100


@pytest.mark.parametrize(("dialect", "path"), every_file("requests"))
def test_a_cut_body_is_refused_and_nothing_worse(dialect: ModuleType, path: Path) -> None:
    body = path.read_bytes().rstrip()

    for length in range(0, len(body), max(1, len(body) // 50)):
        with pytest.raises(InvalidRequest):
            dialect.parse_request(body[:length], {})


@pytest.mark.parametrize(("client", "upstream"), every_pair())
def test_what_was_said_reaches_an_upstream_of_another_dialect(client: ModuleType, upstream: ModuleType) -> None:
    for path in sorted((WIRE / client.NAME / "requests").glob("*.json")):
        request = parse_request(client, path)
        capabilities = msgspec.structs.replace(
            generous(upstream, request), first_party=False, bound_reasoning=False, native_tools=()
        )

        adapted = adapt(request, capabilities)
        rendered = upstream.render_request(adapted.request, capabilities)

        arrived = [str(leaf) for leaf in leaves(json.loads(rendered.body))]
        reported = [*adapted.losses, *rendered.losses]
        lost = [text for text in _texts(request) if not any(text in other for other in arrived)]
        assert lost == [], f"{path.stem}: {lost} is lost in silence"
        for extension in request.extensions:
            if extension.severity == "wrong":
                assert any(loss.severity == "wrong" and extension.name in loss.path for loss in reported), (
                    extension.name
                )


def _texts(request: Request) -> list[str]:
    """All that was said, but for the turns that a summary stands for."""
    texts: list[str] = []

    def collect(blocks: tuple[Block, ...]) -> None:
        for block in blocks:
            match block:
                case Text(text=text) | Refusal(text=text):
                    texts.append(text)
                case Compaction(text=str(text)):
                    texts[:] = [text]
                case ToolResult(blocks=inner):
                    collect(inner)
                case _:
                    pass

    for turn in request.turns:
        collect(turn.blocks)
    collect(request.instructions)
    return texts
