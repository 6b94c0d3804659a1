"""Counts of tokens as servers tell them, for clients that compact their history by them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.field.asking import both_modes
from tests.field.pairs import chat_events, chat_reply, delta, whole_reply
from tests.gateway.conftest import Client, events_of
from tests.support import answers
from tests.support.answers import message, named
from tests.support.fake_upstream import FakeUpstream, Reply, json_reply, sse


def counted(client: Client, upstream: FakeUpstream, dialect: str, usage: Any, *, stream: bool) -> dict[str, Any]:
    """What a client is told of the counts of a request."""
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": usage}
    whole = json_reply({**chat_reply({"content": "t"}), "usage": usage})
    upstream.script(chat_events(delta({"content": "t"}), end, "[DONE]") if stream else whole)
    if dialect == "A":
        response = client.message(stream=stream)
        if not stream:
            return dict(response.json["usage"])
        return next(event["usage"] for event in events_of(response) if event["type"] == "message_delta")
    response = client.ask("/v1/responses", {"model": "chat/m", "input": "hi", "stream": stream})
    if not stream:
        return dict(response.json["usage"])
    return next(event["response"]["usage"] for event in events_of(response) if event["type"] == "response.completed")


@both_modes
@pytest.mark.parametrize("dialect", ["A", "R"])
@pytest.mark.parametrize(
    "usage",
    [
        {},
        {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
        {"prompt_tokens": -1, "completion_tokens": -1},
        {"promptTokenCount": 10, "candidatesTokenCount": 5},
        {"prompt_tokens": None, "completion_tokens": None},
        [1, 2],
        "n/a",
    ],
    ids=str,
)
def test_counts_that_say_nothing_are_estimated(
    client: Client, upstream: FakeUpstream, dialect: str, usage: Any, stream: bool
) -> None:
    """FB-103, for servers that have a place for counts and none in it."""
    told = counted(client, upstream, dialect, usage, stream=stream)

    assert told["input_tokens"] > 0
    assert told["output_tokens"] > 0


@both_modes
@pytest.mark.parametrize("dialect", ["A", "R"])
def test_counts_of_a_cache_are_read_under_the_names_of_responses(
    client: Client, upstream: FakeUpstream, dialect: str, stream: bool
) -> None:
    """new-api and its like answer Chat with the counts of Responses."""
    usage = {"input_tokens": 10, "output_tokens": 5, "input_tokens_details": {"cached_tokens": 4},
             "output_tokens_details": {"reasoning_tokens": 2}}  # fmt: skip

    told = counted(client, upstream, dialect, usage, stream=stream)

    if dialect == "A":
        assert (told["input_tokens"], told["cache_read_input_tokens"], told["output_tokens"]) == (6, 4, 5)
    else:
        assert (told["input_tokens"], told["input_tokens_details"]["cached_tokens"]) == (10, 4)
        assert told["output_tokens_details"]["reasoning_tokens"] == 2


# What servers send, and what it means: fresh input, read from a cache, written to it, output.
COUNTS: dict[str, tuple[dict[str, Any], tuple[int, int, int, int]]] = {
    "ithtelab/workbuddy-manager#39": (
        {"prompt_tokens": 1204, "completion_tokens": 9, "prompt_cache_hit_tokens": 1024,
         "prompt_cache_write_tokens": 100, "cached_tokens": 0, "cache_read_input_tokens": 0},
        (80, 1024, 100, 9),
    ),
    "rikkahub/rikkahub#1576 Moonshot": (
        {"prompt_tokens": 100, "completion_tokens": 9, "total_tokens": 109, "cached_tokens": 40}, (60, 40, 0, 9),
    ),
    "rikkahub/rikkahub#1576 DeepSeek": (
        {"prompt_tokens": 100, "completion_tokens": 9, "prompt_cache_hit_tokens": 64, "prompt_cache_miss_tokens": 36},
        (36, 64, 0, 9),
    ),
    "earendil-works/pi#2802": (
        {"prompt_tokens": 100, "completion_tokens": 9,
         "prompt_tokens_details": {"cached_tokens": 10, "cache_write_tokens": 20}},
        (70, 10, 20, 9),
    ),
    "openai/openai-python#2544": (
        {"prompt_tokens": 2181, "completion_tokens": 57, "total_tokens": 2518, "reasoning_tokens": 280,
         "prompt_tokens_details": None, "completion_tokens_details": None},
        (2181, 0, 0, 337),
    ),
    "MiniMax-AI/MiniMax-M2.5#2": (
        {"total_tokens": 30, "total_characters": 0, "prompt_tokens": 20, "completion_tokens": 10}, (20, 0, 0, 10),
    ),
    "DashScope's explicit cache": (
        {"prompt_tokens": 100, "completion_tokens": 9, "total_tokens": 109,
         "prompt_tokens_details": {"cached_tokens": 10, "cache_creation_input_tokens": 20}},
        (70, 10, 20, 9),
    ),
    "the total alone": ({"total_tokens": 30, "completion_tokens": 10}, (20, 0, 0, 10)),
    "texts": ({"prompt_tokens": "20", "completion_tokens": "10"}, (20, 0, 0, 10)),
    "fractions": ({"prompt_tokens": 20.0, "completion_tokens": 10.0}, (20, 0, 0, 10)),
}  # fmt: skip


@both_modes
def test_counts_are_read_under_every_vendor_s_names(client: Client, upstream: FakeUpstream, stream: bool) -> None:
    wrong = {}
    for case, (usage, meant) in COUNTS.items():
        told = counted(client, upstream, "A", usage, stream=stream)
        cache = told.get("cache_read_input_tokens", 0), told.get("cache_creation_input_tokens", 0)
        if (got := (told["input_tokens"], *cache, told["output_tokens"])) != meant:
            wrong[case] = got

    assert wrong == {}


def test_zeros_after_the_counts_are_ignored(client: Client, upstream: FakeUpstream) -> None:
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": {
        "prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107}}  # fmt: skip
    zeros = {"choices": [], "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}}
    upstream.script(chat_events(delta({"content": "t"}), end, zeros, "[DONE]"))

    usage = next(event["usage"] for event in events_of(client.message(stream=True)) if event["type"] == "message_delta")

    assert (usage["input_tokens"], usage["output_tokens"]) == (100, 7)


# What a Messages server says at the start and at the end, and what it means, as above.
ENDS: dict[str, tuple[dict[str, Any], dict[str, Any], tuple[int, int, int, int]]] = {
    "zero at the end": (
        {"input_tokens": 100, "cache_read_input_tokens": 900}, {"input_tokens": 0, "output_tokens": 7},
        (100, 900, 0, 7),
    ),
    "all at the end": (
        {"input_tokens": 0}, {"input_tokens": 100, "cache_read_input_tokens": 900, "output_tokens": 7},
        (100, 900, 0, 7),
    ),
    "more at the end": ({"input_tokens": 100}, {"input_tokens": 250, "output_tokens": 7}, (250, 0, 0, 7)),
    "writes by lifetime only": (
        {"input_tokens": 100, "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 30}},
        {"output_tokens": 7},
        (100, 0, 50, 7),
    ),
}  # fmt: skip


def message_events(first: dict[str, Any], last: dict[str, Any]) -> Reply:
    """A Messages stream with these counts at its start and at its end."""
    return sse(*named(*answers.message_events(message("t", usage=first), **last)))


@pytest.mark.parametrize("case", ENDS)
def test_counts_at_both_ends_of_a_messages_stream_are_joined(client: Client, upstream: FakeUpstream, case: str) -> None:
    first, last, meant = ENDS[case]
    upstream.script(message_events(first, last))

    response = client.chat("messages/claude-sonnet-4-5", stream=True, stream_options={"include_usage": True})

    usage = next(event["usage"] for event in events_of(response) if event != "[DONE]" and event.get("usage"))
    details = usage["prompt_tokens_details"]
    read, written = details["cached_tokens"], details["cache_write_tokens"]
    assert (usage["prompt_tokens"] - read - written, read, written, usage["completion_tokens"]) == meant


@pytest.mark.parametrize("usage", [{}, {"usage": None}, {"usage": {}}, {"usage": {"output_tokens": 3}}], ids=str)
def test_a_whole_message_has_the_counts_that_its_sdk_needs(
    client: Client, upstream: FakeUpstream, usage: dict[str, Any]
) -> None:
    upstream.script(json_reply({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
        "stop_sequence": None, "content": [{"type": "text", "text": "t"}], **usage,
    }))  # fmt: skip

    answered = client.message("messages/claude-sonnet-4-5").json

    assert answered["content"] == [{"type": "text", "text": "t"}]
    assert all(type(answered["usage"][name]) is int for name in ("input_tokens", "output_tokens"))


# Counts in odd forms, in Responses and Messages: those of both are ten in and five out.
ODD: dict[str, list[dict[str, Any]]] = {
    "responses": [
        {"input_tokens": 10.0, "output_tokens": 5.0, "total_tokens": 15.0},
        {"input_tokens": "10", "output_tokens": "5", "total_tokens": "15"},
        {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
        {"input_tokens": 10, "output_tokens": 5, "input_tokens_details": None, "output_tokens_details": None},
    ],
    "messages": [
        {"input_tokens": 10.0, "output_tokens": 5.0},
        {"input_tokens": "10", "output_tokens": "5"},
        {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": None, "cache_creation_input_tokens": None},
    ],
}


def counted_by(to: str, usage: dict[str, Any], *, stream: bool) -> Any:
    if to == "messages":
        reply = {**whole_reply("A", "t"), "usage": usage}
        return json_reply(reply) if not stream else message_events(usage, {"output_tokens": usage["output_tokens"]})
    reply = {**whole_reply("R", "t"), "usage": usage}
    end = {"type": "response.completed", "sequence_number": 0, "response": reply}
    return sse(*named(end)) if stream else json_reply(reply)


@both_modes
@pytest.mark.parametrize("to", ODD)
def test_odd_counts_neither_break_an_answer_nor_get_lost(
    every: Client, upstream: FakeUpstream, to: str, stream: bool
) -> None:
    for usage in ODD[to]:
        upstream.script(counted_by(to, usage, stream=stream))

        response = every.chat(f"{to}/m", stream=stream, stream_options={"include_usage": True} if stream else None)

        bodies = events_of(response) if stream else [response.json]
        told = next(body["usage"] for body in bodies if body != "[DONE]" and body.get("usage"))
        assert (told["prompt_tokens"], told["completion_tokens"]) == (10, 5), usage


@pytest.mark.parametrize("to", ODD)
def test_counts_of_zero_are_estimated_whoever_sends_them(every: Client, upstream: FakeUpstream, to: str) -> None:
    upstream.script(counted_by(to, {"input_tokens": 0, "output_tokens": 0}, stream=True))

    response = every.chat(f"{to}/m", stream=True, stream_options={"include_usage": True})

    told = next(body["usage"] for body in events_of(response) if body != "[DONE]" and body.get("usage"))
    assert told["prompt_tokens"] > 0
    assert told["completion_tokens"] > 0
