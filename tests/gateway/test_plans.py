"""Specifies plans: a request like one before gets what the first of them got, on a shorter way."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from werkzeug.test import TestResponse

from app.accounts.record import RequestRecord
from app.gateway.plan import MAX_PLANS, Plan
from app.headers import FIELDS, HeaderFields
from app.settings import RouteSettings
from app.settings.tables import CredentialSettings
from tests.gateway.conftest import Client, MakeClient, listen
from tests.support.answers import chat_answer, chat_stream, chunk, unnamed
from tests.support.fake_upstream import CLOSE, CUT, FakeUpstream, Reply, json_reply, raw, sse

HEADERS = {
    "content-type": "application/json",
    "host": "localhost",
    "user-agent": "OpenAI/Python 3.52",
    "anthropic-version": "2023-06-01",
}
CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
TWO = (CredentialSettings(name="a", api_key="k-a"), CredentialSettings(name="b", api_key="k-b"))
SAID = [{"role": "user", "content": "hi"}]


class Sender:
    """A client whose requests have the same head, read once (`planned`), or each a head of its own."""

    def __init__(self, client: Client, path: str = CHAT, *, planned: bool = True) -> None:
        self.client, self.path, self.planned = client, path, planned
        self.records = listen(client)
        self.fields = HeaderFields(HEADERS)

    def send(self, body: bytes) -> TestResponse:
        fields = self.fields if self.planned else HeaderFields(HEADERS)
        answer: TestResponse = self.client.http.post(
            self.path, data=body, headers=HEADERS, environ_overrides={FIELDS: fields}
        )
        return answer

    def ask(self, **more: Any) -> TestResponse:
        needed = {"max_tokens": 9} if self.path == MESSAGES else {}
        return self.send(json.dumps({"model": "chat/m", "messages": SAID, **needed, **more}).encode())


@pytest.fixture
def by_plan(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What plans have answered so far, and the streams that they have opened."""
    answers: list[object] = []

    def watch(name: str) -> None:
        answer = getattr(Plan, name)

        def note(*args: Any) -> Any:
            answers.append(answer(*args))
            return answers[-1]

        monkeypatch.setattr(Plan, name, note)

    watch("answer")
    watch("open")
    return answers


def seen_of(upstream: FakeUpstream) -> list[Any]:
    return [(seen.method, seen.path, seen.headers, seen.body) for seen in upstream.seen]


def told_by(answer: TestResponse) -> Any:
    """All of an answer but what is another one each time."""
    headers = {name.lower(): value for name, value in answer.headers.items()}
    for name in ("x-request-id", "request-id"):
        assert headers.pop(name)
    record_id = answer.headers["x-request-id"]
    body = re.sub(rb'"created(?:_at)?":[0-9]{10,}', b"", answer.data.replace(record_id.encode(), b"ID"))
    body = re.sub(rb"(: keep-alive\n\n)+", b"PINGS", body)
    return answer.status, list(headers.items()), body


def without_times(record: RequestRecord) -> Any:
    told = msgspec.to_builtins(record)
    for name in ("id", "received"):
        del told[name]
    told["times"] = sorted(told.get("times", {}).keys() - {"end"})
    told["attempts"] = [
        {name: value for name, value in attempt.items() if name not in ("started", "ended", "waited")}
        for attempt in told.get("attempts", ())
    ]
    return told


TEXT = {"content-type": "text/plain"}
ERROR = {"error": {"message": "no such thing", "type": "invalid_request_error", "param": None, "code": None}}
REPLIES: dict[str, tuple[Reply, ...]] = {
    "plain": (json_reply(chat_answer(), headers={"x-request-id": "up-1", "x-ratelimit-remaining-requests": "3"}),),
    "of another name": (json_reply({**chat_answer(), "model": "gpt-m-2026"}),),
    "in chunks": (Reply((json.dumps(chat_answer()).encode(),), headers={"content-type": "application/json"}),),
    "in two pieces": (
        Reply((json.dumps(chat_answer()).encode()[:40], 0.05, json.dumps(chat_answer()).encode()[40:])),
    ),
    "late": (json_reply(chat_answer("é \U0001f600")),),
    "no usage": (json_reply({name: value for name, value in chat_answer().items() if name != "usage"}),),
    "without an id": (json_reply({name: value for name, value in chat_answer().items() if name != "id"}),),
    "two choices": (json_reply({**chat_answer(), "choices": chat_answer()["choices"] * 2}),),
    "a stream": (chat_stream("a", "b"),),
    "a stream of another type": (
        Reply((chunk({"content": "x"}), chunk({}, "stop"), b"data: [DONE]\n\n"), headers=TEXT),
    ),
    "a stream that came whole": (
        raw(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 14\r\n\r\ndata: [DONE]\n\n"),
    ),
    "an error of status 200": (json_reply(ERROR),),
    "an error with the key": (json_reply({**chat_answer(), "error": {"message": "sk-upstream-secret"}}),),
    "no JSON": (Reply((b"<html>",), framing="length"),),
    "broken text": (Reply((json.dumps(chat_answer("AB")).encode().replace(b"AB", b"\xff\xfe"),), framing="length"),),
    "empty": (Reply((), framing="length"),),
    "204": (raw(b"HTTP/1.1 204 No Content\r\n\r\n"),),
    "a redirect": (Reply((b"",), 302, {"location": "http://elsewhere/"}, framing="length"),),
    "400": (json_reply(ERROR, 400),),
    "400 about a field": (
        json_reply({"error": {**ERROR["error"], "message": "Unknown parameter: 'seed'.", "param": "seed"}}, 400),
        json_reply(chat_answer()),
    ),
    "401": (json_reply(ERROR, 401),),
    "429": (json_reply(ERROR, 429, {"retry-after": "0"}), json_reply(chat_answer())),
    "500": (json_reply(ERROR, 500), json_reply(chat_answer())),
    "503 for ever": (json_reply(ERROR, 503, {"retry-after": "0"}),),
    "cut in the head": (raw(b"HTTP/1.1 200 OK\r\nContent-", CUT), json_reply(chat_answer())),
    "cut in the body": (raw(b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"id"', CLOSE),),
    "closed at once": (raw(CLOSE), json_reply(chat_answer())),
    "no HTTP": (raw(b"SSH-2.0-OpenSSH\r\n\r\n", CLOSE),),
    "a secret in a header": (json_reply(chat_answer(), headers={"openai-model": "sk-upstream-secret"}),),
}  # fmt: skip
BODIES: dict[str, dict[str, Any]] = {
    "plain": {},
    "much": {"temperature": 0.5, "seed": 1, "stop": ["x"], "max_tokens": 9, "unknown": {"a": None}},
    "tools": {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]},
    "several": {"n": 2},
    "not for the upstream": {"messages": [{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}]},
    "wrong": {"messages": 7},
    "large": {"messages": [{"role": "user", "content": "x" * 70_000}]},
    "legacy": {"functions": [{"name": "f", "parameters": {"type": "object"}}]},
    "half a surrogate pair": {"messages": [{"role": "user", "content": "\ud83d"}]},
    "stream": {"stream": True},
}


MESSAGES_BODIES: dict[str, dict[str, Any]] = {
    "plain": {},
    "much": {"system": "s", "temperature": 0.5, "stop_sequences": ["x"], "metadata": {"user_id": "u"}},
    "losses": {"top_k": 3, "thinking": {"type": "enabled", "budget_tokens": 2000}, "max_tokens": 4000},
    "tools": {"tools": [{"name": "f", "input_schema": {"type": "object"}}], "tool_choice": {"type": "any"}},
    "a history": {
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
        "messages": [
            *SAID,
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "done"}]},
        ],
    },
    "an image": {
        "messages": [{"role": "user", "content": [
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
        ]}]
    },
    "nothing to say": {"max_tokens": 0},
    "a tool of the vendor": {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
    "wrong": {"messages": 7},
    "large": {"messages": [{"role": "user", "content": "x" * 70_000}]},
    "stream": {"stream": True},
}  # fmt: skip


STREAM_REPLIES: dict[str, tuple[Reply, ...]] = {
    "plain": (chat_stream("a", "b"),),
    "with headers": (sse(chunk({"content": "x"}), headers={"x-request-id": "up-1", "x-ratelimit-limit-tokens": "3"}),),
    "silent at first": (sse(0.3, chunk({"content": "x"}), chunk({}, "stop"), b"data: [DONE]\n\n"),),
    "silent after its head": (sse(b": hello\n\n", 0.3, chunk({"content": "x"}), chunk({}, "stop")),),
    "silent, then an error": (Reply((0.3, json.dumps(ERROR).encode()), 400, framing="length"),),
    "a whole answer": (json_reply(chat_answer()),),
    "a whole answer called a stream": (sse(json.dumps(chat_answer()).encode()),),
    "empty": (sse(),),
    "no end": (chat_stream("a", tail=()),),
    "cut": (chat_stream("a", tail=(CUT,)),),
    "cut before a word": (sse(CUT), chat_stream("a")),
    "an error for its first event": (sse(*unnamed(ERROR)), chat_stream("a")),
    "an error with the key": (chat_stream("a", tail=(b'data: {"error":{"message":"sk-upstream-secret"}}\n\n',)),),
    "no JSON": (sse(b"data: x\n\n"),),
    **{name: REPLIES[name] for name in (
        "a stream of another type", "a stream that came whole", "an error of status 200", "204", "a redirect", "400",
        "401", "503 for ever", "cut in the head", "no HTTP", "a secret in a header",
    )},
    "429": (REPLIES["429"][0], chat_stream("a")),
    "500": (REPLIES["500"][0], chat_stream("a")),
    "400 about a field": (REPLIES["400 about a field"][0], chat_stream("a")),
}  # fmt: skip


def ask_once(
    make_client: MakeClient, upstream: FakeUpstream, replies: tuple[Reply, ...], body: dict[str, Any], *, planned: bool,
    path: str = CHAT, stream: bool = False, patience: float = 5.0,
) -> tuple[Any, ...]:  # fmt: skip
    """What a request gives after two that went well: to its client, to the upstream and on record. A stream's client
    gets a ping after `patience` seconds of silence."""
    client = make_client(chat={"api_key": "sk-upstream-secret"}, server={"stream_start_timeout": patience})
    sender = Sender(client, path, planned=planned)
    # With a length, the end of the stream is never a read of its own, so its connection is always kept.
    upstream.script(replace(chat_stream("a"), framing="length") if stream else json_reply(chat_answer()))
    for _ in range(2):
        assert sender.ask(stream=stream).status_code == 200
    upstream.seen.clear()
    sender.records.clear()
    upstream.script(*replies)
    answer = sender.ask(**{"stream": True} if stream else {}, **body)
    runtime = sender.client.app.runtime
    provider, gateway = runtime.services.providers["chat"], runtime.services.gateway
    trouble = provider.health.last_failure
    health = (
        gateway.health.budget("chat").count(1e9),
        [(state.target, state.fault, state.faults) for state in gateway.health.targets()],
        None if trouble is None else (trouble.kind, trouble.message),
        sorted((fact.upstream, fact.name) for fact in gateway.facts.known()),
        len(runtime.active),
        len(runtime.recorder),
    )
    told = told_by(answer)
    return told, seen_of(upstream), [without_times(record) for record in sender.records], health


@pytest.mark.parametrize("name", REPLIES)
def test_whatever_an_upstream_says_comes_to_the_same(
    make_client: MakeClient, upstream: FakeUpstream, by_plan: list[object], name: str
) -> None:
    generally = ask_once(make_client, upstream, REPLIES[name], BODIES["much"], planned=False)
    assert not by_plan
    planned = ask_once(make_client, upstream, REPLIES[name], BODIES["much"], planned=True)

    assert by_plan
    assert planned == generally


@pytest.mark.parametrize("name", REPLIES)
def test_whatever_an_upstream_says_is_translated_to_the_same(
    make_client: MakeClient, upstream: FakeUpstream, by_plan: list[object], name: str
) -> None:
    asked = MESSAGES_BODIES["losses"]
    generally = ask_once(make_client, upstream, REPLIES[name], asked, planned=False, path=MESSAGES)
    assert not by_plan
    planned = ask_once(make_client, upstream, REPLIES[name], asked, planned=True, path=MESSAGES)

    assert by_plan
    assert planned == generally


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
@pytest.mark.parametrize("name", STREAM_REPLIES)
def test_whatever_an_upstream_streams_comes_to_the_same(
    make_client: MakeClient, upstream: FakeUpstream, by_plan: list[object], path: str, name: str
) -> None:
    asked = BODIES["much"] if path == CHAT else MESSAGES_BODIES["losses"]
    how: dict[str, Any] = {"path": path, "stream": True, "patience": 0.1 if "silent" in name else 5.0}
    generally = ask_once(make_client, upstream, STREAM_REPLIES[name], asked, planned=False, **how)
    assert not by_plan
    planned = ask_once(make_client, upstream, STREAM_REPLIES[name], asked, planned=True, **how)

    assert by_plan
    assert planned == generally


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (path, name)
        for path, bodies in ((CHAT, BODIES), (MESSAGES, MESSAGES_BODIES))
        for name in bodies
        if name != "stream"
    ],
)
def test_whatever_a_client_asks_is_streamed_to_the_same(
    make_client: MakeClient, upstream: FakeUpstream, path: str, name: str
) -> None:
    asked = (BODIES if path == CHAT else MESSAGES_BODIES)[name]
    generally, planned = (
        ask_once(make_client, upstream, (chat_stream("a", "b"),), asked, planned=planned, path=path, stream=True)
        for planned in (False, True)
    )

    assert planned == generally


@pytest.mark.parametrize("name", MESSAGES_BODIES)
def test_whatever_a_client_asks_is_translated_to_the_same(
    make_client: MakeClient, upstream: FakeUpstream, name: str
) -> None:
    replies = (json_reply(chat_answer()),) if name != "stream" else REPLIES["a stream"]
    generally, planned = (
        ask_once(make_client, upstream, replies, MESSAGES_BODIES[name], planned=planned, path=MESSAGES)
        for planned in (False, True)
    )

    assert planned == generally


@pytest.mark.parametrize("name", BODIES)
def test_whatever_a_client_asks_comes_to_the_same(make_client: MakeClient, upstream: FakeUpstream, name: str) -> None:
    replies = (json_reply(chat_answer()),) if name != "stream" else REPLIES["a stream"]
    generally = ask_once(make_client, upstream, replies, BODIES[name], planned=False)
    planned = ask_once(make_client, upstream, replies, BODIES[name], planned=True)

    assert planned == generally


@pytest.mark.parametrize(
    ("path", "model", "body", "reply"),
    [
        (MESSAGES, "messages/m", {"max_tokens": 9}, {
            "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
            "stop_sequence": None, "content": [{"type": "text", "text": "hi"}],
            "usage": {"input_tokens": 1, "output_tokens": 2},
        }),
        (CHAT, "chat/m", {}, chat_answer()),
        (MESSAGES, "chat/m", {"max_tokens": 9}, chat_answer()),
        (RESPONSES, "chat/m", {"input": "hi", "store": False}, chat_answer()),
        ("/chat/v1/chat/completions", "m", {}, chat_answer()),
    ],
)  # fmt: skip
def test_each_dialect_and_mount_has_its_plans(
    make_client: MakeClient, upstream: FakeUpstream, by_plan: list[object], path: str, model: str,
    body: dict[str, Any], reply: dict[str, Any],
) -> None:  # fmt: skip
    upstream.script(json_reply(reply))
    sender = Sender(make_client(), path)

    answers = [told_by(sender.ask(model=model, **body)) for _ in range(4)]

    assert answers[0][0] == "200 OK"
    assert answers[1:] == answers[:1] * 3
    assert len(by_plan) == 2
    assert len({json.dumps(seen[2:], default=str) for seen in seen_of(upstream)}) == 1


def test_a_head_that_comes_once_leaves_no_plan(
    make_client: MakeClient, upstream: FakeUpstream, by_plan: list[object]
) -> None:
    upstream.script(json_reply(chat_answer()))
    sender = Sender(make_client())

    sender.ask()
    assert sender.fields.admission[1].plans == {}
    sender.ask()
    assert list(sender.fields.admission[1].plans) == [("chat/m", False)]
    for number in range(MAX_PLANS + 1):
        sender.ask(model=f"chat/m{number}")
    assert len(sender.fields.admission[1].plans) <= MAX_PLANS


@pytest.mark.parametrize(
    "settings",
    [
        {"models": {"routes": {"chat/m": RouteSettings(targets=("chat/a", "chat/b"))}}},
        {"models": {"routes": {"chat/m": RouteSettings(targets=("chat/a",), reasoning_effort="low")}}},
        {"chat": {"max_parallel": 2}},
        {"chat": {"requests_per_minute": 100}},
        {"chat": {"api_key": None, "credentials": TWO}},
    ],
    ids=["several targets", "an effort", "a queue", "a limit", "a pool"],
)
def test_what_is_decided_anew_each_time_has_no_plan(
    make_client: MakeClient, upstream: FakeUpstream, by_plan: list[object], settings: dict[str, Any]
) -> None:
    upstream.script(json_reply(chat_answer()))
    sender = Sender(make_client(**settings))

    assert [sender.ask().status_code for _ in range(3)] == [200] * 3
    assert not by_plan


def test_what_an_upstream_has_shown_ends_a_plan(
    make_client: MakeClient, upstream: FakeUpstream, by_plan: list[object]
) -> None:
    sender = Sender(make_client(server={"max_attempts": 1}))
    upstream.script(*[json_reply(chat_answer())] * 3, json_reply(ERROR, 503), json_reply(chat_answer()))
    statuses = [sender.ask().status_code for _ in range(5)]

    assert statuses[:3] == [200] * 3
    assert statuses[3] >= 500
    # The failure is known to the breaker, which the general way asks.
    assert len(by_plan) == 2


def test_another_list_of_models_ends_a_plan(
    make_client: MakeClient, upstream: FakeUpstream, by_plan: list[object]
) -> None:
    upstream.script(json_reply(chat_answer()))
    sender = Sender(make_client())
    for _ in range(3):
        sender.ask()
    sender.client.app.runtime.services.providers["chat"].catalogue.version += 1
    sender.ask()
    assert len(by_plan) == 1
    sender.ask()
    assert len(by_plan) == 2


def test_another_configuration_ends_a_plan(
    make_client: MakeClient, upstream: FakeUpstream, by_plan: list[object]
) -> None:
    upstream.script(json_reply(chat_answer()))
    first, second = Sender(make_client()), Sender(make_client(chat={"api_key": "sk-other"}))
    for _ in range(3):
        first.ask()
    # The head and what is kept with it survive the change, as they do where a worker's configuration is replaced.
    plans = first.fields.admission[1].plans
    second.ask()
    judge, admission = second.fields.admission
    second.fields.admission = judge, admission._replace(plans=plans)
    second.ask()

    assert len(by_plan) == 1
    assert upstream.seen[-1].headers["authorization"] == "Bearer sk-other"


def test_a_hook_is_asked_each_time_and_its_request_has_no_plan(
    make_client: MakeClient, upstream: FakeUpstream, by_plan: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.script(json_reply(chat_answer()))
    sender = Sender(make_client())
    hooks = sender.client.app.runtime.observers.hooks
    asked = []

    def admit(request: object) -> object:
        asked.append(request)
        return request

    monkeypatch.setattr(hooks, "admit", admit)
    monkeypatch.setattr(hooks, "look_at_requests", True)
    for _ in range(3):
        sender.ask()

    assert len(asked) == 3
    assert not by_plan


def test_a_kept_connection_that_was_closed_is_replaced(
    make_client: MakeClient, upstream: FakeUpstream, by_plan: list[object]
) -> None:
    sender = Sender(make_client())
    whole = json.dumps(chat_answer()).encode()
    good = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(whole), whole)
    upstream.script(json_reply(chat_answer()))
    sender.ask()
    sender.ask()
    upstream.script(raw(good, CLOSE), json_reply(chat_answer()))

    assert [sender.ask().status_code for _ in range(2)] == [200] * 2
    assert len(by_plan) == 2
    assert upstream.accepted == 2


def test_streams_and_whole_answers_have_plans_of_their_own(
    make_client: MakeClient, upstream: FakeUpstream, by_plan: list[object]
) -> None:
    sender = Sender(make_client())
    for stream in (False, True):
        upstream.script(chat_stream("x") if stream else json_reply(chat_answer()))
        for _ in range(3):
            assert sender.ask(stream=stream).status_code == 200
    assert len(by_plan) == 3
    assert list(sender.fields.admission[1].plans) == [("chat/m", False), ("chat/m", True)]


def test_a_stream_whose_upstream_is_silent_pings_its_client(
    make_client: MakeClient, upstream: FakeUpstream, by_plan: list[object]
) -> None:
    sender = Sender(make_client(server={"stream_start_timeout": 0.05}))
    upstream.script(chat_stream("x"))
    sender.ask(stream=True)
    sender.ask(stream=True)
    upstream.script(sse(0.3, chunk({"content": "x"}), chunk({}, "stop"), b"data: [DONE]\n\n"))

    assert b": keep-alive" in sender.ask(stream=True).data
    assert len(by_plan) == 1
