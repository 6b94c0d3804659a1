"""Both sides speak Chat, and the upstream cannot take all of a request: then it goes the way of translated requests."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.gateway.conftest import MakeClient
from tests.support.answers import chat_answer, chat_stream, chunk
from tests.support.fake_upstream import FakeUpstream, json_reply

TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]


@pytest.mark.parametrize(
    ("model", "asked", "sent", "dropped"),
    [
        ("gpt-5.5", {"temperature": 1}, {"temperature": None}, None),
        ("gpt-5.5", {"temperature": 0.2}, {"temperature": None}, "temperature"),
        ("gpt-5.5", {"top_p": 0.5}, {"top_p": None}, "top_p"),
        ("gpt-5.5", {"top_k": 3}, {"top_k": None}, "top_k"),
        ("gpt-5.5", {"stop": ["END"]}, {"stop": None}, None),
        ("gpt-5.5", {"reasoning_effort": "minimal"}, {"reasoning_effort": "low"}, None),
        ("gpt-4.1", {"stop": ["a", "b", "c", "d", "e"]}, {"stop": ["a", "b", "c", "d"]}, None),
        ("m", {"reasoning_effort": "minimal"}, {"reasoning_effort": "low"}, None),
        ("gpt-5.5", {"tools": TOOLS, "reasoning_effort": "high"}, {"reasoning_effort": "none"}, "reasoning_effort"),
        ("claude-fable-5-1", {"tools": TOOLS, "tool_choice": "required"}, {"tool_choice": None}, "tool_choice"),
        ("m", {"tool_choice": "auto"}, {"tool_choice": None}, None),
    ],
)
def test_what_the_model_does_not_take_is_left_out_or_said_otherwise(
    make_client: MakeClient,
    upstream: FakeUpstream,
    model: str,
    asked: dict[str, Any],
    sent: dict[str, Any],
    dropped: str | None,
) -> None:
    upstream.script(json_reply(chat_answer()))

    answer = make_client().chat(f"chat/{model}", **asked)

    body = upstream.seen[0].json()
    assert {name: body.get(name) for name in sent} == sent
    assert answer.headers.get("x-dragoman-dropped") == dropped


def test_a_stop_sequence_that_the_upstream_does_not_watch_for_ends_the_answer_all_the_same(
    make_client: MakeClient, upstream: FakeUpstream
) -> None:
    upstream.script(json_reply(chat_answer("so far END and on")), chat_stream("so far ", "E", "ND and on"))
    client = make_client()

    whole = client.chat("chat/gpt-5.5", stop="END").get_json()
    streamed = client.chat("chat/gpt-5.5", stop="END", stream=True).text

    assert whole["choices"][0]["message"]["content"] == "so far "
    assert whole["choices"][0]["finish_reason"] == "stop"
    assert "END" not in streamed
    assert "and on" not in streamed


def test_past_reasoning_goes_under_the_name_that_the_upstream_reads_and_to_no_other(
    make_client: MakeClient, upstream: FakeUpstream
) -> None:
    upstream.script(json_reply(chat_answer()), json_reply(chat_answer()))
    client = make_client()
    messages = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "a", "reasoning": "hm"},
        {"role": "user", "content": "z"},
    ]

    for model in ("deepseek-v4", "gpt-5.5"):
        client.ask("/v1/chat/completions", {"model": f"chat/{model}", "messages": messages})

    deepseek, gpt = (seen.json()["messages"][1] for seen in upstream.seen)
    assert (deepseek["content"], deepseek["reasoning_content"]) == ("a", "hm")
    assert "hm" not in json.dumps(gpt)


def test_a_reply_passes_although_its_request_could_not(make_client: MakeClient, upstream: FakeUpstream) -> None:
    """What the gateway does not know of a reply reaches the client, which its parser would leave out."""
    upstream.script(
        chat_stream(tail=(chunk({"content": "x", "new_field": 1}), chunk({}, "stop"), b"data: [DONE]\n\n")),
        json_reply(chat_answer(new_field=1)),
    )
    client = make_client()

    streamed = client.chat("chat/gpt-5.5", temperature=0.2, stream=True).text
    whole = client.chat("chat/gpt-5.5", temperature=0.2).get_json()

    assert '"new_field": 1' in streamed
    assert whole["new_field"] == 1
