"""What fails: what is tried again or elsewhere, and what a client is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from app.settings import RouteSettings
from tests.gateway.conftest import Client, MakeClient, events_of
from tests.support.answers import chat_answer, chat_stream, chunk
from tests.support.fake_upstream import CLOSE, CUT, FakeUpstream, json_reply, sse


def test_a_stream_that_is_cut_ends_with_an_error_event(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(chat_stream("one", tail=(0.05, CUT)))

    events = events_of(client.message(stream=True))

    assert events[-1]["type"] == "error"
    assert "message_stop" not in [event["type"] for event in events]


def test_an_error_whose_status_clients_do_not_know_is_told_anew(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply({"error": {"message": "no money", "type": "billing", "code": None, "param": None}}, 402))

    refused = client.chat()

    assert refused.status_code == 429
    assert refused.json["error"]["code"] == "insufficient_quota"
    assert refused.json["error"]["message"] == "no money"


def test_reasoning_that_an_upstream_cannot_decrypt_is_left_out_the_second_time(
    make_client: MakeClient, upstream: FakeUpstream
) -> None:
    refused = {
        "message": "bad item",
        "type": "invalid_request_error",
        "param": None,
        "code": "invalid_encrypted_content",
    }
    upstream.script(json_reply({"error": refused}, 400), json_reply({"object": "response", "model": "m", "output": []}))
    client = make_client(
        responses={"kind": "openai", "base_url": f"{upstream.url}/v1", "api_key": "k", "dialect": "openai_responses"}
    )
    thought = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "of another account"}
    question = {"type": "message", "role": "user", "content": "hi"}

    said = {"type": "message", "role": "assistant", "content": "hello"}
    items = [question, thought, said, question]

    answer = client.ask("/v1/responses", {"model": "responses/m", "input": items, "store": False})

    assert answer.status_code == 200
    first, second = (seen.json()["input"] for seen in upstream.seen)
    assert first == items
    assert [item["type"] for item in second] == ["message"] * 3


def test_what_one_account_has_sealed_does_not_go_to_the_next(make_client: MakeClient, upstream: FakeUpstream) -> None:
    """qxcnm/Codex-Manager#397: the next account can decrypt neither reasoning nor compactions."""
    table = {"kind": "openai", "base_url": f"{upstream.url}/v1", "dialect": "openai_responses"}
    client = make_client(
        {"routes": {"m": RouteSettings(targets=("one/gpt-5", "two/gpt-5"))}},
        one=table | {"api_key": "a"},
        two=table | {"api_key": "b"},
    )
    limited = json_reply({"error": {"message": "slow down", "code": "rate_limit_exceeded"}}, 429, {"retry-after": "60"})
    upstream.script(limited, json_reply({"object": "response", "model": "m", "output": []}))
    thought = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
    compaction = {"type": "compaction", "id": "cmp_1", "encrypted_content": "gAAA"}
    question = {"type": "message", "role": "user", "content": "hi"}
    items = [question, thought, question | {"role": "assistant"}, compaction, question]

    client.ask("/v1/responses", {"model": "m", "input": items, "store": False})

    first, second = upstream.seen
    assert first.json()["input"] == items
    assert {item["type"] for item in second.json()["input"]} == {"message"}
    assert b"gAAA" not in second.body


def test_a_connection_lost_after_the_finish_does_not_undo_the_answer(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(chat_stream("one", tail=(chunk({}, "stop"), 0.05, CUT)))

    answers = [client.message(stream=True), client.chat(stream=True)]

    assert events_of(answers[0])[-1]["type"] == "message_stop"
    assert events_of(answers[1])[-1] == "[DONE]"
    assert not any("error" in answer.text for answer in answers)


def test_a_stream_that_just_ends_is_no_normal_end(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(chat_stream("one", tail=(CLOSE,)))

    chat_events = events_of(client.chat(stream=True))

    assert "error" in chat_events[-1]
    assert "[DONE]" not in chat_events


def test_an_error_before_the_first_event_is_still_a_status(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(sse(b'data: {"error":{"message":"no such thing","code":400}}\n\n'))

    response = client.message(stream=True)

    assert response.status_code == 400
    assert "no such thing" in response.get_json()["error"]["message"]


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_passing_trouble_of_the_upstream_is_tried_again(client: Client, upstream: FakeUpstream, status: int) -> None:
    upstream.script(json_reply({"error": {"message": "boom"}}, status), json_reply(chat_answer("hello")))

    response = client.chat()

    assert response.status_code == 200
    assert len(upstream.seen) == 2


def test_the_last_real_error_is_what_the_client_sees(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply({"error": {"message": "really broken", "type": "server_error"}}, 500))

    response = client.message()

    assert response.status_code == 500
    assert response.get_json()["error"] == {"type": "api_error", "message": "really broken"}
    assert len(upstream.seen) == 3


def test_a_refused_request_is_not_repeated(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply({"error": {"message": "bad field", "type": "invalid_request_error"}}, 400))

    assert client.message().status_code == 400
    assert len(upstream.seen) == 1


def test_the_next_upstream_of_a_route_answers_when_the_first_cannot(
    make_client: MakeClient, upstream: FakeUpstream
) -> None:
    client = make_client(models={"routes": {"fast": RouteSettings(targets=("chat/one", "messages/two"))}})
    upstream.script(json_reply({"error": {"message": "limit"}}, 429), json_reply({"type": "message", "id": "msg_1",
        "role": "assistant", "model": "two", "content": [{"type": "text", "text": "here"}], "stop_reason": "end_turn",
        "usage": {"input_tokens": 1, "output_tokens": 1}}))  # fmt: skip

    answer = client.chat("fast").get_json()

    assert answer["choices"][0]["message"]["content"] == "here"
    assert [seen.json()["model"] for seen in upstream.seen] == ["one", "two"]


def test_a_route_is_not_followed_beyond_the_number_of_attempts(make_client: MakeClient, upstream: FakeUpstream) -> None:
    targets = ("chat/one", "chat/two", "chat/three", "chat/four")
    client = make_client(server={"max_attempts": 3}, models={"routes": {"fast": RouteSettings(targets=targets)}})
    upstream.script(json_reply({"error": {"message": "limit"}}, 429))

    refused = client.chat("fast")

    assert refused.status_code == 429
    assert [seen.json()["model"] for seen in upstream.seen] == ["one", "two", "three"]


def test_attempts_that_a_route_leaves_belong_to_its_last_target(
    make_client: MakeClient, upstream: FakeUpstream
) -> None:
    routes = {"fast": RouteSettings(targets=("chat/one", "chat/two"))}
    client = make_client(server={"max_attempts": 3}, models={"routes": routes})
    upstream.script(json_reply({"error": {"message": "busy"}}, 503))

    assert client.chat("fast").status_code == 503
    assert [seen.json()["model"] for seen in upstream.seen] == ["one", "two", "two"]


def test_a_fallback_that_was_never_set_up_right_does_not_hide_when_to_come_back(
    make_client: MakeClient, upstream: FakeUpstream, log_lines: Callable[[], list[Any]]
) -> None:
    client = make_client(models={"routes": {"fast": RouteSettings(targets=("chat/one", "chat/two"))}})
    limit = json_reply({"error": {"message": "limit"}}, 429, {"retry-after": "60"})
    upstream.script(limit, json_reply({"error": {"message": "bad key"}}, 401))

    refused = client.chat("fast")

    assert (refused.status_code, refused.headers["retry-after"]) == (429, "60")
    assert len(upstream.seen) == 2
    (line,) = log_lines()
    assert (line["upstream"], line["upstream_status"], line["error"]) == ("chat/one", 429, "rate_limit")


def test_a_long_rate_limit_is_the_clients_to_wait_for(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply({"error": {"message": "limit"}}, 429, {"retry-after": "3600"}))

    response = client.message()

    assert response.status_code == 429
    assert response.headers["retry-after"] == "3600"
    assert response.get_json()["error"]["type"] == "rate_limit_error"
    assert len(upstream.seen) == 1


def test_an_upstream_that_refuses_its_credentials_is_named(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply({"error": {"message": "bad key sk-upstream"}}, 401))

    response = client.chat()

    assert response.status_code == 502
    message = response.get_json()["error"]["message"]
    assert "upstream chat rejected its credentials" in message
    assert "sk-upstream" not in message


def test_a_field_that_an_upstream_refuses_by_name_is_left_out(client: Client, upstream: FakeUpstream) -> None:
    refusal = json_reply({"error": {"message": "Unrecognized request argument supplied: stream_options"}}, 400)
    upstream.script(refusal, chat_stream("hello"))

    response = client.message(stream=True)

    assert response.status_code == 200
    assert "stream_options" in upstream.seen[0].json()
    assert "stream_options" not in upstream.seen[1].json()


def test_a_fault_of_ours_is_said_in_the_clients_dialect_and_told_to_the_log(
    client: Client, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise TypeError("secret internals")

    monkeypatch.setattr("app.gateway.translating.adapt", fail)

    response = client.message()

    assert response.status_code == 500
    error = response.get_json()["error"]
    assert error["type"] == "api_error"
    assert response.headers["request-id"] in error["message"]
    assert "secret internals" not in response.text
    assert "secret internals" in caplog.text


def test_a_fault_of_ours_in_the_middle_of_a_stream_is_an_error_event(
    client: Client, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.dialects.openai_chat.stream_parser import StreamParser

    def fail(*_: object) -> None:
        raise TypeError("secret internals")

    upstream.script(chat_stream("one", tail=(0.1, chunk({}, "stop"))))
    monkeypatch.setattr(StreamParser, "close", fail)

    events = events_of(client.message(stream=True))

    assert events[-1]["type"] == "error"
    assert "secret internals" not in str(events)
