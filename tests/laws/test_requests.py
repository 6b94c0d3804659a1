"""The laws of requests: round trip, no silent loss, identity, determinism."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

from app.adaptation.adapt import adapt
from app.conversation.blocks import Block, Compaction, Refusal, Text, ToolResult
from app.conversation.request import ReasoningSettings, Request, Sampling
from app.dialects.registry import traits_of
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
# Fields of the neutral request that hold what a client asked for beside the conversation.
SETTINGS = (
    "logprobs", "verbosity", "user", "cache_key", "service_tier", "metadata", "max_tokens", "parallel_tool_calls",
    "tool_choice", "output_format",
)  # fmt: skip


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

    kept = [json.loads(rendered.body), *(extension.value for extension in request.extensions)]
    arrived = Counter(str(leaf) for value in kept for leaf in leaves(value))
    words = Counter(leaf for leaf in leaves(sent) if isinstance(leaf, str) and leaf not in DEFAULTS)
    assert words - arrived == {}
    numbers = {leaf for value in kept for leaf in leaves(value) if isinstance(leaf, int | float)}
    assert {leaf for leaf in leaves(sent) if isinstance(leaf, int | float)} <= numbers | {True, False}
    switches = {switch for value in kept for switch in _switches(value)}
    assert {*_switches(sent)} - {("is_error", False)} <= switches


@pytest.mark.parametrize(("dialect", "path"), every_file("requests"))
def test_what_the_conversation_knows_is_no_extension(dialect: ModuleType, path: Path) -> None:
    """Other dialects would be told nothing of it."""
    known = {*SETTINGS, "n", "stop", *Sampling.__struct_fields__, *traits_of(dialect.NAME).fields.values()} - {"thread"}

    request = parse_request(dialect, path)

    assert [extension.name for extension in request.extensions if extension.name in known] == []


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


@pytest.mark.parametrize(("client", "upstream"), every_pair())
def test_a_setting_reaches_an_upstream_of_another_dialect_or_is_reported(
    client: ModuleType, upstream: ModuleType
) -> None:
    for path in sorted((WIRE / client.NAME / "requests").glob("*.json")):
        request = parse_request(client, path)
        capabilities = msgspec.structs.replace(
            generous(upstream, request), first_party=False, bound_reasoning=False, native_tools=()
        )

        adapted = adapt(request, capabilities)
        rendered = upstream.render_request(adapted.request, capabilities)

        asked = _settings(upstream.parse_request(rendered.body, rendered.headers))
        reported = [loss.path for loss in (*adapted.losses, *rendered.losses)]
        for name, value in _settings(request).items():
            names = {name, traits_of(client.NAME).fields.get(name, name)}
            told = any(part in re.split(r"[.\[]", path) for path in reported for part in names)
            # The choice of a tool goes with its tool.
            told |= name == "tool_choice" and any(place.startswith("tools") for place in reported)
            assert value is None or asked[name] is not None or told, f"{path.stem}: {name} is lost in silence"


def _settings(request: Request) -> dict[str, Any]:
    """What a client asked for beside the conversation; None where it asked for nothing, or for what holds anyway."""
    state, sampling = request.state, request.sampling
    return {
        **{name: getattr(sampling, name) for name in sampling.__struct_fields__},
        **{name: getattr(request, name) for name in SETTINGS},
        "stop": request.stop or None,
        "n": request.n if request.n > 1 else None,
        "reasoning": None if request.reasoning == ReasoningSettings() else request.reasoning,
        "store": state.store or None,
        "previous_id": state.previous_id,
        "conversation": state.conversation,
        "background": state.background or None,
    }


def _switches(value: Any) -> Iterator[tuple[str, bool]]:
    """All fields within JSON data that are true or false."""
    match value:
        case dict():
            for name, item in value.items():
                if isinstance(item, bool):
                    yield name, item
                yield from _switches(item)
        case list():
            for item in value:
                yield from _switches(item)


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
