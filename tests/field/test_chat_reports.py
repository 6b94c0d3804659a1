"""Replies of Chat servers as reports tell of them, for clients of every dialect, as streams and whole.

Each case names where it was reported: the repository and the number of the issue or the pull request.
"""

# ruff: noqa: E501 - one case a line
from __future__ import annotations

from typing import Any

import pytest

from tests.field.pairs import chat_events, delta
from tests.field.vectors import Vector, misread
from tests.gateway.conftest import Client
from tests.support.fake_upstream import FakeUpstream, sse

ONE = (("f", {"x": 1}),)
COUNTS = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}}
DONE = "[DONE]"


def call(arguments: Any = '{"x":1}', **more: Any) -> dict[str, Any]:
    return {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": arguments}, **more}


def called(*fragments: Any, finish: str | None = None) -> dict[str, Any]:
    return delta({"tool_calls": list(fragments)}, finish)


AFTER_THE_FINISH = [
    Vector("words after a bare finish", chat_events(delta({"content": "t"}), delta({}, "stop"), delta({"content": "u"}), DONE), "tu"),
    Vector("words after a finish and counts", chat_events(delta({"content": "t"}), delta({}, "stop"), COUNTS, delta({"content": "u"}), delta({}, "stop"), DONE), "tu"),
    Vector("a call after a bare finish", chat_events(delta({"content": "t"}), delta({}, "stop"), called(call()), delta({}, "tool_calls"), DONE), "t", "", ONE, "tool_calls"),
    Vector("a call after a bare finish, and no other", chat_events(delta({"content": "t"}), delta({}, "stop"), called(call()), DONE), "t", "", ONE, "tool_calls"),
    Vector("the arguments of a call after a finish", chat_events(called(call("")), delta({}, "tool_calls"),
           called({"index": 0, "function": {"arguments": '{"x":1}'}}), DONE), calls=ONE, finish="tool_calls"),
    Vector("thinking after a finish", chat_events(delta({"content": "t"}), delta({}, "stop"), delta({"reasoning_content": "r"}), DONE), "t", "r"),
    Vector("a whole message after the deltas", chat_events(delta({"content": "t"}), delta({}, "stop"),
           {"choices": [{"index": 0, "message": {"role": "assistant", "content": "t"}, "finish_reason": "stop"}]}, DONE), "t"),
    Vector("a whole message instead of the last delta", chat_events(delta({"content": "t"}),
           {"choices": [{"index": 0, "message": {"role": "assistant", "content": "t"}, "finish_reason": "stop"}]}, DONE), "t"),
    Vector("an error after the finish", chat_events(delta({"content": "t"}), delta({}, "stop"), {"error": {"message": "late"}}), "t"),
    Vector("a page after the finish", sse(*chat_events(delta({"content": "t"}), delta({}, "stop")).pieces, b"<html>\n\n"), "t"),
    Vector("an empty finish in each chunk", chat_events(delta({"role": "assistant", "content": ""}, ""), delta({"content": "t"}, ""), delta({"content": "u"}, ""), delta({}, "stop"), DONE), "tu"),
    Vector("two ends", chat_events(delta({"content": "t"}), delta({}, "stop"), delta({}, "stop"), DONE), "t"),
]  # fmt: skip


@pytest.mark.parametrize("vectors", [AFTER_THE_FINISH], ids=["after the finish"])
def test_a_reply_is_read_as_its_server_meant_it(client: Client, upstream: FakeUpstream, vectors: list[Vector]) -> None:
    assert misread(client, upstream, "C", vectors) == {}
