"""Replies as servers really send them, read for clients of every dialect, whole and as streams.

Each case names where it was reported, by its number in the field's list or by the vendor whose shape it is.
"""

# ruff: noqa: E501 - one case a line
from __future__ import annotations

import json
from typing import Any

import pytest

from tests.field.asking import UPSTREAMS, both_modes, every_client
from tests.field.pairs import CHAT_HEAD, ask, chat_events, chat_reply, delta, whole_reply
from tests.field.vectors import Vector, misread
from tests.gateway.conftest import Client, events_of
from tests.support.answers import message, message_events, named, unnamed
from tests.support.fake_upstream import FakeUpstream, Reply, json_reply, sse

every_upstream = pytest.mark.parametrize("model", ["chat/m", "messages/m", "responses/m"])

CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
SECOND_CALL = {"id": "c2", "type": "function", "function": {"name": "f", "arguments": '{"x":2}'}}


def choices(*parts: dict[str, Any], numbered: bool = True) -> Reply:
    listed = [{"message": {"role": "assistant", **part}, "finish_reason": "tool_calls"} for part in parts]
    numbers = [{"index": number} if numbered else {} for number in range(len(parts))]
    return json_reply(
        {**CHAT_HEAD, "choices": [number | choice for number, choice in zip(numbers, listed, strict=True)]}
    )


def whole(message: dict[str, Any], finish: str | None = "stop", **more: Any) -> Reply:
    return json_reply(chat_reply(message, finish, **more))


def in_one_reply(*entries: dict[str, Any]) -> Reply:
    return whole({"tool_calls": list(entries)}, "tool_calls")


def in_fragments(*entries: dict[str, Any]) -> Reply:
    return chat_events(*(delta({"tool_calls": [entry]}) for entry in entries), delta({}, "tool_calls"), "[DONE]")


# One call in two entries, the second without an id.
SPLIT: dict[str, list[dict[str, Any]]] = {
    "arguments in the second": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}},
                                {"type": "function", "function": {"arguments": '{"x":1}'}}],
    "numbered": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}},
                 {"index": 1, "type": "function", "function": {"name": None, "arguments": '{"x":1}'}}],
    "cut arguments": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x"'}},
                      {"index": 1, "id": "", "function": {"name": "", "arguments": ":1}"}}],
    "the name again": [{"id": "c1", "type": "function", "function": {"name": "f"}},
                       {"type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}],
    "the name in the second": [{"id": "c1", "type": "function", "function": {"name": "", "arguments": ""}},
                               {"type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}],
    "flat": [{"id": "c1", "name": "f"}, {"arguments": '{"x":1}'}],
}  # fmt: skip

ANSWERS = [
    Vector("FB-241 text and call in two choices", choices({"content": "t"}, {"tool_calls": [CALL]}),
           "t", calls=(("f", {"x": 1}),), finish="tool_calls"),
    Vector("FB-241 without numbers", choices({"content": "t"}, {"tool_calls": [CALL]}, numbered=False),
           "t", calls=(("f", {"x": 1}),), finish="tool_calls"),
    Vector("a call in each of two choices", choices({"tool_calls": [CALL]}, {"tool_calls": [SECOND_CALL]}),
           calls=(("f", {"x": 1}), ("f", {"x": 2})), finish="tool_calls"),
    Vector("thinking, text and call in three", choices({"reasoning_content": "r"}, {"content": "t"}, {"tool_calls": [CALL]}),
           "t", "r", (("f", {"x": 1}),), "tool_calls"),
    Vector("FB-241 streamed", chat_events(
        delta({"role": "assistant", "content": "t"}), delta({"tool_calls": [{"index": 0, **CALL}]}, index=1),
        delta({}, "tool_calls"), delta({}, "tool_calls", 1), "[DONE]"),
        "t", calls=(("f", {"x": 1}),), finish="tool_calls"),
    Vector("the later choice ends first", chat_events(
        delta({"role": "assistant", "content": "t"}), delta({"tool_calls": [{"index": 0, **CALL}]}, "tool_calls", 1),
        delta({"content": "u"}), delta({}, "stop"), "[DONE]"),
        "tu", calls=(("f", {"x": 1}),), finish="tool_calls"),
    Vector("FB-242 one object for the calls", chat_events(
        delta({"role": "assistant", "tool_calls": {"index": 0, "id": "", "type": "function", "function": {"name": "f", "arguments": ""}}}),
        delta({"tool_calls": {"index": 0, "id": "", "type": "function", "function": {"name": None, "arguments": '{"x"'}}}),
        delta({"tool_calls": {"index": 0, "id": "", "type": "function", "function": {"arguments": ":1}"}}}),
        delta({"content": ""}, "stop"), "[DONE]"),
        calls=(("f", {"x": 1}),), finish="tool_calls"),
    Vector("FB-242 one object, whole", whole({"tool_calls": {**CALL, "id": "0"}}),
           calls=(("f", {"x": 1}),), finish="tool_calls"),
    Vector("FB-242 arguments as an object", whole({"tool_calls": [{"id": "0", "function": {"name": "f", "arguments": {"x": 1}}}]}),
           calls=(("f", {"x": 1}),), finish="tool_calls"),
    Vector("a call without a function around it", whole({"tool_calls": [{"id": "7", "name": "f", "arguments": {"x": 1}}]}),
           calls=(("f", {"x": 1}),), finish="tool_calls"),
    *(Vector(f"diegosouzapw/OmniRoute#653 {what}", sent(*entries), calls=(("f", {"x": 1}),), finish="tool_calls")
      for what, entries in SPLIT.items() for sent in (in_one_reply, in_fragments)),
    Vector("calls without ids are not one another's rest", whole({"tool_calls": [
        {"function": {"name": "f", "arguments": '{"x":1}'}}, {"function": {"name": "f", "arguments": '{"x":2}'}}]}, "tool_calls"),
           calls=(("f", {"x": 1}), ("f", {"x": 2})), finish="tool_calls"),
    Vector("FB-224 Magistral", whole({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "r"}]},
                                                  {"type": "text", "text": "t"}]}), "t", "r"),
    Vector("Databricks", whole({"content": [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "r"}]},
                                            {"type": "text", "text": "t"}]}), "t", "r"),
    Vector("parts of Responses", whole({"content": [{"type": "output_text", "text": "t", "annotations": []}]}), "t"),
    Vector("parts of the Assistants API", whole({"content": [{"type": "text", "text": {"value": "t", "annotations": []}}]}), "t"),
    Vector("parts without a type", whole({"content": [{"text": "t"}, {"text": "u"}]}), "tu"),
    Vector("parts that are texts", whole({"content": ["t", "u"]}), "tu"),
    Vector("a single part", whole({"content": {"type": "text", "text": "t"}}), "t"),
    Vector("blocks of Messages", whole({"content": [{"type": "thinking", "thinking": "r", "signature": "s"},
                                                    {"type": "text", "text": "t"},
                                                    {"type": "tool_use", "id": "c1", "name": "f", "input": {"x": 1}}]}),
           "t", "r", (("f", {"x": 1}),), "tool_calls"),
    Vector("a number", whole({"content": 42}), "42"),
    Vector("a completion of old", json_reply({**CHAT_HEAD, "choices": [{"index": 0, "text": "t", "finish_reason": "stop"}]}), "t"),
    Vector("parts in deltas", chat_events(
        delta({"role": "assistant", "content": [{"type": "thinking", "thinking": [{"type": "text", "text": "r"}]}]}),
        delta({"content": [{"type": "text", "text": "t"}]}), delta({"content": "u"}), delta({}, "stop"), "[DONE]"), "tu", "r"),
    Vector("a whole answer that calls itself a stream",
           Reply((json.dumps(chat_reply({"content": "t"})).encode(),), headers={"content-type": "text/event-stream"}), "t"),
]  # fmt: skip


@pytest.mark.parametrize("case", ANSWERS, ids=lambda case: case.id)
def test_nothing_of_an_answer_is_thrown_away(client: Client, upstream: FakeUpstream, case: Vector) -> None:
    assert misread(client, upstream, "C", [case]) == {}


WORDS = {
    "eos": "stop",
    "end_turn": "stop",
    "COMPLETE": "stop",
    "finished_ok": "stop",
    "max_tokens": "length",
    "MAX_TOKENS_REACHED": "length",
    "token_limit": "length",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "blocklist": "content_filter",
    "RECITATION": "content_filter",
    "error_toxic": "content_filter",
    "moderation-stop": "content_filter",
}


@every_client
@both_modes
@pytest.mark.parametrize("word", WORDS)
def test_a_word_for_the_end_is_judged_by_its_parts(
    client: Client, upstream: FakeUpstream, word: str, dialect: str, stream: bool
) -> None:
    upstream.script(whole({"content": "t"}, word))

    told = ask(client, dialect, "chat/m", stream=stream)

    assert told.finish == {"A": {"length": "max_tokens"}}.get(dialect, {}).get(WORDS[word], WORDS[word])


@both_modes
@pytest.mark.parametrize("written", [None, "", " \n\t", "null"])
@pytest.mark.parametrize(("dialect", "to"), [("A", "C"), ("C", "C"), ("R", "C"), ("A", "R"), ("C", "R"), ("R", "R")])
def test_arguments_that_say_nothing_are_an_empty_object(
    every: Client, upstream: FakeUpstream, written: str | None, dialect: str, to: str, stream: bool
) -> None:
    """FB-028 and FB-217, from servers of both of OpenAI's dialects."""
    if to == "C":
        call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": written}}
        upstream.script(whole({"tool_calls": [call]}, "tool_calls"))
        model = "chat/m"
    else:
        item = {
            "type": "function_call",
            "id": "fc",
            "call_id": "c",
            "name": "f",
            "arguments": written,
            "status": "completed",
        }
        response = {"id": "r", "object": "response", "status": "completed", "model": "m", "output": [item]}
        events = [
            {"type": "response.output_item.added", "output_index": 0, "item": item},
            {"type": "response.function_call_arguments.done", "output_index": 0, "item_id": "fc", "arguments": written},
            {"type": "response.output_item.done", "output_index": 0, "item": item},
            {"type": "response.completed", "response": response},
        ]
        upstream.script(sse(*named(*events)) if stream else json_reply(response))
        model = "responses/m"

    assert ask(every, dialect, model, stream=stream).calls == [("f", {})]


@pytest.mark.parametrize("dialect", ["A", "R"])
@both_modes
@pytest.mark.parametrize("field", ["reasoning_text", "cot_summary"])
def test_github_copilot_s_names_for_thinking_are_read(
    client: Client, upstream: FakeUpstream, field: str, dialect: str, stream: bool
) -> None:
    upstream.script(whole({field: "because", "content": "t"}))

    told = ask(client, dialect, "chat/m", stream=stream)

    assert (told.text, told.thought) == ("t", "because")


@every_client
@both_modes
@pytest.mark.parametrize(
    "word", ["error", "internal_error", "aborted", "request_cancelled", "MALFORMED_FUNCTION_CALL", "timeout"]
)
def test_a_word_for_a_failure_is_no_end(
    client: Client, upstream: FakeUpstream, word: str, dialect: str, stream: bool
) -> None:
    upstream.script(whole({"content": "t"}, word))

    assert word in ask(client, dialect, "chat/m", stream=stream).error


@pytest.mark.parametrize(
    ("fields", "reason", "sequence"),
    [
        ({"stop_reason": "END"}, "stop_sequence", "END"),
        ({"matched_stop": "END"}, "stop_sequence", "END"),
        ({"stop_reason": None, "matched_stop": "END"}, "stop_sequence", "END"),
        ({"stop_reason": 128009}, "stop", None),
        ({"matched_stop": 2, "stop_reason": None}, "stop", None),
        ({"matched_stop": "<|im_end|>"}, "stop", None),
        ({"stop_reason": "stop"}, "stop", None),
    ],
)
@both_modes
def test_the_sequence_that_the_server_names_is_told(
    client: Client, upstream: FakeUpstream, fields: dict[str, Any], reason: str, sequence: str | None, stream: bool
) -> None:
    """FB-221: vLLM's `stop_reason`, SGLang's `matched_stop`; their own end marks are no sequence of the client's."""
    upstream.script(whole({"content": "t"}, **fields))

    told = ask(client, "A", "chat/m", stream=stream, stop_sequences=["END"])

    assert (told.finish, told.stop) == (reason, sequence)


HTML = b"<!DOCTYPE html>\n<html><head><title>Sign in to Example Corp</title></head><body>\n\nproxy</body></html>"

ERRORS: dict[str, tuple[dict[str, Any], str]] = {
    "FB-244 MiniMax": ({"choices": None, "base_resp": {"status_code": 1008, "status_msg": "odd trouble"}}, "billing"),
    "FB-244 with counts": ({"choices": None, "usage": {"total_tokens": 0}, "base_resp": {"status_code": 1008, "status_msg": "odd trouble"}}, "billing"),
    "MiniMax filter": ({"choices": [], "base_resp": {"status_code": 1027, "status_msg": "odd trouble"}}, "content_filter"),
    "Baidu": ({"error_code": 336100, "error_msg": "odd trouble"}, ""),
    "Databricks": ({"error_code": "INVALID_PARAMETER_VALUE", "message": "odd trouble"}, "invalid"),
    "ModelScope": ({"success": False, "code": "InvalidApiKey", "message": "odd trouble", "request_id": "r"}, ""),
    "code and msg": ({"code": 50001, "msg": "odd trouble", "data": None}, ""),
    "code and message": ({"code": "Arrearage", "message": "odd trouble"}, "billing"),
    "FastAPI": ({"detail": "odd trouble"}, ""),
    "FastAPI list": ({"detail": [{"loc": ["body", "x"], "msg": "odd trouble"}]}, ""),
    "errors": ({"errors": [{"message": "odd trouble", "code": 7}]}, ""),
    "errors of texts": ({"errors": ["odd trouble"]}, ""),
    "errors as an object": ({"errors": {"message": "odd trouble"}, "request_id": "r"}, ""),
    "old vLLM": ({"object": "error", "message": "odd trouble", "code": 400}, "invalid"),
    "Spark": ({"header": {"code": 10013, "message": "odd trouble", "sid": "s"}}, ""),
    "Volcengine": ({"ResponseMetadata": {"RequestId": "r", "Error": {"Code": "InvalidAccessKey", "Message": "odd trouble"}}}, ""),
    "Tencent": ({"Response": {"Error": {"Code": "LimitExceeded", "Message": "odd trouble"}, "RequestId": "r"}}, ""),
    "Apigee": ({"fault": {"faultstring": "odd trouble", "detail": {"errorcode": "e"}}}, ""),
    "AWS": ({"__type": "ValidationException", "message": "odd trouble"}, ""),
    "status": ({"status": "error", "message": "odd trouble"}, ""),
    "spring": ({"timestamp": "t", "status": 500, "error": "Internal Server Error", "message": "odd trouble", "path": "/"}, ""),
    "a text": ({"error": "odd trouble"}, ""),
    "camels": ({"errorCode": "E1", "errorMessage": "odd trouble"}, ""),
    "err_msg": ({"err_code": 9, "err_msg": "odd trouble"}, ""),
    "nested": ({"data": {"error": {"message": "odd trouble"}}}, ""),
    "OpenRouter's choice": ({"choices": [{"index": 0, "finish_reason": "error", "message": {"role": "assistant", "content": ""},
                                          "error": {"code": 502, "message": "odd trouble"}}]}, ""),
}  # fmt: skip


@every_client
@both_modes
@every_upstream
def test_an_error_with_status_200_is_an_error_whatever_its_shape(
    every: Client, upstream: FakeUpstream, model: str, dialect: str, stream: bool
) -> None:
    told = {}
    for name, (body, _) in ERRORS.items():
        upstream.script(json_reply(body))
        told[name] = ask(every, dialect, model, stream=stream)

    assert [name for name, answer in told.items() if "odd trouble" not in answer.error] == []
    assert {told[name].status for name, (_, kind) in ERRORS.items() if kind == "billing"} <= {402, 429}


@every_client
@both_modes
def test_an_empty_account_is_asked_once(client: Client, upstream: FakeUpstream, dialect: str, stream: bool) -> None:
    upstream.script(json_reply(ERRORS["FB-244 MiniMax"][0]))

    ask(client, dialect, "chat/m", stream=stream)

    assert len(upstream.seen) == 1


@every_client
@every_upstream
def test_an_error_inside_a_stream_is_an_error_whatever_its_shape(
    every: Client, upstream: FakeUpstream, model: str, dialect: str
) -> None:
    told = {}
    for name, (body, _) in ERRORS.items():
        upstream.script(sse(*beginning(model), *unnamed(body)))
        told[name] = ask(every, dialect, model, stream=True).error

    assert [name for name, error in told.items() if "odd trouble" not in error] == []


NO_ANSWERS = {
    "a page": (HTML, "Sign in to Example Corp"),
    "a page without a title": (b"<html><body>hello</body></html>", "HTML page"),
    "a text": (b"upstream connect error", "upstream connect error"),
    "half an object": (b'{"id":"x","cho', "cho"),
    "a list": (b"[1,2]", "[1,2]"),
    "nothing of an answer": (b'{"ok":true,"greeting":"hello"}', "greeting"),
    "another kind of thing": (b'{"models":[{"name":"m"}]}', "models"),
}


@every_client
@both_modes
@every_upstream
@pytest.mark.parametrize("kind", ["application/json", "text/html", "text/event-stream"])
def test_what_is_no_answer_is_quoted(
    every: Client, upstream: FakeUpstream, model: str, kind: str, dialect: str, stream: bool
) -> None:
    told = {}
    for name, (body, quoted) in NO_ANSWERS.items():
        if kind == "text/event-stream" and not body.startswith((b"<", b"{", b"[")):
            continue  # a stream of comments
        upstream.script(Reply((body,), headers={"content-type": kind}))
        answer = ask(every, dialect, model, stream=stream)
        told[name] = answer.status == 502 and quoted in answer.error and ("HTML" in answer.error) == (b"<html" in body)

    assert [name for name, right in told.items() if not right] == []


@every_client
@pytest.mark.parametrize(
    "line",
    ['{"choices":[{"delta":{"content":"cut', "<html><title>Gone</title></html>", "nonsense", '{"type":"content_blo'],
)
@every_upstream
def test_a_broken_line_of_data_is_quoted(
    every: Client, upstream: FakeUpstream, line: str, model: str, dialect: str
) -> None:
    upstream.script(sse(*beginning(model), *unnamed(line)))

    told = ask(every, dialect, model, stream=True)

    assert ("Gone" if "Gone" in line else line[:12]) in told.error


@every_client
@both_modes
@pytest.mark.parametrize(
    "body",
    [
        {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 0}, "note": "odd"},
        {"choices": None, "note": "odd"},
        {"choices": [{"index": 0, "finish_reason": "stop", "note": "odd"}]},
        {"choices": [{"index": 0, "message": None, "finish_reason": "stop", "note": "odd"}]},
        {"choices": [{"index": 0, "message": "odd", "finish_reason": "stop"}]},
        {"choices": {"odd": 1}},
        {"choices": [{"index": 0, "message": {"tool_calls": "odd"}, "finish_reason": "stop"}]},
        {"choices": [{"index": 0, "message": {"tool_calls": [{"function": {"name": 7, "arguments": "odd"}}]}}]},
    ],
)
def test_a_reply_without_a_choice_that_can_be_read_is_no_success(
    client: Client, upstream: FakeUpstream, body: dict[str, Any], dialect: str, stream: bool
) -> None:
    upstream.script(json_reply(CHAT_HEAD | body))

    told = ask(client, dialect, "chat/m", stream=stream)

    assert "odd" in told.error
    assert told.status == 502


@every_client
def test_a_stream_of_counts_alone_is_no_success(client: Client, upstream: FakeUpstream, dialect: str) -> None:
    upstream.script(chat_events({"choices": [], "usage": {"prompt_tokens": 5}}, "[DONE]"))

    assert "no answer" in ask(client, dialect, "chat/m", stream=True).error


def beginning(model: str) -> tuple[bytes, ...]:
    """The first events of a good stream."""
    match model:
        case "chat/m":
            return unnamed(CHAT_HEAD | delta({"role": "assistant", "content": "a"}))
        case "messages/m":
            return named(*message_events(message("a"))[:3])
        case _:
            created = {
                "type": "response.created",
                "response": {"id": "resp_1", "object": "response", "status": "in_progress", "output": []},
            }
            item = {"id": "msg_1", "type": "message", "role": "assistant", "content": []}
            added = {"type": "response.output_item.added", "output_index": 0, "item": item}
            text = {
                "type": "response.output_text.delta",
                "item_id": "msg_1",
                "output_index": 0,
                "content_index": 0,
                "delta": "a",
            }
            return named(created, added, text)


COUNTS = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


@every_client
@both_modes
def test_an_answer_in_an_envelope_is_read(client: Client, upstream: FakeUpstream, dialect: str, stream: bool) -> None:
    """router-for-me/CLIProxyAPI#4512: Cline's API puts each chunk into `data`."""
    events = [CHAT_HEAD | delta({"role": "assistant", "content": "he"}), CHAT_HEAD | delta({"content": "y"}, "stop")]
    lines = unnamed(*({"success": True, "data": event} for event in events))
    enveloped = json_reply({"success": True, "data": chat_reply({"content": "hey"})})
    upstream.script(sse(*lines, b"data: [DONE]\n\n") if stream else enveloped)

    assert ask(client, dialect, "chat/m", stream=stream).text == "hey"


@pytest.mark.parametrize(
    "last", [{"usage": COUNTS}, {"choices": None, "usage": COUNTS}, {"object": "billing", "cost": 1}]
)
def test_each_chunk_that_a_client_gets_has_choices(
    client: Client, upstream: FakeUpstream, last: dict[str, Any]
) -> None:
    """vercel/ai#7417, anomalyco/opencode#1298, Kilo-Org/kilocode#12541: the AI SDK fails at one without."""
    upstream.script(sse(
        *(b"data: %b\n\n" % json.dumps(CHAT_HEAD | delta(said, end)).encode() for said, end in (({"content": "a"}, None), ({}, "stop"))),
        b"data: %b\n\n" % json.dumps(last).encode(), b"data: [DONE]\n\n",
    ))  # fmt: skip

    events = events_of(client.chat(stream=True, stream_options={"include_usage": True}))

    assert all(isinstance(event["choices"], list) and event["id"] for event in events[:-1])
    (counts,) = [event["usage"] for event in events[:-1] if event.get("usage")]
    assert (counts == COUNTS) is ("usage" in last), "or else they are estimated"


def test_choices_are_numbered_for_clients_that_want_it(client: Client, upstream: FakeUpstream) -> None:
    """vercel/ai#4031 (Cloudflare), SecretiveShell/MCP-Bridge#48."""
    chunks = [{"choices": [{"delta": {"content": "x"}}]}, {"choices": [{"delta": {}, "finish_reason": "stop"}]}]
    whole = {**CHAT_HEAD, "choices": [{"message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}]}
    upstream.script(chat_events(*chunks, "[DONE]"), json_reply(whole))

    events = events_of(client.chat(stream=True))
    answer = client.chat().json

    assert {choice["index"] for event in events if event != "[DONE]" for choice in event["choices"]} == {0}
    assert answer["choices"][0]["index"] == 0


@every_client
@both_modes
@pytest.mark.parametrize("given", ['{"x":1}', ' {"x": 1}\n'])
def test_the_input_of_a_call_may_be_the_text_of_an_object(
    every: Client, upstream: FakeUpstream, dialect: str, stream: bool, given: str
) -> None:
    """Servers of Messages that were made out of servers of Chat send the arguments as they are there."""
    call = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": given}
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [call]}
    end = {"stop_reason": "tool_use", "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1}}
    upstream.script(json_reply({**head, **end}))

    told = ask(every, dialect, "messages/m", stream=stream)

    assert (told.error, told.calls, told.finish) == ("", [("f", {"x": 1})], "tool_calls")


# Fields beside the answer, with values of a wrong type: of a whole reply, and of the objects in a stream.
ODD_FIELDS: dict[str, dict[str, Any]] = {
    "R": {"created_at": "today", "usage": "n/a", "tool_usage": [], "incomplete_details": "none", "service_tier": 5,
          "model": 7, "id": 5, "metadata": []},
    "A": {"usage": "n/a", "model": 5, "id": 7, "stop_sequence": 5, "stop_details": "x", "container": 5},
    "C": {"usage": "n/a", "model": 5, "id": 7, "created": "today", "service_tier": 5, "system_fingerprint": 5},
}  # fmt: skip


@both_modes
@every_client
@pytest.mark.parametrize(("to", "name"), [(to, name) for to, fields in ODD_FIELDS.items() for name in fields])
def test_a_field_of_a_wrong_type_beside_the_answer_does_not_end_it(
    every: Client, upstream: FakeUpstream, dialect: str, to: str, name: str, stream: bool
) -> None:
    reply = {**whole_reply(to, "t"), name: ODD_FIELDS[to][name]}
    if to == "R" and stream:
        done = {"type": "response.completed", "sequence_number": 1, "response": reply}
        begun = {**reply, "status": "in_progress", "output": []}
        events = [{"type": "response.created", "sequence_number": 0, "response": begun}, done]
        upstream.script(sse(*named(*events)))
    else:
        upstream.script(json_reply(reply))

    told = ask(every, dialect, UPSTREAMS[to], stream=stream)

    assert (told.text, told.error) == ("t", "")
