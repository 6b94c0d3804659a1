"""Thoughts that come as something else than a text."""

from __future__ import annotations

from typing import Any

import pytest

from tests.field.asking import UPSTREAMS, body_of, both_modes, every_client
from tests.field.pairs import ask, chat_events, chat_reply, delta, whole_reply
from tests.gateway.conftest import Client, events_of
from tests.support.fake_upstream import FakeUpstream, json_reply

SHAPES: list[dict[str, Any]] = [
    {"reasoning_content": [{"type": "text", "text": "because"}]},
    {"reasoning_content": ["be", "cause"]},
    {"reasoning_content": {"text": "because"}},
    {"reasoning": {"content": "because"}},
    {"reasoning": {"summary": "because"}},
    {"reasoning": [{"type": "summary_text", "text": "be"}, {"type": "summary_text", "text": "cause"}]},
]


@every_client
@both_modes
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_thought_is_a_text_for_every_client(
    client: Client, upstream: FakeUpstream, dialect: str, stream: bool, shape: dict[str, Any]
) -> None:
    whole = json_reply(chat_reply({"content": "t", **shape}))
    upstream.script(
        chat_events(delta(shape), delta({"content": "t"}), delta({}, "stop"), "[DONE]") if stream else whole
    )

    told = ask(client, dialect, "chat/m", stream=stream)

    assert (told.error, told.text, told.thought) == ("", "t", "because")


@every_client
@pytest.mark.parametrize("odd", [{}, [], True, 7, {"effort": "high"}, [{"type": "x"}]])
def test_what_is_no_thought_is_none(client: Client, upstream: FakeUpstream, dialect: str, odd: Any) -> None:
    upstream.script(json_reply(chat_reply({"content": "t", "reasoning": odd})))

    told = ask(client, dialect, "chat/m")

    assert (told.error, told.text, told.thought) == ("", "t", "")


@every_client
def test_a_chunk_whose_delta_is_null_says_nothing(client: Client, upstream: FakeUpstream, dialect: str) -> None:
    end = {"choices": [{"index": 0, "delta": None, "finish_reason": "stop"}]}
    upstream.script(chat_events(delta({"content": "t"}), end, "[DONE]"))

    assert ask(client, dialect, "chat/m", stream=True).text == "t"


SUMMARIES = {
    "A": {"type": "compaction", "content": "so far"},
    "R": {"id": "cmp_1", "type": "compaction", "encrypted_content": "sealed"},
}


@both_modes
@pytest.mark.parametrize("server", SUMMARIES)
def test_a_summary_that_replaces_the_history_comes_back_from_a_client_of_chat(
    every: Client, upstream: FakeUpstream, server: str, stream: bool
) -> None:
    summary, body = SUMMARIES[server], whole_reply(server, "t")
    where = "content" if server == "A" else "output"
    upstream.script(json_reply(body | {where: [summary, *body[where]]}))
    path, asked = body_of("C")
    told = every.ask(path, asked | {"model": UPSTREAMS[server], "stream": stream})
    said = told.json["choices"][0]["message"] if not stream else {"role": "assistant", "content": "t"}
    if stream:
        deltas = [event["choices"][0]["delta"] for event in events_of(told)[:-1] if event["choices"]]
        said["reasoning_details"] = [entry for delta in deltas for entry in delta.get("reasoning_details", ())]
    turns = [{"role": "user", "content": "hi"}, said, {"role": "user", "content": "go"}]

    every.ask(path, asked | {"model": UPSTREAMS[server], "messages": turns})

    replayed = upstream.seen[-1].json()
    assert summary in (replayed["messages"][1]["content"] if server == "A" else replayed["input"]), replayed
