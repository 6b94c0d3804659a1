"""Streams as servers of Chat Completions really write them, read for clients of every dialect.

Each case names where it was reported: the repository and the number of the issue or the pull request.
"""

# ruff: noqa: E501 - one case a line
from __future__ import annotations

import json
from typing import Any

import pytest

from tests.field.pairs import CHAT_HEAD, chat_events, delta
from tests.field.vectors import Vector, misread
from tests.gateway.conftest import Client
from tests.support.fake_upstream import FakeUpstream, Reply, sse

ONE = (("f", {"x": 1}),)
TWO = (("f", {"x": 1}), ("f", {"x": 2}))


def piece(arguments: Any = None, *, name: Any = ..., **more: Any) -> dict[str, Any]:
    function = ({} if name is ... else {"name": name}) | ({} if arguments is None else {"arguments": arguments})
    return {**more, "function": function}


def calls(*fragments: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    return delta({**more, "tool_calls": list(fragments)}, finish)


def called(name: str, sent: Reply, *done: tuple[str, Any]) -> Vector:
    return Vector(name, sent, calls=done, finish="tool_calls")


END = (delta({}, "tool_calls"), "[DONE]")

STREAMS = [
    called("vercel/ai#18333 an index from 7, then none", chat_events(
        calls(piece('{"x"', name="f", index=7, id="a", type="function")), calls(piece(":1}")), *END), *ONE),
    called("vercel/ai#18333 no index, over chunks", chat_events(
        calls(piece('{"x"', name="f", id="a", type="function")), calls(piece(":1}")), *END), *ONE),
    called("SamSaffron/term-llm#314 two without index in one chunk", chat_events(
        calls(piece('{"x":1}', name="f", id="a"), piece('{"x":2}', name="f", id="b")), *END), *TWO),
    called("SamSaffron/term-llm#314 the index comes later", chat_events(
        calls(piece("", name="f", id="a")), calls(piece('{"x":1}', index=0)), *END), *ONE),
    called("vercel/ai#15879 arguments before the name, no index", chat_events(
        calls(piece('{"x"', id="a")), calls(piece(":1}", name="f", id="a")), *END), *ONE),
    called("arguments before the name", chat_events(
        calls(piece('{"x"', id="a", index=0)), calls(piece(":1}", name="f", index=0)), *END), *ONE),
    called("NousResearch/hermes-agent#8259 the name in every chunk", chat_events(
        calls(piece("", name="f", index=0, id="a")), calls(piece('{"x"', name="f", index=0, id="a")),
        calls(piece(":1}", name="f", index=0, id="a")), *END), *ONE),
    called("NousResearch/hermes-agent#8094 the name in every chunk, no id after the first", chat_events(
        calls(piece('{"x"', name="f", index=0, id="a")), calls(piece(":1", name="f", index=0)),
        calls(piece("}", name="f", index=0)), *END), *ONE),
    called("vllm-project/vllm#9693 null ids", chat_events(
        calls(piece(None, name="f", index=0, id=None, type=None)), calls(piece('{"x":1}', name=None, index=0, id=None, type=None)), *END), *ONE),
    called("vllm-project/vllm#18412 a new id in every chunk", chat_events(
        calls(piece("", name="f", index=0, id="a")), calls(piece('{"x"', index=0, id="b")), calls(piece(":1}", index=0, id="c")), *END), *ONE),
    called("ggml-org/llama.cpp#20198 arguments as an object", chat_events(
        calls(piece({"x": 1}, name="f", index=0, id="a")), *END), *ONE),
    called("CangShui/workbuddy-gateway#3 an empty reason everywhere, and a stub of old", chat_events(
        delta({"role": "assistant", "content": ""}, ""), calls(piece("", name="f", index=0, id="a"), finish=""),
        calls(piece('{"x":1}', index=0), finish=""), delta({"function_call": {"name": "", "arguments": ""}}, "tool_calls"), "[DONE]"), *ONE),
    called("MeetKai/functionary#243 a call of old", chat_events(
        delta({"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": ""}}),
        delta({"function_call": {"arguments": '{"x"'}}), delta({"function_call": {"arguments": ":1}"}}), delta({}, "function_call"), "[DONE]"), *ONE),
    Vector("su-kaka/gcli2api#403 a reason in every chunk", chat_events(
        delta({"role": "assistant", "reasoning_content": "r"}, "stop"), delta({"content": "t"}, "stop"), delta({"content": "u"}, "stop"),
        calls(piece('{"x":1}', name="f", index=0, id="a"), finish="stop"), "[DONE]"), "tu", "r", ONE, "tool_calls"),
    Vector("BerriAI/litellm#27139 a reason at each step", chat_events(
        calls(piece('{"x":1}', name="f", index=0, id="a"), finish="tool_calls"), delta({"content": "t"}, "stop"), "[DONE]"),
        "t", "", ONE, "tool_calls"),
    Vector("ollama/ollama#4357 an empty reason", chat_events(
        delta({"role": "assistant", "content": "t"}, ""), delta({"role": "assistant", "content": "u"}, ""), delta({}, "stop"), "[DONE]"), "tu"),
    Vector("Dstack-TEE/private-ai-gateway#114 no mark at the end", chat_events(
        delta({"role": "assistant", "content": "t"}), delta({}, "stop"), {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}}), "t"),
    Vector("two marks at the end", chat_events(delta({"content": "t"}), delta({}, "stop"), "[DONE]", "[DONE]"), "t"),
    Vector("vllm-project/vllm#27572 no reason at all", chat_events(delta({"content": "t"}), delta({"content": "u"}), "[DONE]"), "tu"),
    Vector("vllm-project/vllm#30866 chunks of nothing", chat_events(
        delta({"role": "assistant", "content": "", "reasoning_content": None}), delta({"content": None, "reasoning_content": None}),
        delta({"content": "t", "reasoning_content": None}), delta({}, "stop"), "[DONE]"), "t"),
    Vector("UKGovernmentBEIS/inspect_ai#3313 readable and sealed thinking at once", chat_events(
        delta({"reasoning": "r", "reasoning_details": [{"type": "reasoning.text", "text": "r", "index": 0, "format": "google-gemini-v1"}]}),
        delta({"reasoning_details": [{"type": "reasoning.encrypted", "data": "c2VhbA==", "index": 0, "id": "a", "format": "google-gemini-v1"}]}),
        delta({"content": "t"}), delta({}, "stop"), "[DONE]"), "t", "r"),
    Vector("aixplain/aiXplain#1012 thinking in the details alone", chat_events(
        delta({"reasoning_details": [{"type": "reasoning.text", "text": "r"}]}), delta({"reasoning_details": [{"type": "reasoning.text", "text": "s"}]}),
        delta({"content": "t"}), delta({}, "stop"), "[DONE]"), "t", "rs"),
    Vector("thinking under both names", chat_events(
        delta({"reasoning": "r", "reasoning_content": "r"}), delta({"reasoning": "s", "reasoning_content": "s"}),
        delta({"content": "t"}), delta({}, "stop"), "[DONE]"), "t", "rs"),
    Vector("davidmigloz/langchain_dart#778 LongCat", sse(*(
        b"data:" + json.dumps({**CHAT_HEAD, **chunk, "content": "", "lastOne": False}).encode() + b"\n\n"
        for chunk in (delta({"role": "assistant", "content": "t", "function_call": None}), delta({"content": "u"}), delta({}, "stop")))), "tu"),
    Vector("vercel-labs/fx#681 lines that end with CR", sse(*(
        b"data: " + json.dumps({**CHAT_HEAD, **chunk}).encode() + b"\r\r" for chunk in (delta({"content": "t"}), delta({}, "stop")))), "t"),
    Vector("vercel-labs/fx#681 a mark of the byte order", sse(b"\xef\xbb\xbf", *(
        b"data: " + json.dumps({**CHAT_HEAD, **chunk}).encode() + b"\n\n" for chunk in (delta({"content": "t"}), delta({}, "stop")))), "t"),
    Vector("vercel-labs/fx#681 data of several lines", sse(*(
        b"".join(b"data: %b\n" % line for line in json.dumps({**CHAT_HEAD, **chunk}, indent=1).encode().split(b"\n")) + b"\n"
        for chunk in (delta({"content": "t"}), delta({}, "stop")))), "t"),
    Vector("comments and named events", sse(b": OPENROUTER PROCESSING\n\n", b"event: message\nid: 1\nretry: 5\n", *(
        b"data: " + json.dumps({**CHAT_HEAD, **chunk}).encode() + b"\n\n" for chunk in (delta({"content": "t"}), delta({}, "stop"))), b": bye\n\n"), "t"),
    Vector("moeru-ai/airi#2589 empty events", sse(b"data:\n\n", b"data: \n\n", *(
        b"data: " + json.dumps({**CHAT_HEAD, **chunk}).encode() + b"\n\n" for chunk in (delta({"content": "t"}), delta({}, "stop"))), b"data:\n\n"), "t"),
]  # fmt: skip


@pytest.mark.parametrize("case", STREAMS, ids=lambda case: case.id)
def test_a_stream_is_read_as_its_server_meant_it(client: Client, upstream: FakeUpstream, case: Vector) -> None:
    assert misread(client, upstream, "C", [case]) == {}
