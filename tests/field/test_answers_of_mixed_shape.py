"""Whole answers of servers that were made out of those of another dialect."""

from __future__ import annotations

from typing import Any

import pytest

from tests.field.asking import CLIENTS, UPSTREAMS, body_of, both_modes
from tests.field.grammar import check, read_events
from tests.field.pairs import ask, whole_reply
from tests.gateway.conftest import Client
from tests.support.fake_upstream import FakeUpstream, json_reply

CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
CALLED = [("f", {"x": 1})]
MESSAGE = whole_reply("R", "hello")["output"][0]

# What a server says, and the thought and the calls that a client of another dialect has to get beside "hello".
ANSWERS: dict[str, tuple[str, dict[str, Any], str, list[Any]]] = {
    "calls as in Chat": ("A", {"tool_calls": [CALL], "stop_reason": "tool_use"}, "", CALLED),
    "a thought as in Chat": ("A", {"reasoning_content": "hm"}, "hm", []),
    "a text as in Responses": ("A", {"content": [{"type": "output_text", "text": "hello"}]}, "", []),
    "an error of nothing": ("A", {"error": {}}, "", []),
    "a summary that is a text": ("R", {"output": [{"type": "reasoning", "summary": "hm"}, MESSAGE]}, "hm", []),
    "a thought in a text": ("R", {"output": [{"type": "reasoning", "text": "hm"}, MESSAGE]}, "hm", []),
}


@both_modes
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(("server", "more", "thought", "calls"), ANSWERS.values(), ids=ANSWERS)
def test_an_answer_in_mixed_shape_arrives(
    every: Client,
    upstream: FakeUpstream,
    client: str,
    server: str,
    more: dict[str, Any],
    thought: str,
    calls: list[Any],
    stream: bool,
) -> None:
    upstream.script(json_reply(whole_reply(server, "hello") | more))

    told = ask(every, client, UPSTREAMS[server], stream=stream)

    assert (told.error, told.calls) == ("", calls)
    if client != server:
        assert (told.text, told.thought) == ("hello", thought)


@pytest.mark.parametrize("client", ["A", "C"])
@both_modes
def test_calls_with_one_id_get_ids_of_their_own(
    every: Client, upstream: FakeUpstream, client: str, stream: bool
) -> None:
    call = {"type": "function_call", "call_id": "c", "name": "f"}
    calls = [{**call, "id": f"fc_{x}", "arguments": f'{{"x":{x}}}'} for x in (1, 2)]
    upstream.script(json_reply(whole_reply("R", "") | {"output": calls}))
    path, body = body_of(client)

    told = every.ask(path, body | {"model": "responses/m", "stream": stream})

    if stream:
        check(client, read_events(told.text))
    assert [f'"id":"{name}"' in told.text for name in ("c", "c_1")] == [True, True]


def test_a_whole_response_that_is_incomplete_says_why(every: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply(whole_reply("R", "hello") | {"status": "incomplete", "incomplete_details": None}))
    path, body = body_of("R")

    told = every.ask(path, body | {"model": "responses/m"}).json

    assert told["incomplete_details"] == {"reason": "max_output_tokens"}
