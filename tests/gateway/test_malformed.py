"""Malformed bodies against every POST endpoint: a 4xx in the right dialect, never a fault of ours.

MALFORMED_BODIES says how many are tried at each endpoint; the default keeps the tests short.
"""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.conversation import repeated_tools
from tests.gateway.conftest import Client, MakeClient
from tests.support.fake_upstream import FakeUpstream, json_reply

EXAMPLES = int(os.environ.get("MALFORMED_BODIES", "150"))

TOOL = {"type": "object", "properties": {"x": {"type": "integer"}}}
MESSAGES = {
    "model": "chat/m",
    "max_tokens": 100,
    "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "q"}, {"type": "image", "source": {"type": "base64",
         "media_type": "image/png", "data": "iVBORw0KGgo="}}]},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "t", "signature": "c2ln"},
         {"type": "tool_use", "id": "t1", "name": "f", "input": {"x": 1}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "ok"}]},
    ],
    "tools": [{"name": "f", "description": "d", "input_schema": TOOL}],
    "tool_choice": {"type": "auto"},
    "thinking": {"type": "enabled", "budget_tokens": 2000},
    "output_config": {"effort": "low"},
    "metadata": {"user_id": "u"},
}  # fmt: skip
CHAT = {
    "model": "messages/m",
    "messages": [
        {"role": "system", "content": "s"},
        {"role": "user", "content": [{"type": "text", "text": "q"}, {"type": "image_url", "image_url": {"url":
         "data:image/png;base64,iVBORw0KGgo="}}]},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "type": "function", "function":
         {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "ok"},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": TOOL}}],
    "tool_choice": "auto",
    "response_format": {"type": "json_schema", "json_schema": {"name": "o", "schema": TOOL}},
    "reasoning_effort": "low",
    "stop": ["x"],
    "temperature": 0.5,
}  # fmt: skip
RESPONSES = {
    "model": "chat/m",
    "store": False,
    "instructions": "i",
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "q"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "t"}]},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "ok"},
    ],
    "tools": [{"type": "function", "name": "f", "parameters": TOOL}, {"type": "custom", "name": "g"}],
    "text": {"format": {"type": "text"}},
    "reasoning": {"effort": "low"},
}  # fmt: skip
ITEMS = RESPONSES["input"]
ENDPOINTS = {
    "/v1/messages": MESSAGES,
    "/v1/messages/count_tokens": {name: value for name, value in MESSAGES.items() if name != "max_tokens"},
    "/v1/chat/completions": CHAT,
    "/v1/responses": RESPONSES,
    "/v1/responses/input_tokens": RESPONSES,
    "/v1/responses/compact": RESPONSES,
    "/v1/conversations": {"items": ITEMS, "metadata": {"topic": "t"}},
    "/v1/conversations/{kept}": {"metadata": {"topic": "t"}},
    "/v1/conversations/{kept}/items": {"items": ITEMS},
    "/v1/completions": {"model": "chat/m", "prompt": ["a", "b"], "max_tokens": 5, "stop": ["x"], "echo": False, "n": 1},
    "/v1/embeddings": {"model": "chat/m", "input": ["a", "b"], "encoding_format": "float", "dimensions": 3},
}

odd_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.just([]),
    st.just({}),
    st.just([[]]),
    st.just({"type": "text"}),
    st.just({"type": "nonsense", "x": 1}),
)


def paths_of(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of every value inside a body."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*at, key)
        yield from paths_of(inner, (*at, key))


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(copy[path[0]], path[1:], new)
    return copy


@st.composite
def bodies(draw: st.DrawFn, path: str) -> bytes:
    """A valid body in which one to three values were replaced, some bytes cut or turned, or nothing at all valid."""
    body: Any = ENDPOINTS[path]
    places = list(paths_of(body))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(places))
        if place[0] in ("model", "store"):
            continue
        try:
            body = replaced(body, place, draw(odd_values))
        except (TypeError, KeyError, IndexError):
            continue
    text = json.dumps(body).encode()
    match draw(st.integers(0, 9)):
        case 0:
            text = text[: draw(st.integers(0, len(text)))]
        case 1:
            at = draw(st.integers(0, len(text) - 1))
            text = text[:at] + draw(st.binary(min_size=1, max_size=4)) + text[at + 1 :]
        case 2:
            text = b"[" * draw(st.integers(1, 100_000))
    return text


@pytest.fixture
def robust(make_client: MakeClient, upstream: FakeUpstream) -> Client:
    """Its upstreams refuse everything at once, so that only our own part is tried."""
    refusal = {"error": {"message": "upstream says no"}}
    upstream.script(json_reply(refusal, 400))
    return make_client()


def place_of(client: Client, path: str) -> str:
    """The path, of a conversation that exists where it is about one."""
    if "{kept}" not in path:
        return path
    return path.format(kept=client.ask("/v1/conversations", {}).get_json()["id"])


@pytest.mark.parametrize("path", list(ENDPOINTS))
def test_a_malformed_body_is_never_our_fault(robust: Client, path: str) -> None:
    place = place_of(robust, path)

    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow],
        derandomize=EXAMPLES <= 150,
    )  # fmt: skip
    @given(body=bodies(path))
    def tried(body: bytes) -> None:
        response = robust.ask(place, body)

        assert response.status_code == 200 or 400 <= response.status_code < 500, response.text[:300]
        if response.status_code != 200:
            error = response.get_json()
            assert isinstance(error["error"]["message"], str)
            assert (error.get("type") == "error") == path.startswith("/v1/messages")

    tried()


@pytest.mark.parametrize("path", list(ENDPOINTS))
def test_malformed_bodies_leave_nothing_behind(robust: Client, upstream: FakeUpstream, path: str) -> None:
    place = place_of(robust, path)
    text = json.dumps(ENDPOINTS[path]).encode()
    spoilt = [text[:at] + b"[" + text[at + 2 :] for at in range(0, len(text), len(text) // 40 or 1)]

    def count_objects() -> int:
        for body in spoilt:
            robust.ask(place, body)
        robust.app.runtime.recorder.hand_out()  # as a worker's loop does: records wait for it
        upstream.seen.clear()
        for provider in robust.app.runtime.services.providers.values():
            provider._heads.clear()  # a fixed number is kept for requests that are alike
        repeated_tools.forget_all()  # a fixed weight is kept
        gc.collect()
        return len(gc.get_objects())

    count_objects()  # what is loaded or cached late

    before, after = count_objects(), count_objects()

    assert after - before < len(spoilt)
