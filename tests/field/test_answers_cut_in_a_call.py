"""Calls whose arguments have no end, from servers that end the stream all the same.

Sources: router-for-me/CLIProxyAPI#5836, NousResearch/hermes-agent#6847, experientiallabs/experiential#758.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.field.asking import body_of, every_client
from tests.field.grammar import check, read_events
from tests.field.pairs import ask, chat_events, chat_reply, delta
from tests.gateway.conftest import Client
from tests.support.fake_upstream import FakeUpstream, json_reply

CALL = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"x": '}}


def ending_of(dialect: str, events: list[Any]) -> Any:
    match dialect:
        case "A":
            return next(event["delta"]["stop_reason"] for event in events if event["type"] == "message_delta")
        case "C":
            reasons = [choice["finish_reason"] for event in events for choice in event["choices"]]
            return next(reason for reason in reasons if reason)
        case _:
            return (events[-1]["response"]["incomplete_details"] or {}).get("reason")


CUT = {"A": "max_tokens", "C": "length", "R": "max_output_tokens"}


@every_client
@pytest.mark.parametrize("finish", [None, "length"])
def test_an_end_without_a_reason_within_a_call_is_no_call(
    every: Client, upstream: FakeUpstream, dialect: str, finish: str | None
) -> None:
    ends = [delta({}, finish)] if finish else []
    upstream.script(chat_events(delta({"role": "assistant", "tool_calls": [CALL]}), *ends, "[DONE]"))
    path, body = body_of(dialect)

    events = read_events(every.ask(path, body | {"model": "chat/m", "stream": True}).text)

    check(dialect, events)
    assert ending_of(dialect, [event for _, event in events if event != "[DONE]"]) == CUT[dialect]


@every_client
@pytest.mark.parametrize("reasons", [{"finish_reason": "error"}, {"native_finish_reason": "network_error"}])
def test_a_whole_answer_that_broke_off_is_asked_for_again(
    every: Client, upstream: FakeUpstream, dialect: str, reasons: dict[str, str]
) -> None:
    """maximhq/bifrost#5425, earendil-works/pi#9002, OleksandrChekhovskyi/hax#15."""
    broken = chat_reply({"content": "half"}, **reasons) | {"usage": {"prompt_tokens": None, "total_tokens": 0}}
    upstream.script(json_reply(broken), json_reply(chat_reply({"content": "fine"})))

    assert (ask(every, dialect, "chat/m").text, len(upstream.seen)) == ("fine", 2)


@every_client
def test_an_end_without_a_reason_after_a_whole_call_is_a_call(
    every: Client, upstream: FakeUpstream, dialect: str
) -> None:
    rest = {"index": 0, "function": {"arguments": json.dumps({"x": 1})[6:]}}
    upstream.script(
        chat_events(delta({"role": "assistant", "tool_calls": [CALL]}), delta({"tool_calls": [rest]}), "[DONE]")
    )
    path, body = body_of(dialect)

    events = read_events(every.ask(path, body | {"model": "chat/m", "stream": True}).text)

    whole = {"A": "tool_use", "C": "tool_calls", "R": None}
    assert ending_of(dialect, [event for _, event in events if event != "[DONE]"]) == whole[dialect]
