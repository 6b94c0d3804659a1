"""An upstream of Anthropic Messages pauses its turn: clients of other dialects get one answer all the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from werkzeug.test import TestResponse

from app.gateway.replies.paused_turn import MAX_PAUSES
from app.settings import RouteSettings
from tests.gateway.conftest import Client, MakeClient, events_of
from tests.support.answers import events_of_blocks, message, named
from tests.support.fake_upstream import CUT, STALL, FakeUpstream, Piece, Reply, json_reply, raw, sse

THINKING = {"type": "thinking", "thinking": "Let me look.", "signature": "c2lnbmVk"}
SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "price of tea, 2.50"}}
FOUND = {
    "type": "web_search_tool_result",
    "tool_use_id": "srvtoolu_1",
    "content": [
        {"type": "web_search_result", "url": "https://tea.example", "title": "Tea", "encrypted_content": "Eq=="}
    ],
}
CITATION = {"type": "web_search_result_location", "url": "https://tea.example", "title": "Tea", "cited_text": "2.50",
            "encrypted_index": "Ei=="}  # fmt: skip

Ask = Callable[..., TestResponse]


def text(said: str, *citations: dict[str, Any]) -> dict[str, Any]:
    return {"type": "text", "text": said, **({"citations": list(citations)} if citations else {})}


def began(*blocks: dict[str, Any], read: int = 100) -> tuple[bytes, ...]:
    usage = {"input_tokens": read, "cache_read_input_tokens": 10, "output_tokens": 1}
    return named(
        {"type": "message_start", "message": {**message(usage=usage), "stop_reason": None}}, *events_of_blocks(*blocks)
    )


def turn(*blocks: dict[str, Any], stop: str = "pause_turn", read: int = 100, wrote: int = 7, **more: Any) -> Reply:
    """A streamed turn of some blocks."""
    delta = {"stop_reason": stop, "stop_sequence": None, **more}
    ended = {"type": "message_delta", "delta": delta, "usage": {"output_tokens": wrote}}
    return sse(*began(*blocks, read=read), *named(ended, {"type": "message_stop"}))


def said_at_the_end(upstream: FakeUpstream, seen: int) -> Any:
    """The assistant's content that a request of a later round ends with."""
    last = upstream.seen[seen].json()["messages"][-1]
    assert last["role"] == "assistant"
    return last["content"]


@pytest.fixture
def chat(client: Client) -> Ask:
    return lambda **more: client.chat("messages/m", web_search_options={}, **more)


@pytest.fixture
def respond(client: Client) -> Ask:
    body = {"model": "messages/m", "input": "price?", "tools": [{"type": "web_search"}], "store": False}
    return lambda **more: client.ask("/v1/responses", {**body, **more})


def test_a_chat_client_gets_one_answer_of_three_rounds(chat: Ask, upstream: FakeUpstream) -> None:
    upstream.script(turn(THINKING, SEARCH), turn(FOUND, text("Tea ")), turn(text("costs 2.50."), stop="end_turn"))

    answer = chat().get_json()

    assert answer["choices"][0]["message"]["content"] == "Tea costs 2.50."
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert len(upstream.seen) == 3


def test_a_stream_goes_on_through_all_rounds_with_one_start_and_one_finish(chat: Ask, upstream: FakeUpstream) -> None:
    upstream.script(turn(THINKING, SEARCH), turn(FOUND, text("Tea ")), turn(text("costs 2.50."), stop="end_turn"))

    events = events_of(chat(stream=True, stream_options={"include_usage": True}))

    choices = [choice for event in events[:-1] for choice in event["choices"]]
    assert "".join(choice["delta"].get("content") or "" for choice in choices) == "Tea costs 2.50."
    assert [choice["finish_reason"] for choice in choices if choice["finish_reason"]] == ["stop"]
    assert [choice["delta"]["role"] for choice in choices if "role" in choice["delta"]] == ["assistant"]
    assert len({event["id"] for event in events[:-1]}) == 1
    assert len([event for event in events[:-1] if event.get("usage")]) == 1
    assert events[-1] == "[DONE]"


def test_a_responses_client_gets_the_items_of_all_rounds_in_order(respond: Ask, upstream: FakeUpstream) -> None:
    upstream.script(*[turn(THINKING, SEARCH), turn(FOUND, text("Tea costs 2.50.", CITATION), stop="end_turn")] * 2)

    streamed = events_of(respond(stream=True))[:-1]
    whole = respond().get_json()

    assert [event["sequence_number"] for event in streamed] == list(range(len(streamed)))
    assert [event["type"] for event in streamed].count("response.created") == 1
    assert streamed[-1]["type"] == "response.completed"
    indices = [event["output_index"] for event in streamed if event["type"] == "response.output_item.added"]
    assert indices == list(range(len(indices)))
    for response in (streamed[-1]["response"], whole):
        assert response["status"] == "completed"
        kinds = [item["type"] for item in response["output"]]
        assert (kinds[0], kinds[-1]) == ("reasoning", "message")
        assert response["output"][-1]["content"][0]["text"] == "Tea costs 2.50."


@pytest.mark.parametrize("stream", [True, False])
def test_the_upstream_gets_back_what_it_said_as_it_came(chat: Ask, upstream: FakeUpstream, stream: bool) -> None:
    cited = text("Tea ", CITATION)
    upstream.script(turn(THINKING, SEARCH), turn(FOUND, cited), turn(text("costs 2.50."), stop="end_turn"))

    assert chat(stream=stream).text

    first, second, third = (seen.json() for seen in upstream.seen)
    assert said_at_the_end(upstream, 1) == [THINKING, SEARCH]
    assert said_at_the_end(upstream, 2) == [THINKING, SEARCH, FOUND, cited]
    for later in (second, third):
        assert {**later, "messages": later["messages"][:-1]} == first
    for block in (THINKING, SEARCH):
        assert json.dumps(block, separators=(",", ":")).encode() in upstream.seen[2].body
    assert {seen.headers["x-api-key"] for seen in upstream.seen} == {"sk-upstream"}


def test_tools_go_on_in_the_machine_that_they_began_in(chat: Ask, upstream: FakeUpstream) -> None:
    machine = {"id": "container_1", "expires_at": "2026-01-01T00:00:00Z"}
    upstream.script(turn(SEARCH, container=machine), turn(FOUND), turn(text("Tea."), stop="end_turn"))

    chat()

    assert [seen.json().get("container") for seen in upstream.seen] == [None, "container_1", "container_1"]


@pytest.mark.parametrize("stream", [True, False])
def test_the_input_is_that_of_the_last_round_and_outputs_add_up(
    respond: Ask, upstream: FakeUpstream, stream: bool, log_lines: Callable[[], list[Any]]
) -> None:
    upstream.script(
        turn(SEARCH, read=100, wrote=7), turn(FOUND, read=300, wrote=8), turn(text("Tea."), stop="end_turn", read=400)
    )

    answered = respond(stream=stream)

    usage = (events_of(answered)[-2]["response"] if stream else answered.get_json())["usage"]
    assert (usage["input_tokens"], usage["output_tokens"]) == (410, 22)
    assert usage["input_tokens_details"]["cached_tokens"] == 10
    (line,) = log_lines()
    assert (line["tokens_in"], line["tokens_cached"], line["tokens_out"]) == (830, 30, 22)
    assert (line["attempts"], line["terminal"]) == (3, "completed")


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_that_never_ends_is_cut_short(respond: Ask, upstream: FakeUpstream, stream: bool) -> None:
    upstream.script(turn(SEARCH, FOUND))

    answered = respond(stream=stream)

    response = events_of(answered)[-2]["response"] if stream else answered.get_json()
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert len(upstream.seen) == 1 + MAX_PAUSES


def test_the_last_pause_that_is_allowed_is_followed_by_an_ordinary_end(chat: Ask, upstream: FakeUpstream) -> None:
    upstream.script(*[turn(SEARCH, FOUND)] * MAX_PAUSES, turn(text("Tea."), stop="end_turn"))

    (choice,) = chat().get_json()["choices"]

    assert (choice["message"]["content"], choice["finish_reason"]) == ("Tea.", "stop")


def test_a_round_without_a_word_is_not_followed_by_its_like(chat: Ask, upstream: FakeUpstream) -> None:
    upstream.script(turn())

    assert chat().get_json()["choices"][0]["finish_reason"] == "length"
    assert len(upstream.seen) == 1


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_of_the_upstreams_dialect_gets_the_pause_as_it_is(
    make_client: MakeClient, upstream: FakeUpstream, stream: bool
) -> None:
    routes = {"careful": RouteSettings(targets=("messages/m",), strict=True)}
    client = make_client(models={"routes": routes})
    upstream.script(turn(text("Tea")))
    tools = [{"type": "web_search_20250305", "name": "web_search"}]

    for model in ("messages/m", "careful"):
        assert '"pause_turn"' in client.message(model, tools=tools, stream=stream).text
    assert len(upstream.seen) == 2


def test_without_tools_of_the_upstream_nothing_is_asked_otherwise(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(turn(text("Tea."), stop="end_turn"))

    client.chat("messages/m")

    assert not upstream.seen[0].json().get("stream")


def test_a_failure_of_a_later_round_is_a_status_for_a_unary_client(chat: Ask, upstream: FakeUpstream) -> None:
    refusal = {"type": "error", "error": {"type": "invalid_request_error", "message": "too much"}}
    upstream.script(turn(SEARCH), json_reply(refusal, 400))

    refused = chat()

    assert refused.status_code == 400
    assert refused.get_json()["error"]["message"] == "too much"
    assert len(upstream.seen) == 2


def test_a_failure_of_a_later_round_is_an_error_event_in_a_stream(
    chat: Ask, upstream: FakeUpstream, log_lines: Callable[[], list[Any]]
) -> None:
    refusal = {"type": "error", "error": {"type": "authentication_error", "message": "bad key"}}
    upstream.script(turn(text("Tea "), SEARCH), json_reply(refusal, 401))

    events = events_of(chat(stream=True))

    assert events[-1]["error"]["message"].startswith("upstream messages rejected its credentials")
    (line,) = log_lines()
    assert (line["terminal"], line["attempts"], line["upstream_status"]) == ("error", 2, 401)
    assert (line["tokens_in"], line["tokens_out"]) == (110, 7)


@pytest.mark.parametrize("stream", [True, False])
def test_a_passing_trouble_between_two_rounds_repeats_no_other_round(
    chat: Ask, upstream: FakeUpstream, stream: bool
) -> None:
    busy = json_reply({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}, 529)
    upstream.script(turn(SEARCH), busy, turn(FOUND, text("Tea."), stop="end_turn"))

    answered = chat(stream=stream)

    assert "Tea." in answered.text
    assert [len(seen.json()["messages"]) for seen in upstream.seen] == [1, 2, 2]


@pytest.mark.parametrize("stream", [True, False])
def test_a_later_round_that_breaks_off_is_no_reason_to_begin_anew(
    chat: Ask, upstream: FakeUpstream, stream: bool
) -> None:
    upstream.script(turn(SEARCH), sse(*began(FOUND, text("Te")), 0.05, CUT))

    answered = chat(stream=stream)

    assert (answered.status_code == 200) is stream
    assert "error" in (events_of(answered)[-1] if stream else answered.get_json())
    assert len(upstream.seen) == 2


def test_a_client_waits_for_the_next_round_with_pings(make_client: MakeClient, upstream: FakeUpstream) -> None:
    client = make_client(server={"stream_start_timeout": 0.1, "ping_interval": 0.1})
    late = turn(text("costs 2.50."), stop="end_turn")
    upstream.script(turn(text("Tea "), SEARCH), Reply(late.pieces, headers=late.headers, delay=0.5))

    before, _, after = client.chat("messages/m", web_search_options={}, stream=True).text.partition('"Tea "')

    assert before.count("\n: ") + before.startswith(": ") == 0
    assert after.partition('"costs 2.50."')[0].count("\n: ") >= 2


@pytest.mark.parametrize("silence", [raw(STALL), sse(*began(text("costs")), STALL)])
def test_a_client_that_leaves_in_a_later_round_ends_it(
    make_client: MakeClient, upstream: FakeUpstream, silence: Reply
) -> None:
    client = make_client(server={"stream_start_timeout": 0.1, "ping_interval": 0.1})
    upstream.script(turn(text("Tea "), SEARCH), silence)
    body = {"model": "messages/m", "messages": [{"role": "user", "content": "hi"}], "web_search_options": {}}

    answered = client.http.post("/v1/chat/completions", json={**body, "stream": True}, buffered=False)
    next(part for part in answered.response if part.startswith(b":") and len(upstream.seen) == 2)
    answered.close()

    upstream.wait_until_left(1)
    assert len(upstream.seen) == 2


def test_an_upstream_that_answers_whole_though_asked_for_a_stream_is_taken_at_its_word(
    chat: Ask, upstream: FakeUpstream
) -> None:
    upstream.script(json_reply({"type": "message", "id": "msg_1", "role": "assistant", "model": "m",
        "content": [text("Tea")], "stop_reason": "pause_turn", "usage": {"input_tokens": 1}}))  # fmt: skip

    (choice,) = chat().get_json()["choices"]

    assert (choice["message"]["content"], choice["finish_reason"]) == ("Tea", "length")


@pytest.mark.parametrize("pieces", [1, 7])
def test_a_round_is_read_in_any_pieces(chat: Ask, upstream: FakeUpstream, pieces: int) -> None:
    whole = b"".join(piece for piece in turn(text("Tea "), SEARCH).pieces if isinstance(piece, bytes))
    cut: tuple[Piece, ...] = tuple(
        whole[at : at + len(whole) // pieces] for at in range(0, len(whole), len(whole) // pieces)
    )
    upstream.script(sse(*cut), turn(text("costs 2.50."), stop="end_turn"))

    assert chat().get_json()["choices"][0]["message"]["content"] == "Tea costs 2.50."
