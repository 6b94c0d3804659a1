"""The short way to read a request says what the long one says, or nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.conversation.request import Request
from app.dialects.anthropic_messages import request_parser as messages_parser
from app.dialects.openai_chat import request_parser as chat_parser
from app.errors import InvalidRequest
from tests.laws.cases import WIRE

PARSERS: dict[str, Any] = {"anthropic_messages": messages_parser, "openai_chat": chat_parser}
parsers = pytest.mark.parametrize("name", PARSERS)

_scalars = st.sampled_from(
    [
        None,
        True,
        False,
        0,
        1,
        -1,
        0.5,
        1.0,
        2,
        2.5,
        129,
        1e400,
        10**30,
        "",
        "word",
        "none",
        "HIGH",
        "odd",
        "é",
        "\ud800",
    ]
)
_texts = st.sampled_from(
    ({"type": "text", "text": "t"}, {"type": "text", "text": ""}, {"type": "text"}, {"type": "new"},
     {"type": "text", "text": "t", "cache_control": {"type": "ephemeral", "ttl": "1h"}})
)  # fmt: skip
_use = st.just({"type": "tool_use", "id": "a", "name": "f", "input": {"x": [1, 2.50]}})
_answer = st.fixed_dictionaries(
    {
        "type": st.just("tool_result"),
        "tool_use_id": st.just("a"),
        "content": st.just("c") | st.lists(_texts, max_size=2),
    }
)
_call = st.fixed_dictionaries(
    {"id": st.sampled_from(("a", 1)), "type": st.just("function"),
     "function": st.fixed_dictionaries({"name": st.just("f"), "arguments": st.sampled_from(("{}", {"x": 1}, None))})}
)  # fmt: skip
_contents = st.one_of(_scalars, st.just("words"), st.lists(st.one_of(_texts, _texts, _use, _answer), max_size=3))
_messages = st.fixed_dictionaries(
    {"role": st.sampled_from(("user", "assistant", "system", "developer", "tool", "odd")), "content": _contents},
    optional={
        "name": st.just("n"),
        "tool_call_id": st.sampled_from(("a", 1)),
        "tool_calls": st.none() | st.lists(_call, max_size=2),
        "refusal": st.none() | st.just("no"),
        "reasoning_content": st.just("hm"),
        "clear_at": st.just("next_user_message"),
        "extra": _scalars,
    },
)
_tool = {"name": "f", "input_schema": {"type": "object", "properties": {}}}
_objects = st.sampled_from(
    ({}, [], ["a"], {"type": "auto"}, {"type": "json_object"}, {"include_usage": True}, {"include_usage": 1},
     {"user_id": "u"}, {"effort": "high"}, {"type": "enabled", "budget_tokens": 2000}, [_tool], {"type": "ephemeral"},
     [{"type": "function", "function": {"name": "f"}}], {"edits": []}, "auto", "required"),
)  # fmt: skip
# What a client may say in each field; anything else now and then.
_strings, _flags, _counts = st.sampled_from(("", "word", "é")), st.booleans(), st.integers(0, 200)
_shares = st.sampled_from((0, 1, 0.5, 1.0, 2.0))
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("max_tokens", "max_completion_tokens", "top_k", "seed", "n", "top_logprobs"), _counts),
    **dict.fromkeys(("temperature", "top_p", "frequency_penalty", "presence_penalty"), _shares),
    **dict.fromkeys(("stream", "store", "logprobs", "parallel_tool_calls"), _flags),
    **dict.fromkeys(("system", "service_tier", "verbosity", "user", "prompt_cache_key"), _strings),
    **dict.fromkeys(("tools", "tool_choice", "metadata", "thinking", "output_config", "cache_control"), _objects),
    **dict.fromkeys(("context_management", "response_format", "stream_options", "functions", "odd"), _objects),
    "stop": _strings | st.lists(_strings, max_size=2),
    "stop_sequences": st.lists(_strings, max_size=2),
    "reasoning_effort": st.sampled_from(("none", "HIGH", "auto", "", "odd")),
}
_question = {"role": "user", "content": "q"}


@st.composite
def bodies(draw: st.DrawFn, name: str) -> dict[str, Any]:
    odd = draw(st.sampled_from((False, False, False, True)))
    known = [field for field in FIELDS if odd or field in PARSERS[name].PlainRequest.__struct_fields__]
    names = draw(st.lists(st.sampled_from(known), max_size=4, unique=True))
    fields = {name: draw(FIELDS[name] | _scalars if odd else FIELDS[name]) for name in names}
    messages = draw(st.just([_question]) | st.lists(_messages, max_size=3))
    return {"model": draw(_scalars) if odd else "m", "messages": messages, **fields}


def read(parse: Any, body: bytes) -> Request | str | None:
    """The request, or what is wrong with it."""
    try:
        parsed: Request | None = parse(body, {"anthropic-beta": "a, b"})
    except InvalidRequest as error:
        return f"{error.failure.param}: {error}"
    return parsed


MESSAGES = {
    "model": "m",
    "max_tokens": 5,
    "system": "s",
    "stream": True,
    "messages": [{"role": "user", "content": "q"}],
}
CHAT: dict[str, Any] = {
    "model": "m", "max_tokens": 5, "max_completion_tokens": 7, "stream": True,
    "stream_options": {"include_usage": True},
    "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}],
}  # fmt: skip


@parsers
@settings(max_examples=1500, deadline=None)
@given(data=st.data())
def test_any_request_is_read_alike_on_both_ways(name: str, data: st.DataObject) -> None:
    body = json.dumps(data.draw(bodies(name))).encode()

    plain = read(PARSERS[name].parse_plain, body)

    assert plain is None or plain == read(PARSERS[name].parse_any, body)


@parsers
def test_recorded_requests_are_read_alike_on_both_ways(name: str) -> None:
    read_shortly = 0
    for path in sorted((WIRE / name / "requests").glob("*.json")):
        plain = read(PARSERS[name].parse_plain, path.read_bytes())
        read_shortly += plain is not None
        assert plain is None or plain == read(PARSERS[name].parse_any, path.read_bytes()), path.stem

    assert read_shortly > 1


@pytest.mark.parametrize(("name", "body"), [("anthropic_messages", MESSAGES), ("openai_chat", CHAT)])
def test_a_plain_question_goes_the_short_way(name: str, body: dict[str, Any]) -> None:
    plain = read(PARSERS[name].parse_plain, json.dumps(body).encode())

    assert isinstance(plain, Request)
    assert plain == read(PARSERS[name].parse_any, json.dumps(body).encode())


@parsers
def test_what_is_no_text_goes_the_long_way(name: str) -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"q"}],"tools":[{"name":"f","description":"%b"}]}'

    assert PARSERS[name].parse_plain(body % b"ok", {}) is not None
    assert PARSERS[name].parse_plain(body % b"\xff", {}) is None
