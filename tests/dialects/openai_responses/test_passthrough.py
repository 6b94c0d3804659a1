"""Specifies what changes where the client and the upstream both speak the Responses dialect."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from app.conversation.blocks import Proof
from app.conversation.envelope import seal
from app.conversation.response import Usage
from app.dialects import openai_responses
from app.dialects.openai_responses import StreamPassthrough, pass_response, passthrough
from app.dialects.openai_responses.passthrough import MAX_SINCE
from app.dialects.openai_responses.state.history import input_items, output_items
from app.errors import Failure, InvalidRequest, UpstreamMalformed, UpstreamRefused
from tests.dialects.openai_responses.wire import CONTEXT, UPSTREAM, ask, check_grammar, events_of, to_bytes, vendor
from tests.support.same_dialect import send_on

STREAMS = sorted((Path(__file__).parents[2] / "wire" / "openai_responses" / "streams").glob("*.sse"))
SAME_MODEL = replace(CONTEXT, model="gpt-5.4")
USER = {"role": "user", "content": "q"}
NATIVE = b'{"type":"reasoning", "id":"rs_1","summary":[],"encrypted_content":"gAAA"}'

BACKEND = replace(
    UPSTREAM, stream_only=True, store=False, instructions_required=True, refused_fields=("max_output_tokens", "user")
)


def patched(body: Any, capabilities: Any = UPSTREAM) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(send_on(openai_responses, json.dumps(body).encode(), capabilities).body)
    return result


def spoken(body: dict[str, Any]) -> list[tuple[str, str]]:
    """Role and text of the messages that the upstream gets."""
    messages = [item for item in body["input"] if item.get("type", "message") == "message"]
    return [(item["role"], said if isinstance(said := item["content"], str) else said[0]["text"]) for item in messages]


def test_only_the_name_of_the_model_changes() -> None:
    body = b'{ "input": [{"role":"user","content":"\\u00e9 \\"model\\": \\"x\\""}], "model" : "alias", "n": 1.0 }'

    result = send_on(openai_responses, body, UPSTREAM)

    assert result.body == body.replace(b'"alias"', b'"gpt-5.4"')


def test_a_reasoning_item_with_encrypted_content_is_not_touched() -> None:
    body = b'{"model":"gpt-5.4","input":[{"role":"user","content":"q"}, ' + NATIVE + b"]}"

    assert send_on(openai_responses, body, UPSTREAM).body == body


@pytest.mark.parametrize("store", [{}, {"store": True}, {"store": None}, {"store": False}], ids=str)
def test_a_login_backend_that_stores_nothing_is_always_told_so(store: dict[str, Any]) -> None:
    body = {"model": "oca/gpt-5.4", "input": [USER], "stream": True, **store}

    assert patched(body, replace(UPSTREAM, stream_only=True, store=False))["store"] is False
    assert patched(body).get("store", True) == store.get("store", True)


def test_envelopes_of_other_dialects_never_go_upstream() -> None:
    foreign = seal(Proof("anthropic_messages", "thinking", (b"{}",)))
    items = [USER, {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": foreign}]

    result = send_on(openai_responses, json.dumps(ask(*items)).encode(), UPSTREAM)

    assert spoken(json.loads(result.body)) == [("user", "q")]
    assert [loss.path for loss in result.losses] == ["input[1]"]


def test_what_we_sealed_of_this_dialect_goes_back_as_it_was() -> None:
    sealed = seal(Proof("openai_responses", "reasoning", (NATIVE,)))
    item = {"type": "reasoning", "id": "rs_ours", "summary": [], "encrypted_content": sealed}

    result = send_on(openai_responses, json.dumps(ask(USER, item)).encode(), UPSTREAM)

    assert NATIVE in result.body
    assert b"rs_ours" not in result.body


def test_an_upstream_that_decrypts_nothing_gets_no_encrypted_content() -> None:
    items = [USER, {"type": "reasoning", "summary": [{"type": "summary_text", "text": "S"}], "encrypted_content": "E"}]

    body = patched(ask(*items, include=["reasoning.encrypted_content"]), replace(UPSTREAM, proofs=()))

    assert "encrypted_content" not in json.dumps(body)
    assert spoken(body) == [("user", "q")]


def test_of_a_bound_item_nothing_is_left_where_the_rest_would_be_looked_up() -> None:
    item = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "S"}], "encrypted_content": "E"}
    silent = {**item, "summary": []}
    vendor_itself = replace(UPSTREAM, proofs=(), first_party=True)

    assert spoken(patched(ask(item, USER), vendor_itself)) == [("user", "q")]
    assert spoken(patched(ask(silent, USER), replace(UPSTREAM, proofs=()))) == [("user", "q")]


def test_the_backend_of_chatgpt_logins_gets_what_it_takes() -> None:
    items = [
        {"role": "system", "content": "first"},
        USER,
        {"type": "item_reference", "id": "msg_1"},
        {"type": "reasoning", "id": "rs_2", "summary": []},
        json.loads(NATIVE),
    ]

    result = send_on(
        openai_responses, json.dumps(ask(*items, max_output_tokens=5, user="u", store=True)).encode(), BACKEND
    )

    body = json.loads(result.body)
    assert (body["store"], body["stream"]) == (False, True)
    assert body["instructions"] == "first"
    assert body["include"] == ["reasoning.encrypted_content"]
    assert spoken(body) == [("user", "q")]
    assert body["input"][-1] == json.loads(NATIVE)
    assert "max_output_tokens" not in body
    assert {(loss.severity, loss.path) for loss in result.losses} >= {
        ("degrading", "max_output_tokens"),
        ("ignorable", "user"),
    }


def test_the_backend_of_chatgpt_logins_gets_a_list_for_a_string() -> None:
    body = patched({"model": "m", "input": "hello", "instructions": "I"}, BACKEND)

    assert spoken(body) == [("user", "hello")]
    assert body["instructions"] == "I"


@pytest.mark.parametrize("body", [b"", b"[]", b'{"model":"m","input":[7]}', b'{"model":"m","input":[{"role":7}]}'])
def test_a_body_that_must_be_changed_and_cannot_be_read_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        send_on(openai_responses, body, BACKEND)


def test_a_whole_response_gets_the_clients_name_of_the_model(read_wire: Callable[[str], bytes]) -> None:
    body = read_wire("openai_responses/responses/text.json")

    repaired, _ = pass_response(body, CONTEXT, UPSTREAM)

    assert repaired == body.replace(b'"gpt-5.4"', b'"the-model-asked-for"')


def test_items_of_requests_and_responses_are_taken_out_as_they_are(read_wire: Callable[[str], bytes]) -> None:
    body = b'{"model":"m","input":[{"role":"user","content":"q"}, ' + NATIVE + b"]}"

    items = input_items(body)

    assert items == [b'{"role":"user","content":"q"}', NATIVE]
    assert input_items(b'{"input":"hi"}') == [b'{"type":"message","role":"user","content":"hi"}']
    outputs = output_items(read_wire("openai_responses/responses/two-parts-and-two-messages.json"))
    assert [json.loads(item)["id"] for item in outputs] == ["msg_1", "msg_2"]


@pytest.mark.parametrize("size", [1, 7, 200, 1_000_000])
def test_a_clean_stream_passes_unchanged(size: int, read_wire: Callable[[str], bytes]) -> None:
    stream = read_wire("openai_responses/streams/reasoning-text-and-parallel-calls.sse")
    passing = StreamPassthrough(SAME_MODEL, UPSTREAM)

    out = b"".join(passing.feed(stream[at : at + size]) for at in range(0, len(stream), size))

    assert out + passing.close() == stream
    assert passing.finished
    assert passing.usage == Usage(fresh=100, cache_read=1000, cache_written=100, output=90, reasoning=40)


def test_the_terminal_event_decides_and_the_last_line_is_added(read_wire: Callable[[str], bytes]) -> None:
    stream = read_wire("openai_responses/streams/text.sse").removesuffix(b"data: [DONE]\n\n")
    passing = StreamPassthrough(SAME_MODEL, UPSTREAM)

    out = passing.feed(stream)

    assert passing.finished
    assert out == stream
    assert passing.close() == b"data: [DONE]\n\n"


def test_every_response_in_a_stream_names_the_clients_model(read_wire: Callable[[str], bytes]) -> None:
    passing = StreamPassthrough(CONTEXT, UPSTREAM)

    out = passing.feed(read_wire("openai_responses/streams/text.sse"))

    models = [event["response"]["model"] for event in events_of(out) if "response" in event]
    assert models == ["the-model-asked-for"] * 3
    assert out.replace(b"the-model-asked-for", b"gpt-5.4") == read_wire("openai_responses/streams/text.sse")


def test_an_item_has_one_id_in_all_of_its_events(read_wire: Callable[[str], bytes]) -> None:
    passing = StreamPassthrough(SAME_MODEL, UPSTREAM)

    out = passing.feed(read_wire("openai_responses/streams/another-id-in-every-event.sse"))

    check_grammar(out)
    assert {event["item_id"] for event in events_of(out) if "item_id" in event} == {"rs_x1"}
    assert events_of(out)[-1]["response"]["output"][0]["id"] == "rs_x1"
    assert events_of(out)[-1]["response"]["output"][0]["encrypted_content"] == "ENC"


def test_a_terminal_event_without_items_gets_those_that_were_sent(read_wire: Callable[[str], bytes]) -> None:
    passing = StreamPassthrough(SAME_MODEL, UPSTREAM)

    out = passing.feed(read_wire("openai_responses/streams/empty-output-in-the-last-event.sse")) + passing.close()

    check_grammar(out)
    with vendor(out).responses.stream(model="m", input="x") as heard:
        assert heard.get_final_response().output_text == "hello"


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "not-announced"])
@pytest.mark.parametrize(
    "name",
    ["reasoning-text-and-parallel-calls", "raw-reasoning-of-an-open-server", "custom-tool-call", "refusal",
     "web-search-with-citation", "two-parts-and-two-messages", "logprobs"],
)  # fmt: skip
def test_items_that_only_the_terminal_event_tells_get_events(
    name: str, announced: bool, read_wire: Callable[[str], bytes]
) -> None:
    events = events_of(read_wire(f"openai_responses/streams/{name}.sse"))
    kept = [event | {"sequence_number": at} for at, event in enumerate([*events[:announced], events[-1]])]
    passing = StreamPassthrough(SAME_MODEL, UPSTREAM)

    out = passing.feed(to_bytes(kept)) + passing.close()

    check_grammar(out)
    assert events_of(out)[-1]["response"] == events[-1]["response"]
    with vendor(out).responses.stream(model="m", input="x") as heard:
        deltas = "".join(event.delta for event in heard if event.type == "response.output_text.delta")
        assert deltas == heard.get_final_response().output_text


def test_an_item_that_was_said_but_not_ended_is_ended(read_wire: Callable[[str], bytes]) -> None:
    events = events_of(read_wire("openai_responses/streams/text.sse"))
    passing = StreamPassthrough(SAME_MODEL, UPSTREAM)

    out = passing.feed(to_bytes([event for event in events if event["type"] != "response.output_item.done"]))

    assert [event["type"] for event in events_of(out)] == [event["type"] for event in events]
    assert events_of(out)[-2]["item"] == events[-1]["response"]["output"][0]


@pytest.mark.parametrize("name", ["error-event-flat", "error-event-nested-then-failed", "cut-in-the-middle"])
def test_a_failure_becomes_one_that_every_client_knows(name: str, read_wire: Callable[[str], bytes]) -> None:
    passing = StreamPassthrough(SAME_MODEL, UPSTREAM)

    out = passing.feed(read_wire(f"openai_responses/streams/{name}.sse")) + passing.close()

    check_grammar(out)
    assert [event["type"] for event in events_of(out)][-2:] == ["error", "response.failed"]
    assert not passing.finished


def test_a_failed_response_passes_as_the_upstream_said_it(read_wire: Callable[[str], bytes]) -> None:
    stream = read_wire("openai_responses/streams/failed-in-the-middle.sse")
    passing = StreamPassthrough(SAME_MODEL, UPSTREAM)

    assert passing.feed(stream) == stream
    assert passing.finished


def test_a_failure_of_ours_drops_the_event_that_was_not_whole(read_wire: Callable[[str], bytes]) -> None:
    stream = read_wire("openai_responses/streams/text.sse")
    passing = StreamPassthrough(SAME_MODEL, UPSTREAM)
    half = len(stream) // 2

    out = passing.feed(stream[:half]) + passing.ping() + passing.fail(Failure(kind="timeout", message="silent"))

    events = [event for event in events_of(out) if event["type"] != "ping"]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[-1]["response"]["error"] == {"code": "timeout", "message": "silent"}
    assert passing.feed(stream[half:]) + passing.close() + passing.ping() == b""


def test_a_failure_before_the_first_event_is_a_whole_stream() -> None:
    passing = StreamPassthrough(CONTEXT, UPSTREAM)

    out = passing.ping() + passing.fail(Failure(kind="timeout", message="silent"))

    assert out.startswith(b": ")
    check_grammar(out)


def test_pings_are_survived_by_the_vendors_own_client(read_wire: Callable[[str], bytes]) -> None:
    passing = StreamPassthrough(SAME_MODEL, UPSTREAM)
    stream = read_wire("openai_responses/streams/text.sse")

    out = b"".join(passing.feed(stream[at : at + 50]) + passing.ping() for at in range(0, len(stream), 50))

    with vendor(out).responses.stream(model="m", input="x") as heard:
        kinds = [event.type for event in heard]
        assert heard.get_final_response().output_text == "Hello, wörld 🌍"
    assert kinds.count("ping") > 10  # type: ignore[comparison-overlap]


@pytest.mark.parametrize("ends", [b"\r\n", b"\r"])
def test_other_line_ends_are_made_plain(ends: bytes, read_wire: Callable[[str], bytes]) -> None:
    stream = read_wire("openai_responses/streams/text.sse")
    passing = StreamPassthrough(SAME_MODEL, UPSTREAM)

    out = passing.feed(stream.replace(b"\n", ends)) + passing.close()

    assert events_of(out) == events_of(stream)
    assert passing.finished


def test_a_last_event_without_its_blank_line_counts(read_wire: Callable[[str], bytes]) -> None:
    stream = read_wire("openai_responses/streams/text.sse").removesuffix(b"\n\ndata: [DONE]\n\n")
    passing = StreamPassthrough(SAME_MODEL, UPSTREAM)

    out = passing.feed(stream) + passing.close()

    assert passing.finished
    check_grammar(out)


def test_comments_pass_and_data_that_is_no_object_is_an_error() -> None:
    passing = StreamPassthrough(SAME_MODEL, UPSTREAM)

    assert passing.feed(b": a comment\n\n") == b": a comment\n\n"
    with pytest.raises(UpstreamRefused, match="nonsense"):
        StreamPassthrough(SAME_MODEL, UPSTREAM).feed(b'event: odd\ndata: "item": nonsense\n\n')


BEGUN = {"type": "response.created", "sequence_number": 0, "response": {"id": "r", "model": "gpt-5.4"}}
PART = {"type": "response.content_part.added", "item_id": "a", "output_index": 0, "content_index": 0}


def test_a_stream_is_looked_into_only_where_it_matters() -> None:
    delta = {"type": "response.output_text.delta", "item_id": "a", "output_index": 0, "content_index": 0, "delta": "x"}
    added = {"type": "response.output_item.added", "output_index": 0, "item": {"id": "a", "type": "message"}}
    passing = StreamPassthrough(SAME_MODEL, UPSTREAM)
    passing.feed(to_bytes([BEGUN, added, PART, delta]))

    part = to_bytes([delta, delta])

    assert passing.feed(part) is part


@pytest.mark.parametrize("odd", ["x", 7, [], {"output": 5}, {"usage": "none", "status": "completed"}, {"output": [1]}])
@pytest.mark.parametrize("kind", ["response.created", "response.completed", "response.output_item.done"])
def test_events_that_hold_something_odd_pass(kind: str, odd: Any) -> None:
    item = {"id": "a", "type": "message"}
    delta = {"type": "response.output_text.delta", "item_id": "a", "output_index": 0, "content_index": 0, "delta": "x"}
    added = {"type": "response.output_item.added", "output_index": 0, "item": item}
    before = [BEGUN, added, PART, delta] if "item" in kind else []
    odd = {**odd, "id": "a"} if isinstance(odd, dict) else odd
    event = {"type": kind, "output_index": 0, "item" if before else "response": odd, "sequence_number": 0}
    passing = StreamPassthrough(SAME_MODEL, UPSTREAM)
    passing.feed(to_bytes(before))

    assert passing.feed(to_bytes([event])) == to_bytes([event])


def test_a_whole_error_of_status_200_is_a_failure_and_a_page_of_html_no_response() -> None:
    with pytest.raises(UpstreamRefused, match="gone"):
        pass_response(b'{"error":{"message":"gone","code":502}}', CONTEXT, UPSTREAM)
    with pytest.raises(UpstreamMalformed, match="Bad gateway"):
        pass_response(b"<html><title>Bad gateway</title></html>", CONTEXT, UPSTREAM)


def test_a_whole_response_that_failed_passes() -> None:
    body = b'{"object":"response","status":"failed","error":{"code":"server_error","message":"m"},"output":[]}'

    assert pass_response(body, CONTEXT, UPSTREAM)[0] == body


def test_an_error_before_all_else_can_still_become_a_status() -> None:
    error = b'event: error\ndata: {"type":"error","code":"rate_limit_exceeded","message":"slow"}\n\n'

    with pytest.raises(UpstreamRefused, match="slow") as refusal:
        StreamPassthrough(CONTEXT, UPSTREAM).feed(error)
    with pytest.raises(UpstreamRefused):
        StreamPassthrough(CONTEXT, UPSTREAM).close()

    assert refusal.value.failure.http_status == 429


def test_events_without_a_name_get_that_of_their_type() -> None:
    data = b'{"type":"response.created","sequence_number":0,"response":{"id":"r","model":"gpt-5.4"}}'
    passing = StreamPassthrough(SAME_MODEL, UPSTREAM)

    then = data.replace(b"created", b"in_progress")

    out = b"".join(passing.feed(b"data: %b\n\n" % each) for each in (data, then))

    assert out == b"event: response.created\ndata: %b\n\nevent: response.in_progress\ndata: %b\n\n" % (data, then)


@pytest.mark.parametrize("size", [MAX_SINCE // 2, MAX_SINCE + (4 << 20)], ids=["long", "too long to keep"])
def test_a_long_item_is_kept_at_most_once_and_within_a_limit(size: int, read_wire: Callable[[str], bytes]) -> None:
    blocks = read_wire("openai_responses/streams/text.sse").split(b"\n\n")
    at = next(place for place, block in enumerate(blocks) if b"output_text.delta" in block)
    read = blocks[at].replace(b'"delta":"', b'"delta":"' + b"x" * 4096) + b"\n\n"
    passing = StreamPassthrough(SAME_MODEL, UPSTREAM)
    out = passing.feed(b"\n\n".join(blocks[: at + 1]) + b"\n\n")

    tracemalloc.start()
    for _ in range(size // len(read)):
        part = bytearray(read)
        assert passing.feed(bytes(part)) == read
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    out += passing.feed(b"\n\n".join(blocks[at + 1 :])) + passing.close()

    assert held <= min(size * 1.05, MAX_SINCE) + 100_000
    assert held < 100_000 if size > MAX_SINCE else held > size // 2
    assert out == b"\n\n".join(blocks)
    assert passing.finished


@pytest.mark.parametrize("limit", [MAX_SINCE, 100], ids=["kept", "too long to keep"])
def test_an_item_announced_twice_is_rewritten_unless_it_is_too_long_to_keep(
    limit: int, read_wire: Callable[[str], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passthrough, "MAX_SINCE", limit)
    events = events_of(read_wire("openai_responses/streams/text.sse"))
    twice = [*events[:6], events[2], *events[6:]]
    passing = StreamPassthrough(SAME_MODEL, UPSTREAM)

    out = b"".join(passing.feed(to_bytes([event])) for event in twice) + passing.close()

    expected = events if limit == MAX_SINCE else twice
    assert [event["type"] for event in events_of(out)] == [event["type"] for event in expected]
    assert passing.finished


def test_a_kept_event_that_nobody_can_read_is_an_error_once_the_rest_is_rewritten(
    read_wire: Callable[[str], bytes],
) -> None:
    events = events_of(read_wire("openai_responses/streams/text.sse"))
    said, odd = to_bytes(events[:5]), to_bytes([events[4]]).replace(b'"output_index":0', b'"output_index":"0":0')
    passing = StreamPassthrough(SAME_MODEL, UPSTREAM)

    out = passing.feed(said) + passing.feed(odd) + passing.feed(to_bytes([events[2]])) + passing.close()

    assert out.count(b"event: response.failed\n") == 1
    assert passing.failed is not None
    assert not passing.finished
