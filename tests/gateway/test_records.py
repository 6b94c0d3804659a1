"""The one record of a request: complete, given once to every sink, and never in a request's way."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from app.accounts.accounts import Accounts
from app.accounts.queries import Query, find_request, list_requests
from app.accounts.record import RequestRecord
from app.conversation.response import Usage
from app.gateway.messages import new_id
from app.gateway.record import Record, name_agent
from app.gateway.recording.recorder import Recorder
from app.settings import AccountsSettings, RouteSettings
from tests.gateway.conftest import Client, Collector, MakeClient, listen
from tests.support.answers import chat_answer, chat_stream, chunk
from tests.support.clock import wait_until
from tests.support.fake_upstream import CUT, FakeUpstream, json_reply


def test_an_answered_request_is_recorded_whole(make_client: MakeClient, upstream: FakeUpstream) -> None:
    client = make_client(
        server={"api_keys": ("k-first", "k-second")},
        models={"routes": {"claude-sonnet-4-6": RouteSettings(targets=("chat/gpt-4.1",))}},
    )
    records = listen(client)
    limits = {"x-ratelimit-remaining-tokens": "1500", "x-request-id": "up-1", "set-cookie": "secret"}
    upstream.script(json_reply(chat_answer(), headers=limits))

    answer = client.ask(
        "/v1/messages",
        {"model": "claude-sonnet-4-6", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], "top_k": 3},
        authorization="Bearer k-second",
        user_agent="claude-cli/2.1.7 (external, cli)",
        x_claude_code_session_id="s-1",
    )

    assert answer.status_code == 200
    (record,) = records
    assert (record.id, record.session, record.key) == (answer.headers["x-request-id"], "s-1", "api_keys[1]")
    assert (record.agent, record.method, record.path) == ("claude-cli/2.1.7", "POST", "/v1/messages")
    assert (record.dialect_in, record.dialect_out) == ("anthropic_messages", "openai_chat")
    assert (record.model, record.provider, record.target) == ("claude-sonnet-4-6", "chat", "chat/gpt-4.1")
    assert record.rule
    assert (record.status, record.terminal, record.error, record.failed) == (200, "completed", "", False)
    assert record.usage == Usage(fresh=11, output=7)
    assert record.cost == 11 * 2000 + 7 * 8000
    assert record.billed
    assert record.losses == ("top_k",)
    assert record.rate_limits == {"x-ratelimit-remaining-tokens": "1500"}
    assert record.upstream_request_id == "up-1"
    assert record.bytes_in > 0
    assert record.bytes_out == len(answer.data)
    (attempt,) = record.attempts
    assert (attempt.target, attempt.status, attempt.error) == ("chat/gpt-4.1", 200, "")
    times = record.times
    assert times.routed is not None
    assert times.upstream_head is not None
    assert times.first_byte is not None
    assert 0 <= times.routed <= times.upstream_head <= times.first_byte <= times.end


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions", "/v1/responses"])
def test_a_stream_tells_its_first_token_and_its_bytes(client: Client, upstream: FakeUpstream, path: str) -> None:
    records = listen(client)
    upstream.script(chat_stream("one", "two"))
    field = "input" if path.endswith("responses") else "messages"
    body = {"model": "chat/m", "max_tokens": 9, "stream": True, field: [{"role": "user", "content": "hi"}]}
    if field == "input":
        body["max_output_tokens"] = body.pop("max_tokens")

    answer = client.ask(path, body)

    written = len(answer.data)
    (record,) = records
    assert record.stream
    assert record.bytes_out == written
    assert record.times.first_token is not None
    assert record.times.first_byte is not None
    assert record.times.first_byte <= record.times.first_token <= record.times.end


def test_a_running_stream_tells_its_bytes_so_far_and_how_long_it_is_silent(
    client: Client, upstream: FakeUpstream
) -> None:
    upstream.script(chat_stream("one", tail=(0.5, chunk({}, "stop"), b"data: [DONE]\n\n")))
    answer = client.chat(stream=True)
    parts = iter(answer.response)

    first = next(parts)
    time.sleep(0.05)
    (running,) = client.app.runtime.recorder.running()
    rest = b"".join(parts)  # type: ignore[arg-type]

    assert running.terminal == "running"
    assert running.bytes_out == len(first)
    assert running.silent is not None
    assert 50 <= running.silent <= running.times.end
    assert rest


def test_every_attempt_is_told_with_its_failure(client: Client, upstream: FakeUpstream) -> None:
    records = listen(client)
    busy = json_reply({"error": {"message": "come back", "type": "server_error"}}, 503)
    upstream.script(busy, json_reply(chat_answer()))

    client.chat()

    (record,) = records
    first, second = record.attempts
    assert (first.status, first.error, first.target) == (503, "overloaded", "chat/m")
    assert "come back" in first.message
    assert 0 <= first.waited <= 500
    assert (second.status, second.error) == (200, "")
    assert first.started <= first.ended <= second.started <= second.ended
    assert record.status == 200


def test_a_stream_that_breaks_has_failed(client: Client, upstream: FakeUpstream) -> None:
    records = listen(client)
    upstream.script(chat_stream("one", tail=(chunk({"content": "two"}), 0.05, CUT)))

    assert client.chat(stream=True).data

    (record,) = records
    assert (record.terminal, record.failed) == ("upstream_cut", True)
    assert record.attempts[-1].error == record.error != ""


@pytest.mark.parametrize(
    ("method", "path", "body", "operation"),
    [
        ("POST", "/v1/messages/count_tokens", {"model": "chat/m", "messages": [{"role": "user", "content": "hi"}]},
         "count_tokens"),
        ("POST", "/v1/responses/input_tokens", {"model": "chat/m", "input": "hi"}, "count_tokens"),
        ("GET", "/v1/models", None, "models"),
        ("GET", "/v1/responses/resp_x", None, "responses"),
        ("POST", "/v1/conversations", {}, "conversations"),
        ("POST", "/v1/chat/completions", {"model": "chat/m", "messages": [{"role": "user", "content": "hi"}]},
         "generate"),
        ("POST", "/v1/completions", {"model": "chat/m", "prompt": "hi"}, "completions"),
        ("POST", "/v1/nothing", {}, ""),
        ("GET", "/.env", None, ""),
    ],
)  # fmt: skip
def test_each_operation_has_its_name(
    client: Client, upstream: FakeUpstream, method: str, path: str, body: Any, operation: str
) -> None:
    records = listen(client)
    upstream.script(json_reply(chat_answer()))

    client.http.open(path, method=method, json=body) if body is not None else client.http.open(path, method=method)

    assert [record.operation for record in records] == [operation]


def test_strangers_leave_no_rows(make_client: MakeClient) -> None:
    client = make_client(server={"api_keys": ("k-first",)})
    accounts = Accounts(AccountsSettings())
    client.app.runtime.recorder.sinks = (accounts,)

    client.chat()
    client.http.get("/v1/models")
    client.http.get("/wp-login.php")

    assert accounts.waiting == 0


def test_a_background_job_is_recorded_once_with_what_it_cost(client: Client, upstream: FakeUpstream) -> None:
    records = listen(client)
    upstream.script(chat_stream("one"))

    client.ask("/v1/responses", {"model": "chat/m", "input": "hi", "background": True}, user_agent="codex/1.0")
    client.app.runtime.finish(5)

    generating = [record for record in records if record.operation == "generate"]
    assert [(record.target, record.agent) for record in generating] == [("chat/m", "codex/1.0")]


def test_several_answers_are_one_record(client: Client, upstream: FakeUpstream, make_client: MakeClient) -> None:
    client = make_client(chat={"quirks": {"n": False}})
    records = listen(client)
    upstream.script(json_reply(chat_answer()))

    client.chat(n=3)

    (record,) = records
    assert record.usage == Usage(fresh=33, output=21)
    assert len(record.attempts) == 3


def test_a_sink_that_fails_is_counted_and_harms_nobody(client: Client, upstream: FakeUpstream) -> None:
    class Broken:
        def take(self, taken: Iterable[RequestRecord]) -> None:
            raise RuntimeError("full")

    kept = Collector()
    recorder = client.app.runtime.recorder
    recorder.sinks = (Broken(), kept)
    upstream.script(json_reply(chat_answer()))

    answers = [client.chat().status_code for _ in range(2)]

    assert answers == [200, 200]
    assert recorder.lost == {"Broken": 2}
    assert len(kept.records) == 2
    assert any("Broken" in complaint for complaint in client.app.runtime.complaints())


def test_a_sink_that_fails_at_one_record_gets_the_others() -> None:
    class Picky(Collector):
        def take(self, taken: Iterable[RequestRecord]) -> None:
            for each in taken:
                if each.id == "2":
                    raise ValueError("no room for twos")
                self.records.append(each)

    sink = Picky()
    recorder = Recorder((sink,))
    recorder.batched = True

    for number in range(5):
        recorder.begin(str(number), "openai_chat").write()
    recorder.hand_out()

    assert [each.id for each in sink.records] == ["0", "1", "3", "4"]
    assert recorder.lost == {"Picky": 1}


def test_every_value_of_a_record_comes_into_the_field_of_its_name() -> None:
    record = Record("a", "b")
    names = {"session": "session", "tenant": "tenant", "key": "key", "agent": "agent", "method": "method",
             "peer": "peer", "path": "path", "operation": "operation", "client": "dialect_in",
             "upstream_dialect": "dialect_out", "model": "model", "matched": "rule", "provider": "provider",
             "upstream": "target", "upstream_request_id": "upstream_request_id", "message": "message",
             "origin": "origin", "error": "error"}  # fmt: skip
    numbers = {"status": "status", "bytes_in": "bytes_in", "bytes_out": "bytes_out",
               "upstream_status": "upstream_status"}  # fmt: skip
    for name in names:
        setattr(record, name, f"own-{name}")
    for position, name in enumerate(numbers):
        setattr(record, name, 1000 + position)
    for position, name in enumerate(("routed", "upstream_head", "first_byte", "first_token")):
        setattr(record, name, 1.0 + position)

    done = record.freeze(lambda provider, model, usage: 77)

    assert {name: getattr(done, named) for name, named in names.items()} == {name: f"own-{name}" for name in names}
    assert [getattr(done, named) for named in numbers.values()] == [1000, 1001, 1002, 1003]
    times = done.times
    assert (times.routed, times.upstream_head, times.first_byte, times.first_token) == (1000, 2000, 3000, 4000)
    assert (done.id, done.received, done.billed, done.stream) == ("a", record.received, True, False)


def test_ids_of_one_time_begin_alike_so_that_their_rows_stand_together() -> None:
    made = [new_id() for _ in range(10)]

    assert len({each[:8] for each in made}) <= 2  # of one drawing, or the rest of one and the next
    assert len(set(made)) == 10


def test_what_runs_can_be_seen(client: Client, upstream: FakeUpstream) -> None:
    records = listen(client)
    upstream.script(chat_stream("one", "two"))
    recorder = client.app.runtime.recorder

    answer = client.http.post(
        "/v1/chat/completions",
        data=json.dumps({"model": "chat/m", "stream": True, "messages": [{"role": "user", "content": "hi"}]}),
        buffered=False,
    )
    parts = iter(answer.response)
    next(parts)
    (running,) = recorder.running()
    answer.close()

    assert (running.terminal, running.target) == ("running", "chat/m")
    assert len(recorder) == 0
    assert [record.terminal for record in records] == ["client_closed"]


def test_credentials_in_names_reach_no_row(client: Client, upstream: FakeUpstream, data_folder: object) -> None:
    accounts = Accounts(AccountsSettings())
    client.app.runtime.recorder.sinks = (accounts,)
    secret = "sk-ant-REDACTED"
    upstream.script(json_reply({"error": {"message": f"no such key {secret}", "type": "invalid"}}, 400))

    client.ask(
        "/v1/chat/completions",
        {"model": f"chat/{secret}", "messages": [{"role": "user", "content": "hi"}]},
        user_agent=f"tool/{secret}",
        session_id=secret,
    )
    accounts.flush()

    (row,) = accounts.read(lambda connection: list_requests(connection, Query()))
    whole = accounts.read(lambda connection: find_request(connection, row["id"]))
    assert whole is not None
    assert secret not in json.dumps(whole)
    accounts.close()


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("claude-cli/2.1.7 (external, cli)", "claude-cli/2.1.7"),
        ("OpenAI/Python 3.52.0", "OpenAI-Python/3.52.0"),
        ("Anthropic/JS 0.60.0", "Anthropic-JS/0.60.0"),
        ("codex_cli_rs/0.50.0 (Debian 12; x86_64) vscode", "codex_cli_rs/0.50.0"),
        ("curl/8.5.0", "curl/8.5.0"),
        ("mine", "mine"),
        ("   ", ""),
        ("a" * 5000, "a" * 60),
        ("evil\x1b[31m/1", "evil?[31m/1"),
    ],
)
def test_an_agent_is_named_by_product_and_version(header: str, name: str) -> None:
    assert name_agent(header) == name


def test_the_accounts_are_kept_once_the_loops_run(make_client: MakeClient, upstream: FakeUpstream) -> None:
    client = make_client()
    runtime = client.app.runtime
    runtime.watch()
    try:
        upstream.script(json_reply(chat_answer()))
        client.chat()
        assert runtime.accounts is not None
        runtime.recorder.hand_out()
        runtime.accounts.flush()
        rows = runtime.accounts.read(lambda connection: list_requests(connection, Query()))
    finally:
        for loop in runtime.loops:
            loop.stop()
        runtime.finish(1)

    assert [row["target"] for row in rows] == ["chat/m"]


def test_an_answer_that_comes_late_has_its_first_byte_after_the_pings(
    make_client: MakeClient, upstream: FakeUpstream
) -> None:
    client = make_client(server={"stream_start_timeout": 0.05, "ping_interval": 0.05})
    records = listen(client)
    upstream.script(replace(chat_stream("one"), delay=0.3))

    assert client.message(stream=True).data.startswith(b":")

    (record,) = records
    assert record.times.first_byte is not None
    assert record.times.first_byte >= 300


MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [{"type": "text", "text": "hi"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 11, "output_tokens": 7},
}
HELLO = [{"role": "user", "content": "hi"}]
ASKED: dict[str, tuple[str, dict[str, Any]]] = {
    "messages": ("/v1/messages", {"max_tokens": 5000, "messages": HELLO}),
    "a stream of messages": ("/v1/messages", {"max_tokens": 5000, "messages": HELLO, "stream": True}),
    "chat": ("/v1/chat/completions", {"max_tokens": 5000, "messages": HELLO}),
    "a stream of chat": ("/v1/chat/completions", {"max_tokens": 5000, "messages": HELLO, "stream": True}),
    "several answers": ("/v1/chat/completions", {"max_tokens": 5000, "messages": HELLO, "n": 2}),
    "responses": ("/v1/responses", {"max_output_tokens": 5000, "input": "hi", "store": False}),
    "in the background": ("/v1/responses", {"max_output_tokens": 5000, "input": "hi", "background": True}),
    "completions": ("/v1/completions", {"max_tokens": 5000, "prompt": "hi"}),
}


# An upstream that has legacy completions of its own gets them as they are.
PAIRS = [(asked, name) for asked in ASKED for name in ("chat", "messages") if (asked, name) != ("completions", "chat")]


@pytest.mark.parametrize(("asked", "upstream_name"), PAIRS)
def test_every_record_tells_the_rule_that_chose_the_target_and_what_was_lowered(
    make_client: MakeClient, upstream: FakeUpstream, asked: str, upstream_name: str
) -> None:
    client = make_client(
        models={"routes": {"fast": RouteSettings(targets=(f"{upstream_name}/m",), max_output=100)}},
        chat={"quirks": {"n": False}},
    )
    records = listen(client)
    path, body = ASKED[asked]
    replies = {"chat": chat_answer(), "messages": MESSAGE}
    upstream.script(json_reply(replies[upstream_name]))

    client.ask(path, {"model": "fast", **body}).get_data()
    record = wait_until(lambda: next((each for each in records if each.operation), None), 5)
    assert record.rule == 'models.routes."fast"'
    assert (record.provider, record.target) == (upstream_name, f"{upstream_name}/m")
    assert [said.partition(" ")[2] for said in record.lowered] == ["5000->100"]


def test_a_request_that_all_targets_fail_tells_one_of_them_consistently(
    make_client: MakeClient, upstream: FakeUpstream
) -> None:
    client = make_client(models={"routes": {"fast": RouteSettings(targets=("chat/m", "messages/n"))}})
    records = listen(client)
    busy = json_reply({"error": {"message": "busy", "type": "server_error"}}, 503)
    upstream.script(busy, json_reply({"type": "error", "error": {"type": "permission_error", "message": "no"}}, 403))

    client.chat("fast")

    (record,) = records
    assert (record.provider, record.target, record.upstream_status) == ("chat", "chat/m", 503)
    assert record.rule == 'models.routes."fast"'


@pytest.mark.parametrize(
    ("name", "value", "recorded"),
    [
        ("x-ratelimit-remaining-requests", "9999", {"x-ratelimit-remaining-requests": "9999"}),
        ("x-ratelimit-reset", "9" * 300, {"x-ratelimit-reset": "9" * 200}),
        ("ratelimit-" + "x" * 300, "7", {"ratelimit-" + "x" * 190: "7"}),
        ("retry-after", "sk-abcdefgh", {"retry-after": "[masked]"}),
        ("server", "x", {}),
    ],
)
def test_what_an_upstream_says_of_its_limits_is_recorded_without_secrets(
    name: str, value: str, recorded: dict[str, str]
) -> None:
    record = Record("a", "b")
    record.upstream_headers = {"x-ratelimit-limit": "5", name: value}

    assert record.freeze().rate_limits == {"x-ratelimit-limit": "5", **recorded}
