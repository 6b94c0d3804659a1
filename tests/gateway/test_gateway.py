"""The gateway: a request reaches the right upstream in its dialect, and the reply the client in the client's own."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from werkzeug.test import create_environ

from app.settings import RouteSettings
from tests.gateway.conftest import Client, MakeClient, events_of
from tests.support.answers import chat_answer, chat_stream, chunk
from tests.support.fake_upstream import CLOSE, CUT, FakeUpstream, Reply, json_reply, raw, sse


def test_a_request_in_the_upstreams_dialect_keeps_every_byte_but_the_models_name(
    client: Client, upstream: FakeUpstream
) -> None:
    upstream.script(json_reply(chat_answer()))
    body = b'{ "model" : "chat/m","messages":[ {"role":"user","content":"h\\u00e9"}],"x_new": 1.50 }'

    client.ask("/v1/chat/completions", body)

    assert upstream.seen[0].body == body.replace(b"chat/m", b"m")
    assert upstream.seen[0].path == "/v1/chat/completions"


def test_an_upstream_sees_its_own_key_and_nothing_of_the_clients(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply(chat_answer()))

    client.ask(
        "/v1/chat/completions",
        {"model": "chat/m", "messages": [{"role": "user", "content": "hi"}]},
        authorization="Bearer sk-client",
        cookie="a=b",
    )

    sent = upstream.seen[0].headers
    assert sent["authorization"] == "Bearer sk-upstream"
    assert "cookie" not in sent
    assert "sk-client" not in str(sent)


def test_a_messages_client_is_answered_by_a_chat_upstream(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply(chat_answer("hello")))

    response = client.message()

    assert response.status_code == 200
    answer = response.get_json()
    assert answer["content"] == [{"type": "text", "text": "hello"}]
    assert answer["stop_reason"] == "end_turn"
    assert (answer["usage"]["input_tokens"], answer["usage"]["output_tokens"]) == (11, 7)
    assert answer["model"] == "chat/m"
    assert upstream.seen[0].json()["messages"] == [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize("pause", [0.0, 0.1])
def test_a_stream_that_came_whole_needs_one_write_and_any_other_is_written_as_it_comes(
    client: Client, upstream: FakeUpstream, pause: float
) -> None:
    body = b"".join(piece for piece in chat_stream("one", "two").pieces if isinstance(piece, bytes))
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    came, ends = head + b"%x\r\n%b\r\n" % (len(body), body), b"0\r\n\r\n"
    upstream.script(raw(came, pause, ends) if pause else raw(came + ends))
    asked = {"model": "chat/m", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    environ = create_environ("/v1/chat/completions", method="POST", json=asked)

    parts: Any = client.app.wsgi_app(environ, lambda status, headers: None)

    assert parts.came_whole is not bool(pause)
    assert b"".join(parts).endswith(b"data: [DONE]\n\n")


def test_a_stream_passes_from_dialect_to_dialect(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(chat_stream("one ", "two"))

    response = client.message(stream=True)

    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["x-accel-buffering"] == "no"
    events = events_of(response)
    assert [event["type"] for event in events][-2:] == ["message_delta", "message_stop"]
    assert "".join(e["delta"]["text"] for e in events if e["type"] == "content_block_delta") == "one two"


def test_a_streaming_client_gets_a_stream_of_a_whole_answer(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply(chat_answer("hello")))

    events = events_of(client.message(stream=True))

    assert [event["type"] for event in events] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


def test_a_unary_client_gets_the_fold_of_an_upstream_that_only_streams(
    make_client: MakeClient, upstream: FakeUpstream
) -> None:
    client = make_client(chat={"quirks": {"stream_only": True}})
    upstream.script(chat_stream("one ", "two"))

    answer = client.chat().get_json()

    assert upstream.seen[0].json()["stream"] is True
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["message"]["content"] == "one two"
    assert answer["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("content_type", ["TEXT/EVENT-STREAM", "application/json", "text/plain", None])
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("ask", ["message", "chat"])
def test_a_stream_under_a_wrong_name_is_still_one(
    client: Client, upstream: FakeUpstream, content_type: str | None, stream: bool, ask: str
) -> None:
    headers = {"content-type": content_type} if content_type else {}
    upstream.script(Reply(chat_stream("one", "two").pieces, headers=headers))

    response = getattr(client, ask)(stream=stream)

    assert response.status_code == 200, response.text
    assert ("event-stream" in response.headers["content-type"]) is stream
    words = ("one", "two") if content_type == "TEXT/EVENT-STREAM" and stream else ("onetwo",)
    assert all(f'"{word}"' in response.text for word in words)


def test_a_stream_that_is_cut_ends_with_an_error_event(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(chat_stream("one", tail=(0.05, CUT)))

    events = events_of(client.message(stream=True))

    assert events[-1]["type"] == "error"
    assert "message_stop" not in [event["type"] for event in events]


@pytest.mark.parametrize("usage", [None, {"prompt_tokens": 0, "completion_tokens": 0}])
def test_counts_that_an_upstream_does_not_tell_are_estimated(
    client: Client, upstream: FakeUpstream, usage: dict[str, int] | None, log_lines: Callable[[], list[Any]]
) -> None:
    words = ["one two three four five six seven eight nine ten"] * 4
    upstream.script(chat_stream(*words), json_reply(chat_answer(" ".join(words), usage=usage)))
    question = [{"role": "user", "content": "What is the price of a cup of tea? " * 20}]

    *_, ended, _ = events_of(client.message(stream=True, messages=question))
    whole = client.message(messages=question).json

    for told in (ended["usage"], whole["usage"]):
        assert 150 < told["input_tokens"] < 300
        assert 30 < told["output_tokens"] < 80
    assert [line["tokens_estimated"] for line in log_lines()] == [True, True]


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


def test_a_slow_upstream_is_waited_for_with_pings(make_client: MakeClient, upstream: FakeUpstream) -> None:
    client = make_client(server={"stream_start_timeout": 0.1, "ping_interval": 0.1})
    late = chat_stream("hello")
    upstream.script(Reply(late.pieces, headers=late.headers, delay=0.5))

    response = client.message(stream=True)

    assert response.status_code == 200
    before, _, _ = response.text.partition("message_start")
    assert before.count(":") >= 2
    assert events_of(response)[-1]["type"] == "message_stop"


def test_comments_of_an_upstream_that_waits_itself_are_silence(make_client: MakeClient, upstream: FakeUpstream) -> None:
    """OpenRouter sends `: OPENROUTER PROCESSING` until the model answers."""
    client = make_client(server={"stream_start_timeout": 0.1, "ping_interval": 0.1})
    late = chat_stream("hello")
    upstream.script(Reply([*[b": OPENROUTER PROCESSING\n\n", 0.05] * 10, *late.pieces], headers=late.headers))

    before, _, _ = client.message(stream=True).text.partition("message_start")

    assert before.count(":") >= 2


def test_a_pause_in_the_middle_of_a_stream_is_filled_with_pings(
    make_client: MakeClient, upstream: FakeUpstream
) -> None:
    client = make_client(server={"ping_interval": 0.1})
    upstream.script(chat_stream("one", tail=(0.5, chunk({}, "stop"), b"data: [DONE]\n\n")))

    text = client.message(stream=True).text

    assert text.count("event: ping") >= 2


def test_an_upstream_that_is_silent_too_long_is_given_up(make_client: MakeClient, upstream: FakeUpstream) -> None:
    client = make_client(chat={"first_byte_timeout": 0.2})
    upstream.script(Reply(delay=5))

    response = client.message()

    assert response.status_code == 504
    assert response.get_json()["error"]["type"] == "timeout_error"
    upstream.wait_until_left()


def test_a_stream_whose_finish_was_seen_does_not_wait_for_a_close(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(chat_stream("one", tail=(chunk({}, "stop"), 30.0)))
    began = time.monotonic()

    events = events_of(client.message(stream=True))

    assert events[-1]["type"] == "message_stop"
    assert time.monotonic() - began < 5


def test_every_answer_carries_an_id_and_its_log_line_names_it(
    client: Client, upstream: FakeUpstream, log_lines: Callable[[], list[Any]]
) -> None:
    upstream.script(json_reply(chat_answer("a secret word")))

    response = client.message()

    (line,) = log_lines()
    assert response.headers["x-request-id"] == response.headers["request-id"] == line["id"]
    assert (line["in"], line["out"]) == ("anthropic_messages", "openai_chat")
    assert (line["upstream"], line["status"], line["terminal"], line["attempts"]) == ("chat/m", 200, "completed", 1)
    assert (line["tokens_in"], line["tokens_out"]) == (11, 7)
    assert "secret word" not in str(line)


def test_the_log_tells_a_broken_stream_from_a_good_one(
    client: Client, upstream: FakeUpstream, log_lines: Callable[[], list[Any]]
) -> None:
    upstream.script(chat_stream("one"), chat_stream("one", tail=(0.05, CUT)))

    for _ in range(2):
        assert client.message(stream=True).text

    assert [line["terminal"] for line in log_lines()] == ["completed", "upstream_cut"]


def test_the_log_tells_what_the_upstream_refused_and_nothing_where_it_was_good_in_the_end(
    client: Client, upstream: FakeUpstream, log_lines: Callable[[], list[Any]]
) -> None:
    upstream.script(json_reply({"error": {"message": "no"}}, 400), json_reply({}, 503), json_reply(chat_answer()))

    client.message(), client.message()

    refused, saved = log_lines()
    assert (refused["upstream_status"], refused["origin"]) == (400, "upstream")
    assert (saved["status"], saved["attempts"], saved.get("upstream_status")) == (200, 2, None)


def test_at_the_debug_level_the_log_tells_of_each_attempt_but_no_secret(
    client: Client, upstream: FakeUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    upstream.script(json_reply({"error": {"message": "sk-upstream is busy"}}, 503), json_reply(chat_answer("a secret")))

    with caplog.at_level("DEBUG", "dragoman"):
        client.ask(
            "/v1/messages",
            {"model": "chat/m", "max_tokens": 5, "messages": [{"role": "user", "content": "a prompt"}]},
            x_api_key="sk-client",
        )

    assert caplog.text.count("goes to chat/m as openai_chat") == 2
    assert "answers HTTP 503" in caplog.text
    for secret in ("sk-upstream", "sk-client", "a prompt", "a secret"):
        assert secret not in caplog.text


def test_a_credential_never_reaches_the_log(client: Client, log_lines: Callable[[], list[Any]]) -> None:
    client.message("sk-this-is-a-key-in-the-wrong-field")

    assert log_lines()[0]["model"] == "[masked]"


def test_what_could_not_be_carried_is_named_in_a_header(make_client: MakeClient, upstream: FakeUpstream) -> None:
    client = make_client(chat={"quirks": {"top_k": False}})
    upstream.script(json_reply(chat_answer()))

    response = client.message(top_k=5)

    assert "top_k" in response.headers["x-dragoman-dropped"]


def test_a_strict_route_refuses_what_a_normal_one_drops(make_client: MakeClient, upstream: FakeUpstream) -> None:
    quirks = {"quirks": {"top_k": False}}
    client = make_client(chat=quirks, models={"routes": {"careful": RouteSettings(targets=("chat/m",), strict=True)}})

    response = client.message("careful", top_k=5)

    assert response.status_code == 400
    assert "top_k" in response.get_json()["error"]["message"]
    assert upstream.seen == []


def test_a_strict_template_gets_the_conversation_it_wants_from_its_own_dialect_too(
    make_client: MakeClient, upstream: FakeUpstream
) -> None:
    client = make_client(chat={"profile": "llamacpp"})
    upstream.script(json_reply(chat_answer()))

    client.ask(
        "/v1/chat/completions",
        {
            "model": "chat/m",
            "messages": [
                {"role": "developer", "content": "a"},
                {"role": "system", "content": "b"},
                {"role": "user", "content": "c"},
                {"role": "user", "content": "d"},
            ],
        },
    )

    messages = upstream.seen[0].json()["messages"]
    assert [message["role"] for message in messages] == ["system", "user"]
    assert messages[0]["content"] == "a\n\nb"


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


def test_an_image_on_a_private_address_is_refused_where_it_would_have_to_be_fetched(
    make_client: MakeClient, upstream: FakeUpstream
) -> None:
    client = make_client(server={"fetch_urls": True}, chat={"quirks": {"image_urls": False}})
    image = {"type": "image", "source": {"type": "url", "url": f"{upstream.url}/a.png"}}

    response = client.message(messages=[{"role": "user", "content": [image]}])

    assert response.status_code == 400
    assert "cannot be fetched" in response.get_json()["error"]["message"]
    assert upstream.seen == []


@pytest.mark.parametrize("mark", [(b"\xef\xbb\xbf",), (b"\xef", b"\xbb\xbf")], ids=["whole", "cut"])
@pytest.mark.parametrize("ask", [Client.chat, Client.message], ids=["passed", "translated"])
def test_a_byte_order_mark_before_an_answer_is_no_part_of_it(
    client: Client, upstream: FakeUpstream, ask: Any, mark: tuple[bytes, ...]
) -> None:
    answer = json.dumps(chat_answer("hello")).encode()
    upstream.script(Reply((*mark, answer), headers={"content-type": "application/json"}))

    response = ask(client)

    assert response.status_code == 200
    assert response.data[:1] == b"{"
    assert b"hello" in response.data


def test_a_byte_order_mark_does_not_come_after_a_ping(upstream: FakeUpstream, make_client: MakeClient) -> None:
    client = make_client(server={"stream_start_timeout": 0.05})
    upstream.script(sse(0.3, b"\xef\xbb\xbf", chunk({"content": "hi"}), chunk({}, "stop"), b"data: [DONE]\n\n"))

    response = client.chat(stream=True)

    assert b"\xef\xbb\xbf" not in response.data
    assert events_of(response)[-1] == "[DONE]"


# ---- what the log tells


def test_the_log_says_who_asked_what_and_why_it_went_there(
    make_client: MakeClient, upstream: FakeUpstream, log_lines: Callable[[], list[Any]]
) -> None:
    client = make_client(server={"api_keys": ("k-one", "k-two")})
    upstream.script(json_reply(chat_answer("hello")))

    client.ask(
        "/chat/v1/chat/completions",
        {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
        authorization="Bearer k-two",
        user_agent="OpenAI/Python 2.0",
    )

    (line,) = log_lines()
    assert (line["method"], line["path"]) == ("POST", "/chat/v1/chat/completions")
    assert (line["key"], line["agent"], line["peer"]) == ("api_keys[1]", "OpenAI-Python/2.0", "127.0.0.1")
    assert (line["matched"], line["level"]) == ("the path", "INFO")
    assert "k-two" not in str(line)


FAILURES = {
    "the client's": (json_reply({"error": {"message": "bad temperature"}}, 400), "INFO", "bad temperature"),
    "an upstream's": (json_reply({"error": {"message": "the server caught fire"}}, 500), "WARNING", "caught fire"),
    "of the credential": (json_reply({"error": {"message": "wrong key"}}, 401), "WARNING", "wrong key"),
    "with a secret": (json_reply({"error": {"message": "no Bearer abcdefghijkl"}}, 400), "INFO", "[masked]"),
}


@pytest.mark.parametrize(("reply", "level", "said"), FAILURES.values(), ids=FAILURES)
def test_the_log_has_the_sentence_of_an_error(
    make_client: MakeClient,
    upstream: FakeUpstream,
    log_lines: Callable[[], list[Any]],
    reply: Reply,
    level: str,
    said: str,
) -> None:
    client = make_client(server={"max_attempts": 1})
    upstream.script(reply)

    client.chat()

    (line,) = log_lines()
    assert line["level"] == level
    assert said in line["message"]
    assert len(line["message"]) <= 300


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/api/tags", 404), ("POST", "/v1/nothing", 404), ("GET", "/v1/messages", 405)],
)
def test_a_wrong_path_leaves_a_line(
    client: Client, log_lines: Callable[[], list[Any]], method: str, path: str, status: int
) -> None:
    client.http.open(path, method=method)

    (line,) = log_lines()
    assert (line["method"], line["path"], line["status"]) == (method, path, status)


def test_a_limit_that_is_lowered_is_not_called_dropped(
    make_client: MakeClient, upstream: FakeUpstream, log_lines: Callable[[], list[Any]]
) -> None:
    route = RouteSettings(targets=("chat/m",), max_output=16384)
    client = make_client(models={"routes": {"t": route}})
    upstream.script(json_reply(chat_answer("hello")))

    answer = client.message("t", max_tokens=64000)

    assert answer.headers["x-dragoman-lowered"] == "max_tokens 64000->16384"
    assert "x-dragoman-dropped" not in answer.headers
    (line,) = log_lines()
    assert line["lowered"] == ["max_tokens 64000->16384"]
    assert "dropped" not in line


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
def test_an_error_tells_the_id_that_the_log_has(client: Client, log_lines: Callable[[], list[Any]], path: str) -> None:
    answer = client.ask(path, {"model": "nobody/m", "input": "x", "messages": []})

    (line,) = log_lines()
    assert answer.get_json()["request_id"] == line["id"] == answer.headers["x-request-id"]
