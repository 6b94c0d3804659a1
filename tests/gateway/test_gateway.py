"""Requests on their way through the gateway, whole and streamed, from dialect to dialect."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from werkzeug.test import create_environ

from app.settings import RouteSettings
from tests.gateway.conftest import Client, MakeClient, events_of
from tests.support.answers import chat_answer, chat_stream, chunk
from tests.support.fake_upstream import FakeUpstream, Reply, json_reply, raw, sse


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
