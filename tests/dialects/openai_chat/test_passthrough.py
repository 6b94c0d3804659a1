"""Streams on their way from a server of Chat Completions to a client of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from app.conversation.capabilities import RenderContext
from app.conversation.events import Event
from app.conversation.response import Usage
from app.conversation.streams.fold import fold
from app.dialects import openai_chat
from app.dialects.openai_chat import StreamPassthrough
from app.errors import Failure, UpstreamRefused
from app.sse import SseDecoder
from tests.dialects.openai_chat.passing import CONTEXT, call, can, repair, whole

ReadWire = Callable[[str], bytes]


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "created": 7, "model": "up", "choices": [choice], **more}


ROLE = chunk({"role": "assistant", "content": ""})


USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def stream(chunks: Sequence[Any]) -> bytes:
    datas = [data if isinstance(data, str) else json.dumps(data, separators=(",", ":")) for data in chunks]
    return "".join(f"data: {data}\n\n" for data in datas).encode()


def run(chunks: Sequence[Any], context: RenderContext = CONTEXT, **more: Any) -> list[Any]:
    """The payloads that the client gets, decoded; the end mark as it is."""
    passing = StreamPassthrough(context, can(**more))
    out = passing.feed(stream(chunks)) + passing.close()
    return [data.decode() if data == b"[DONE]" else json.loads(data) for data in SseDecoder().feed(out)]


def fragments(payloads: Sequence[Any]) -> list[dict[str, Any]]:
    choices = [choice for payload in payloads if isinstance(payload, dict) for choice in payload.get("choices", [])]
    return [entry for choice in choices for entry in choice["delta"].get("tool_calls") or []]


def said_calls(payloads: Sequence[Any]) -> list[dict[str, Any]]:
    """The calls of a stream, as a client has them at its end."""
    calls: dict[int, dict[str, Any]] = {}
    for entry in fragments(payloads):
        function = entry["function"]
        if entry["index"] not in calls:
            calls[entry["index"]] = {"id": entry["id"], "name": function["name"], "arguments": function["arguments"]}
        else:
            assert entry.keys() == {"index", "function"}, "clients join whatever text comes again"
            calls[entry["index"]]["arguments"] += function["arguments"]
    return list(calls.values())


def finishes(payloads: Sequence[Any]) -> list[str]:
    choices = [choice for payload in payloads if isinstance(payload, dict) for choice in payload.get("choices", [])]
    return [choice["finish_reason"] for choice in choices if choice["finish_reason"]]


def test_a_clean_stream_keeps_every_byte_but_the_models_name() -> None:
    first = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}
    body = stream(
        [
            ROLE,
            chunk({"content": 'the "model":"up" and "error" and [DONE]', "new": 1.0}),
            chunk({"tool_calls": [first]}),
            chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"x":'}}]}),
            chunk({"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]}),
            chunk(finish="tool_calls"),
            {**chunk(), "choices": [], "usage": USAGE},
            "[DONE]",
        ]
    )
    passing = StreamPassthrough(CONTEXT, can())

    out = passing.feed(body) + passing.close()

    assert out == body.replace(b'"model":"up","choices"', b'"model":"asked-for","choices"')
    assert passing.usage == Usage(fresh=7, output=3)
    assert passing.finished


def test_a_stream_of_a_server_that_sets_blanks_passes_too() -> None:
    chunks = [ROLE, chunk({"content": "x"}), chunk(finish="stop"), "[DONE]"]
    datas = [data if isinstance(data, str) else json.dumps(data) for data in chunks]
    body = "".join(f"data: {data}\n\n" for data in datas).encode()
    passing = StreamPassthrough(CONTEXT, can())

    out = passing.feed(body) + passing.close()

    assert out == body.replace(b'"model": "up"', b'"model": "asked-for"')


def test_only_whole_events_are_given_on() -> None:
    body = stream([ROLE, chunk({"content": "x"})])
    passing = StreamPassthrough(CONTEXT, can())

    pieces = [passing.feed(body[index : index + 1]) for index in range(len(body))]

    assert all(piece == b"" or piece.endswith(b"\n\n") for piece in pieces)
    assert passing.ping().startswith(b":")


def test_the_end_mark_is_added_where_it_lacks(read_wire: ReadWire) -> None:
    assert run([ROLE, chunk({"content": "x"}), chunk(finish="stop")])[-1] == "[DONE]"


def test_a_last_event_without_its_blank_line_is_not_lost() -> None:
    passing = StreamPassthrough(CONTEXT, can())

    out = passing.feed(stream([ROLE, chunk({"content": "x"}, finish="stop"), "[DONE]"]).rstrip(b"\n")) + passing.close()

    assert out.count(b"[DONE]") == 1


def test_an_unfinished_stream_ends_with_an_error() -> None:
    payloads = run([ROLE, chunk({"content": "x"})])

    assert payloads[-1]["error"]["type"] == "server_error"
    assert finishes(payloads) == []


@pytest.mark.parametrize(
    "broken",
    [
        {"error": {"message": "overloaded right now", "code": 502}},
        chunk(choices=[], error={"message": "overloaded right now"}),
        chunk({"content": ""}, "error", error={"message": "overloaded right now"}),
        "overloaded right now",
    ],
)
def test_an_error_in_a_stream_is_told_and_nothing_follows(broken: Any) -> None:
    payloads = run([ROLE, chunk({"content": "x"}), broken, chunk({"content": "y"}), "[DONE]"])

    assert "overloaded right now" in payloads[-1]["error"]["message"]
    assert set(payloads[-1]["error"]) == {"message", "type", "param", "code"}
    assert finishes(payloads) == []


def test_an_error_before_anything_else_can_still_become_a_status() -> None:
    passing = StreamPassthrough(CONTEXT, can())

    with pytest.raises(UpstreamRefused, match="bad thing") as refusal:
        passing.feed(b": OPENROUTER PROCESSING\n\n" + stream([{"error": {"message": "bad thing", "code": 400}}]))

    assert refusal.value.failure.http_status == 400


def test_a_failure_of_the_connection_is_told_between_two_events() -> None:
    passing = StreamPassthrough(CONTEXT, can())
    body = stream([ROLE, chunk({"content": "x"})])

    out = passing.feed(body[:-9]) + passing.fail(Failure(kind="timeout", message="silent"))

    assert [json.loads(data).get("error", {}).get("code") for data in SseDecoder().feed(out)] == [None, "timeout"]
    assert passing.feed(body) + passing.close() + passing.ping() == b""


def test_usage_is_given_to_those_who_asked_only() -> None:
    chunks = [ROLE, chunk(finish="stop"), {**chunk(), "choices": [], "usage": USAGE}, "[DONE]"]
    silent = RenderContext(model="up", id="i", created=1)
    passing = StreamPassthrough(silent, can())

    out = passing.feed(stream(chunks)) + passing.close()

    assert b"usage" not in out
    assert passing.usage == Usage(fresh=7, output=3)
    assert any(isinstance(payload, dict) and payload.get("usage") for payload in run(chunks))


def test_chunks_that_clients_trip_over_are_left_out_or_completed() -> None:
    filtered = {"id": "", "model": "", "choices": [], "prompt_filter_results": [1]}
    without_delta = {**chunk(), "choices": [{"index": 0, "finish_reason": None, "content_filter_offsets": {}}]}

    payloads = run([filtered, ROLE, chunk({"content": "x"}), without_delta, chunk(finish="stop"), "[DONE]"])

    assert [payload["choices"][0]["delta"] for payload in payloads[:-1]] == [
        {"role": "assistant", "content": ""},
        {"content": "x"},
        {},
        {},
    ]
    assert {payload["model"] for payload in payloads[:-1]} == {"asked-for"}


def test_numeric_and_missing_ids_become_text() -> None:
    for given, expected in ((123, "123"), (None, "call_")):
        head = {"index": 0, "id": given, "type": "function", "function": {"name": "f", "arguments": ""}}
        more = {"index": 0, "function": {"arguments": "{}"}}

        got = fragments(run([ROLE, chunk({"tool_calls": [head]}), chunk({"tool_calls": [more]}), chunk(finish="stop")]))

        assert got[0]["id"].startswith(expected)
        assert got[1] == more


def test_calls_under_one_index_get_their_own() -> None:
    heads = [
        {"index": 0, "id": name, "type": "function", "function": {"name": "f", "arguments": "{}"}} for name in "ab"
    ]

    got = said_calls(run([ROLE, *[chunk({"tool_calls": [head]}) for head in heads], chunk(finish="tool_calls")]))

    assert got == [{"id": name, "name": "f", "arguments": "{}"} for name in "ab"]


def test_a_whole_message_in_a_stream_becomes_deltas() -> None:
    message = {"role": "assistant", "content": "x", "tool_calls": [call(id="a"), call(id="b")]}
    body = chunk(finish="tool_calls") | {"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}

    payloads = run([body])
    later = run(
        [
            ROLE,
            chunk({"content": "y"}),
            {**chunk(), "choices": [{"index": 0, "message": {"content": "x"}, "finish_reason": None}]},
        ]
    )

    assert not any("message" in choice for payload in later[:3] for choice in payload["choices"])
    choices = [payload["choices"][0] for payload in payloads if payload != "[DONE]"]
    assert "".join(choice["delta"].get("content") or "" for choice in choices) == "x"
    assert [found["id"] for found in said_calls(payloads)] == ["a", "b"]
    assert (finishes(payloads), any("message" in choice for choice in choices)) == (["tool_calls"], False)


def test_a_name_that_was_cut_goes_on() -> None:
    pieces = [{"id": "a", "type": "function", "function": {"name": "get_", "arguments": ""}},
              {"function": {"name": "weather"}}, {"function": {"arguments": "{}"}}]  # fmt: skip
    chunks = [chunk({"tool_calls": [{"index": 0, **piece}]}) for piece in pieces]

    assert fragments(run([ROLE, *chunks, chunk({}, "tool_calls")])) == [{"index": 0, **piece} for piece in pieces]


def test_another_name_with_arguments_is_another_call() -> None:
    head = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}
    other = {"index": 0, "function": {"name": "g", "arguments": "{}"}}

    got = said_calls(
        run([ROLE, chunk({"tool_calls": [head]}), chunk({"tool_calls": [other]}), chunk({}, "tool_calls")])
    )

    assert [(found["name"], found["arguments"]) for found in got] == [("f", "{}"), ("g", "{}")]


def test_calls_that_share_an_id_get_their_own() -> None:
    calls = [call(index=0, id="a"), call(index=1, id="a")]

    streamed = said_calls(run([ROLE, chunk({"tool_calls": calls}), chunk({}, "tool_calls")]))
    repaired = repair(whole({"role": "assistant", "content": None, "tool_calls": calls}, "tool_calls"))

    for found in (streamed, repaired["choices"][0]["message"]["tool_calls"]):
        assert found[0]["id"] == "a"
        assert found[1]["id"] not in ("", "a")


def test_repeated_ids_and_names_are_left_out_for_clients_would_join_them() -> None:
    pieces = [
        {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": text}} for text in ("", "{}")
    ]

    got = fragments(run([ROLE, *[chunk({"tool_calls": [piece]}) for piece in pieces], chunk(finish="tool_calls")]))

    assert got[1] == {"index": 0, "function": {"arguments": "{}"}}


def test_a_call_without_arguments_gets_an_empty_object() -> None:
    head = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}

    payloads = run([ROLE, chunk({"tool_calls": [head]}), chunk(finish="tool_calls"), "[DONE]"])

    assert "".join(entry["function"]["arguments"] for entry in fragments(payloads)) == "{}"
    assert finishes(payloads) == ["tool_calls"]


def test_the_label_of_the_end_fits_what_came() -> None:
    head = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    called = [ROLE, chunk({"tool_calls": [head]}), chunk(finish="stop"), "[DONE]"]
    spoken = [ROLE, chunk({"content": "x"}), chunk(finish="tool_calls"), "[DONE]"]

    assert finishes(run(called)) == ["tool_calls"]
    assert finishes(run(called, first_party=True)) == ["stop"]
    assert finishes(run(spoken)) == ["stop"]


def test_an_end_that_is_said_twice_is_given_on_once() -> None:
    assert finishes(run([ROLE, chunk({"content": "x"}), *[chunk(finish="stop")] * 2, *["[DONE]"] * 2])) == ["stop"]


def test_several_choices_have_their_own_ends() -> None:
    second = {**chunk(finish="stop")}
    second["choices"] = [{**second["choices"][0], "index": 1}]

    several = msgspec.structs.replace(CONTEXT, several=True)

    assert finishes(run([ROLE, chunk(finish="stop"), second, "[DONE]"], context=several)) == ["stop", "stop"]


@pytest.mark.parametrize(
    ("sent", "told"),
    [("eos", "stop"), ("max_tokens", "length"), ("sensitive", "content_filter"), ("no word we know", "stop")],
)
def test_the_end_is_told_in_the_words_of_the_contract(sent: str, told: str) -> None:
    assert finishes(run([ROLE, chunk({"content": "x"}), chunk(finish=sent), "[DONE]"])) == [told]
    assert repair(whole({"content": "x"}, sent))["choices"][0]["finish_reason"] == told


def test_an_end_mark_without_a_finish_gets_one() -> None:
    head = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}

    assert finishes(run([ROLE, chunk({"content": "x"}), "[DONE]"])) == ["stop"]
    assert finishes(run([ROLE, chunk({"tool_calls": [head]}), "[DONE]"])) == ["tool_calls"]


def test_an_end_mark_alone_is_no_answer() -> None:
    with pytest.raises(UpstreamRefused):
        StreamPassthrough(CONTEXT, can()).feed(b"data: [DONE]\n\n")


def test_an_end_of_input_before_the_answer_can_still_become_a_status() -> None:
    with pytest.raises(UpstreamRefused):
        StreamPassthrough(CONTEXT, can()).close()


def test_a_failure_after_the_finish_does_not_undo_the_answer() -> None:
    late = {"error": {"message": "too late"}}
    passing = StreamPassthrough(CONTEXT, can())
    cut = passing.feed(stream([ROLE, chunk({"content": "x"}, "stop")])) + passing.fail(
        Failure(kind="internal", message="reset")
    )

    assert run([ROLE, chunk({"content": "x"}, "stop"), late])[-1] == "[DONE]"
    assert cut.endswith(b"data: [DONE]\n\n")
    assert b"reset" not in cut


def test_the_first_chunk_names_the_role() -> None:
    first, *_ = run([chunk({"content": "x"}), chunk(finish="stop"), "[DONE]"])

    assert first["choices"][0]["delta"] == {"content": "x", "role": "assistant"}


def test_every_chunk_has_the_id_the_time_and_the_model() -> None:
    nameless = {"id": "", "created": 0, "model": None, "object": ""}

    payloads = run([ROLE | nameless, chunk({"content": "x"}) | nameless, chunk(finish="stop") | nameless, "[DONE]"])

    assert [(p["id"], p["created"], p["model"], p["object"]) for p in payloads[:-1]] == [
        ("chatcmpl-abc123", CONTEXT.created, "asked-for", "chat.completion.chunk")
    ] * len(payloads[:-1])
    assert [p["choices"][0]["delta"].get("content") for p in payloads[:-1]] == ["", "x", None]


@pytest.mark.parametrize("step", [1, 40, 10_000])
@pytest.mark.parametrize(
    "other", [{"id": "d"}, {"created": 8}, {"model": "up-2"}, {"id": "", "created": 9, "model": ""}]
)
def test_all_chunks_have_the_identity_of_the_first(other: dict[str, Any], step: int) -> None:
    """Ollama dates each chunk anew; others give each an id of its own."""
    said = [chunk({"content": "x"}), chunk({"content": "y"}) | other, chunk({"content": "z"}) | other]
    called = chunk({"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f"}}]}) | other
    more = chunk({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]})
    counted = {**chunk(), "choices": [], "usage": USAGE} | other
    body = stream([ROLE, *said, called, more | other, more, chunk(finish="tool_calls") | other, counted, "[DONE]"])
    passing = StreamPassthrough(CONTEXT, can())

    out = b"".join(passing.feed(body[start : start + step]) for start in range(0, len(body), step)) + passing.close()

    payloads = [json.loads(data) for data in SseDecoder().feed(out) if data != b"[DONE]"]
    assert {(p["id"], p["created"], p["model"]) for p in payloads} == {("c", 7, "asked-for")}
    assert "".join(c["delta"].get("content") or "" for p in payloads for c in p["choices"]) == "xyz"


@pytest.mark.parametrize("field", ["id", "model"])
def test_an_identity_of_any_length_is_written_once(field: str) -> None:
    said = [chunk({"content": f"{number} "}) | {"created": number} for number in range(1000)]
    body = stream([ROLE | {field: "x" * 20_000}, *said, chunk(finish="stop"), "[DONE]"])
    passing = StreamPassthrough(CONTEXT, can())

    out = passing.feed(body) + passing.close()

    assert len(out) < 2 * len(body)
    assert out.count(b'"content":"') >= 1000


def test_a_last_chunk_with_its_fields_in_another_order_has_the_clients_name_of_the_model() -> None:
    counted = {"choices": [], "usage": USAGE, "model": "up", "id": "c", "created": 7, "object": "chat.completion.chunk"}

    *_, last, end = run([ROLE, chunk({"content": "x"}), chunk(finish="stop"), counted, "[DONE]"])

    assert (last["model"], last["usage"], end) == ("asked-for", USAGE, "[DONE]")


def test_an_event_without_data_is_left_out() -> None:
    body = stream([ROLE, chunk({"content": "x"}), "", chunk(finish="stop"), "[DONE]"])

    assert b"data: \n\n" not in StreamPassthrough(CONTEXT, can()).feed(body)


@pytest.mark.parametrize(
    "chunks",
    [
        [chunk({"content": "x"}, usage={**USAGE, "completion_tokens": 1}), chunk(finish="stop", usage=USAGE)],
        [
            chunk({"content": "x"}),
            chunk(finish="stop", usage={**USAGE, "completion_tokens": 1}),
            {**chunk(), "choices": [], "usage": USAGE},
        ],
        [chunk({"content": "x"}), {**chunk(), "choices": [], "usage": USAGE}, chunk(finish="stop")],
        [chunk({"content": "x"}), chunk(choices=[{"index": 0, "delta": {}, "finish_reason": "stop", "usage": USAGE}])],
        [chunk({"content": "x"}), chunk(finish="stop", x_groq={"usage": USAGE})],
        [
            chunk({"content": "x"}),
            chunk(finish="stop"),
            {**chunk(), "choices": [], "usage": {**USAGE, "completion_tokens": 1}},
            {**chunk(), "choices": [], "usage": USAGE},
        ],
    ],
)
def test_usage_is_told_once_and_last_wherever_it_came(chunks: list[Any]) -> None:
    *payloads, counted, end = run([ROLE, *chunks, "[DONE]"])
    silent = RenderContext(model="asked-for", id="i", created=1)

    assert end == "[DONE]"
    assert (counted["choices"], counted["usage"]) == ([], USAGE)
    assert {key: counted[key] for key in ("id", "created", "model")} == {"id": "c", "created": 7, "model": "asked-for"}
    assert not any(payload.get("usage") for payload in payloads)
    assert not any(p.get("usage") for p in run([ROLE, *chunks, "[DONE]"], silent)[:-1])


def test_content_in_parts_becomes_text_in_a_stream_too() -> None:
    parts = [{"type": "text", "text": "x"}]

    payloads = run([ROLE, chunk({"content": parts}), chunk(finish="stop"), "[DONE]"])

    assert payloads[1]["choices"][0]["delta"] == {"content": "x"}


@pytest.mark.parametrize(("pieces", "told"), [(["null"], "{}"), (['"{\\"x\\"', ':1}"'], '{"x":1}')])
def test_arguments_that_are_no_object_wait_and_become_one(pieces: list[str], told: str) -> None:
    head = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": pieces[0]}}
    more = [chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}) for piece in pieces[1:]]

    payloads = run([ROLE, chunk({"tool_calls": [head]}), *more, chunk(finish="tool_calls"), "[DONE]"])

    assert "".join(entry["function"]["arguments"] for entry in fragments(payloads)) == told


@pytest.mark.parametrize("begun", ["", '{"x"'], ids=["before arguments", "within arguments"])
@pytest.mark.parametrize("blank", [{"id": ""}, {"name": ""}, {"id": "", "type": "function", "name": ""}], ids=str)
def test_what_a_later_fragment_repeats_or_leaves_blank_is_left_out(blank: dict[str, str], begun: str) -> None:
    rest = '{"x":1}'.removeprefix(begun)
    head = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": begun}}
    said = {"arguments": rest} | {key: value for key, value in blank.items() if key == "name"}
    more = {"index": 0, "function": said} | {key: value for key, value in blank.items() if key != "name"}

    payloads = run([ROLE, chunk({"tool_calls": [head]}), chunk({"tool_calls": [more]}), chunk(finish="tool_calls")])

    assert fragments(payloads)[1] == {"index": 0, "function": {"arguments": rest}}


@pytest.mark.parametrize("name", ["thinking", "reasoning_text", "cot_summary"])
def test_thoughts_under_a_name_that_few_clients_read_get_the_usual_one(name: str) -> None:
    deltas = [{name: "h"}, {name: "m"}, {"content": "x"}]

    payloads = run([ROLE, *map(chunk, deltas), chunk(finish="stop")])

    told = [choice["delta"] for payload in payloads if payload != "[DONE]" for choice in payload["choices"]]
    assert "".join(delta.get("reasoning_content") or "" for delta in told) == "hm"
    assert not any(name in delta for delta in told)
    assert repair(whole({"content": "x", name: "hm"}))["choices"][0]["message"]["reasoning_content"] == "hm"


def test_thoughts_that_are_told_twice_pass_as_they_are() -> None:
    twice = {"thinking": "hm", "reasoning_content": "hm"}

    assert repair(whole({"content": "x", **twice}))["choices"][0]["message"].items() >= twice.items()


HEAD_OF_CALL = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}


TURNS: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    "a call without an id behind one that has passed": (
        [{"content": "x"}, {"tool_calls": [{**HEAD_OF_CALL, "function": {"name": "f", "arguments": '{"x":1}'}}]}],
        [{"tool_calls": [{"index": 1, "function": {"name": "g", "arguments": "{}"}}]}],
    ),
    "arguments that go on behind the turn": (
        [
            {"content": "x"},
            {"tool_calls": [HEAD_OF_CALL]},
            {"tool_calls": [{"index": 0, "function": {"arguments": '{"x"'}}]},
        ],
        [{"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": ":1}"}}]}],
    ),
    "arguments that begin behind the turn": (
        [{"content": "x"}, {"tool_calls": [HEAD_OF_CALL]}],
        [{"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x":1}'}}]}],
    ),
    "parts": ([{"content": "x"}], [{"content": [{"type": "text", "text": "y"}]}, {"content": "z"}]),
    "a call among the parts": (
        [{"content": "x"}],
        [{"content": [{"type": "tool_use", "id": "b", "name": "f", "input": {"x": 1}}]}],
    ),
}


@pytest.mark.parametrize("counted", [True, False], ids=["counted", "uncounted"])
@pytest.mark.parametrize(("clean", "unclean"), TURNS.values(), ids=TURNS)
def test_from_the_first_unclean_event_the_stream_goes_on_as_if_it_had_begun_so(
    clean: list[dict[str, Any]], unclean: list[dict[str, Any]], counted: bool
) -> None:
    sent = [ROLE, *map(chunk, clean), *map(chunk, unclean), chunk(finish="stop")]
    sent += [{**chunk(), "choices": [], "usage": USAGE}] if counted else []
    passed = len(stream([ROLE, *map(chunk, clean)]))
    passing = StreamPassthrough(msgspec.structs.replace(CONTEXT, model="up"), can())

    out = b"".join(passing.feed(event) for event in events_of(stream([*sent, "[DONE]"]))) + passing.close()

    assert out[:passed] == stream([ROLE, *map(chunk, clean)])
    assert out.endswith(b"data: [DONE]\n\n")
    payloads = [json.loads(data) for data in SseDecoder().feed(out) if data != b"[DONE]"]
    assert {(payload["id"], payload["created"], payload["model"]) for payload in payloads} == {("c", 7, "up")}
    assert [payload["usage"]["total_tokens"] for payload in payloads if "usage" in payload] == [10] * counted
    heard, said = (fold(read(stream([*datas, "[DONE]"]))) for datas in (payloads, sent))
    assert (heard.blocks, heard.finish_reason) == (said.blocks, said.finish_reason)


def read(body: bytes) -> list[Event]:
    parser = openai_chat.StreamParser()
    return parser.feed(SseDecoder().feed(body)) + parser.close()


def events_of(body: bytes) -> list[bytes]:
    return [event + b"\n\n" for event in body.split(b"\n\n")[:-1]]
