"""Streams as clients of the Responses dialect get them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from openai import APIError

from app.conversation.blocks import Block, Compaction, Proof, Reasoning, Refusal, Text, ToolCall
from app.conversation.envelope import seal, unseal
from app.conversation.events import (
    BlockClosed,
    BlockDelta,
    BlockNoted,
    BlockOpened,
    Event,
    Failed,
    Finished,
    Started,
    UsageSeen,
)
from app.conversation.response import FinishReason, Response, Usage
from app.conversation.streams.fold import fold, unfold
from app.dialects.anthropic_messages.content.server_steps import parse_step
from app.dialects.openai_responses import StreamParser, StreamRenderer, parse_request
from app.errors import Failure
from tests.dialects.openai_responses.wire import CONTEXT, ask, check_grammar, events_of, parse, payloads, render, vendor

STREAMS = sorted((Path(__file__).parents[2] / "wire" / "openai_responses" / "streams").glob("*.sse"))


THINKING = Proof("anthropic_messages", "thinking", (b'{"type":"thinking","thinking":"T","signature":"s"}',))


REDACTED = Proof("anthropic_messages", "redacted", (b'{"type":"redacted_thinking","data":"d"}',))


NATIVE = Proof(
    "openai_responses", "reasoning", (b'{"id":"rs_9","type":"reasoning","summary":[],"encrypted_content":"E"}',)
)


def answer(*blocks: Block, finish_reason: FinishReason = "stop") -> list[Event]:
    usage = Usage(fresh=3, output=2)
    return unfold(Response(id="u", model="m", blocks=blocks, finish_reason=finish_reason, usage=usage))


def items_of(stream: bytes) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = events_of(stream)[-1]["response"]["output"]
    return items


def kinds_of(stream: bytes) -> list[str]:
    return [event["type"] for event in events_of(stream)]


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
def test_every_stream_keeps_the_grammar_and_reaches_the_vendors_own_client(path: Path) -> None:
    events = parse(path.read_bytes())

    stream = render(events)

    check_grammar(stream)
    with vendor(stream).responses.stream(model="m", input="x") as heard:
        if isinstance(events[-1], Failed):
            with pytest.raises(APIError, match=r"\w"):
                heard.until_done()
            return
        heard.until_done()
        if kinds_of(stream)[-1] == "response.completed":
            final = heard.get_final_response()
            assert final.output_text == "".join(block.text for block in fold(events).blocks if isinstance(block, Text))


def test_pings_at_every_moment_are_survived_by_the_vendors_own_client(read_wire: Callable[[str], bytes]) -> None:
    parser, renderer = StreamParser(), StreamRenderer(CONTEXT)
    stream = renderer.ping()
    for data in payloads(read_wire("openai_responses/streams/reasoning-text-and-parallel-calls.sse")):
        stream += renderer.feed(parser.feed([data])) + renderer.ping()
    stream += renderer.close() + renderer.ping()

    with vendor(stream).responses.stream(model="m", input="x") as heard:
        kinds = [event.type for event in heard]
        final = heard.get_final_response()

    assert stream.startswith(b": ")
    assert kinds.count("ping") > 10  # type: ignore[comparison-overlap]
    assert final.output_text == "I look."
    check_grammar(stream)


def test_texts_that_follow_each_other_are_parts_of_one_message() -> None:
    stream = render(answer(Text("a"), Text("b"), Refusal("c"), Text("d", phase="final_answer")))

    check_grammar(stream)
    first, second = items_of(stream)
    assert [part["type"] for part in first["content"]] == ["output_text", "output_text", "refusal"]
    assert (second["phase"], second["content"][0]["text"]) == ("final_answer", "d")


def test_a_run_of_reasoning_is_one_item_with_all_its_proofs() -> None:
    stream = render(answer(Reasoning("T", THINKING), Reasoning("", REDACTED), Text("x")))

    check_grammar(stream)
    item = items_of(stream)[0]
    assert item["summary"] == [{"type": "summary_text", "text": "T"}]
    assert unseal(item["encrypted_content"]) == replace(THINKING, originals=THINKING.originals + REDACTED.originals)


def test_reasoning_without_text_is_an_item_too() -> None:
    stream = render(answer(Reasoning("", REDACTED), Text("x")))

    check_grammar(stream)
    assert items_of(stream)[0]["summary"] == []
    assert unseal(items_of(stream)[0]["encrypted_content"]) == REDACTED


def test_reasoning_that_nothing_proves_travels_in_an_envelope_of_its_own() -> None:
    stream = render(answer(Reasoning("why"), Text("x")))

    proof = unseal(items_of(stream)[0]["encrypted_content"])
    assert proof is not None
    assert (proof.kind, proof.originals) == ("plain", (b'"why"',))
    item = {**items_of(stream)[0], "summary": []}
    request = parse_request(json.dumps(ask({"role": "user", "content": "q"}, item)).encode(), {})
    assert request.turns[1].blocks == (Reasoning("why", proof),)


def test_a_native_item_goes_out_as_it_is() -> None:
    stream = render(answer(Reasoning("", NATIVE), Text("x")))

    check_grammar(stream)
    assert items_of(stream)[0] == json.loads(NATIVE.originals[0])
    assert NATIVE.originals[0] in stream


def test_a_native_item_whose_text_was_streamed_is_sealed_for_its_id_is_another() -> None:
    stream = render(answer(Reasoning("shown", NATIVE), Text("x")))

    check_grammar(stream)
    assert unseal(items_of(stream)[0]["encrypted_content"]) == NATIVE


def test_a_call_has_its_call_id_from_the_first_event_on() -> None:
    stream = render(answer(ToolCall("call_a", "get", '{"k":1}', namespace="kv"), finish_reason="tool_calls"))

    check_grammar(stream)
    added = next(event["item"] for event in events_of(stream) if event["type"] == "response.output_item.added")
    assert (added["call_id"], added["name"], added["namespace"], added["arguments"]) == ("call_a", "get", "kv", "")
    assert added["id"] != "call_a"
    assert items_of(stream)[0]["arguments"] == '{"k":1}'


def test_a_call_without_arguments_has_one_delta_all_the_same() -> None:
    stream = render(answer(ToolCall("a", "f", ""), finish_reason="tool_calls"))

    check_grammar(stream)
    deltas = [event["delta"] for event in events_of(stream) if event["type"].endswith("arguments.delta")]
    assert deltas == ["{}"]


def test_the_input_of_a_custom_tool_is_free_text() -> None:
    patch = '*** Begin Patch\n+é "x"\n*** End Patch'

    stream = render(answer(ToolCall("a", "apply_patch", patch, "custom"), finish_reason="tool_calls"))

    check_grammar(stream)
    assert (items_of(stream)[0]["type"], items_of(stream)[0]["input"]) == ("custom_tool_call", patch)
    assert "response.custom_tool_call_input.done" in kinds_of(stream)


@pytest.mark.parametrize(
    ("call", "item"),
    [
        (
            ToolCall("a", "tool_search", '{"query":"db"}', "tool_search"),
            {"type": "tool_search_call", "execution": "client", "arguments": {"query": "db"}},
        ),
        (
            ToolCall("a", "local_shell", '{"command":["ls"]}', "local_shell"),
            {"type": "local_shell_call", "action": {"type": "exec", "env": {}, "command": ["ls"]}},
        ),
        (
            ToolCall("a", "shell", '"{\\"commands\\":[\\"ls\\"]}"', "shell"),
            {"type": "shell_call", "action": {"commands": ["ls"]}},
        ),
        (ToolCall("a", "shell", "ls -l", "shell"), {"type": "shell_call", "action": {"_raw": "ls -l"}}),
        (ToolCall("a", "shell", "", "shell"), {"type": "shell_call", "action": {}}),
        (ToolCall("a", "shell", "[1]", "shell"), {"type": "shell_call", "action": {"value": [1]}}),
        (
            ToolCall("a", "apply_patch", '{"type":"delete_file","path":"x"}', "apply_patch"),
            {"type": "apply_patch_call", "operation": {"type": "delete_file", "path": "x"}},
        ),
    ],
)
def test_calls_of_native_tools_are_items_of_their_own(call: ToolCall, item: dict[str, Any]) -> None:
    stream = render(answer(call, finish_reason="tool_calls"))

    check_grammar(stream)
    written = items_of(stream)[0]
    assert {name: written[name] for name in item} == item
    assert written["call_id"] == "a"


def test_calls_that_interleave_are_items_one_after_the_other() -> None:
    events: list[Event] = [
        Started("u", "m"),
        BlockOpened(0, ToolCall("a", "f", "")),
        BlockOpened(1, ToolCall("b", "g", "")),
        BlockDelta(1, b'"{\\"y\\":"'),
        BlockDelta(0, b'"{\\"x\\":"'),
        BlockDelta(1, b'"2}"'),
        BlockDelta(0, b'"1}"'),
        BlockClosed(0),
        BlockClosed(1),
        Finished("tool_calls"),
    ]

    stream = render(events)

    check_grammar(stream)
    assert [(item["call_id"], item["arguments"]) for item in items_of(stream)] == [("a", '{"x":1}'), ("b", '{"y":2}')]


def test_what_a_limit_cut_is_incomplete_and_what_came_before_it_is_not() -> None:
    stream = render(answer(Text("x"), ToolCall("a", "f", '{"x'), finish_reason="length"))

    check_grammar(stream)
    assert kinds_of(stream)[-1] == "response.incomplete"
    assert [item["status"] for item in items_of(stream)] == ["completed", "incomplete"]


def test_a_citation_of_another_vendor_names_its_page() -> None:
    citation = {"type": "web_search_result_location", "url": "https://example.org", "title": "E", "cited_text": "x"}

    stream = render(answer(Text("found", citations=(citation,))))

    check_grammar(stream)
    annotation = {"type": "url_citation", "url": "https://example.org", "title": "E", "start_index": 0, "end_index": 5}
    assert items_of(stream)[0]["content"][0]["annotations"] == [annotation]
    assert "response.output_text.annotation.added" in kinds_of(stream)


def test_log_probabilities_stand_beside_their_text() -> None:
    entry = {"token": "Hi", "logprob": -0.1, "bytes": [72, 105], "top_logprobs": []}
    events = answer(Text("Hi"))
    events.insert(3, BlockNoted(0, logprobs=(entry,)))

    stream = render(events)

    check_grammar(stream)
    assert items_of(stream)[0]["content"][0]["logprobs"] == [entry]


def test_steps_of_another_vendors_server_are_shown_and_carried() -> None:
    use = b'{"type":"server_tool_use","id":"srvtoolu_1","name":"web_search","input":{"query":"dragomans"}}'
    result = b'{"type":"web_search_tool_result","tool_use_id":"srvtoolu_1","content":[]}'
    steps = (parse_step("server_tool_use", use), parse_step("web_search_tool_result", result))

    stream = render(answer(*steps, Text("found")))

    check_grammar(stream)
    search, carrier, _ = items_of(stream)
    assert search["action"] == {"type": "search", "query": "dragomans"}
    assert unseal(carrier["encrypted_content"]) == Proof("anthropic_messages", "server_tool", (use, result))


def test_a_compaction_of_another_vendor_is_sealed() -> None:
    proof = Proof("anthropic_messages", "compaction", (b'{"type":"compaction","content":"sum"}',))

    stream = render(answer(Compaction("sum", proof), finish_reason="compaction"))

    check_grammar(stream)
    assert (items_of(stream)[0]["type"], items_of(stream)[0]["encrypted_content"]) == ("compaction", seal(proof))


def test_the_terminal_event_waits_for_the_usage() -> None:
    renderer = StreamRenderer(CONTEXT)
    *begun, usage, finished = answer(Text("x"))

    before = renderer.feed([*begun, finished])
    after = renderer.feed([usage])

    assert b"response.output_item.done" in before
    assert b"response.completed" not in before
    assert events_of(after)[0]["response"]["usage"]["total_tokens"] == 5
    assert renderer.close() == b""


def test_the_end_of_input_ends_a_stream_whose_usage_never_came() -> None:
    renderer = StreamRenderer(CONTEXT)
    before = renderer.feed([event for event in answer(Text("x")) if not isinstance(event, UsageSeen)])

    after = renderer.close()

    assert events_of(after)[0]["response"]["usage"] is None
    check_grammar(before + after)


def test_a_failure_ends_the_stream_twice_over_and_nothing_follows() -> None:
    renderer = StreamRenderer(CONTEXT)
    failure = Failure(kind="rate_limit", message="slow down", retry_after="7")
    stream = renderer.feed([Started("u", "m"), BlockOpened(0, Text("")), BlockDelta(0, b'"x"'), Failed(failure)])

    rest = renderer.feed(answer(Text("x"))) + renderer.close() + renderer.ping()

    error, failed = events_of(stream)[-2:]
    assert (error["type"], error["code"], error["error"]["message"]) == ("error", "rate_limit_exceeded", "slow down")
    assert failed["response"]["error"] == {
        "code": "rate_limit_exceeded",
        "message": "slow down Please try again in 7s.",
    }
    assert rest == b""
    check_grammar(stream)


def test_a_failure_before_anything_else_is_a_whole_stream() -> None:
    stream = StreamRenderer(CONTEXT).feed([Failed(Failure(kind="context_overflow", message="too long"))])

    check_grammar(stream)
    assert events_of(stream)[-1]["response"]["error"]["code"] == "context_length_exceeded"


def test_a_stream_that_was_never_finished_is_no_normal_end() -> None:
    renderer = StreamRenderer(CONTEXT)
    stream = renderer.feed(answer(Text("x"))[:3]) + renderer.close()

    check_grammar(stream)
    assert kinds_of(stream)[-1] == "response.failed"


def test_every_event_is_written_whole() -> None:
    renderer = StreamRenderer(CONTEXT)

    parts = [
        renderer.feed([event]) for event in answer(Text("a"), ToolCall("c", "f", "{}"), finish_reason="tool_calls")
    ]

    assert all(part.startswith(b"event: ") and part.endswith(b"\n\n") for part in parts if part)
