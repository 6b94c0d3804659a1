"""Streams of Responses and of Messages as servers really write them, read for clients of every dialect.

Each case names where it was reported: the repository and the number of the issue or the pull request.
"""

# ruff: noqa: E501 - one case a line
from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.field.asking import CLIENTS
from tests.field.pairs import ask
from tests.gateway.conftest import Client
from tests.support.fake_upstream import FakeUpstream, Reply, sse


@dataclass(frozen=True)
class Stream:
    id: str
    sent: Reply
    text: str = ""
    thought: str = ""
    calls: tuple[tuple[str, Any], ...] = ()
    finish: str = "stop"
    error: str = ""
    but: tuple[str, ...] = field(default=())  # clients for whom nothing is said here


def named(*events: dict[str, Any], name: bool = True) -> Reply:
    head = "event: {}\n" if name else ""
    numbered = [
        {**event, "sequence_number": number} if event["type"].startswith("response.") else event
        for number, event in enumerate(events)
    ]
    return sse(*(f"{head.format(event['type'])}data: {json.dumps(event)}\n\n".encode() for event in numbered))


# --- Responses ---


def response(status: str, *output: Any, **more: Any) -> dict[str, Any]:
    body = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "status": status, "output": list(output), "error": None}  # fmt: skip
    return {"type": f"response.{'created' if status == 'in_progress' else status}", "response": body | more}


def item(kind: str, place: int, told: dict[str, Any]) -> dict[str, Any]:
    return {"type": f"response.output_item.{kind}", "output_index": place, "item": told}


def said(kind: str, id: Any, place: int, **more: Any) -> dict[str, Any]:  # noqa: A002 - as on the wire
    return {"type": f"response.{kind}", "item_id": id, "output_index": place, **more}


CREATED = response("in_progress")
USAGE = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
TEXT = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
        "content": [{"type": "output_text", "text": "t", "annotations": []}]}  # fmt: skip
EMPTY = {**TEXT, "status": "in_progress", "content": []}
CALL = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "c1",
    "name": "f",
    "arguments": '{"x":1}',
    "status": "completed",
}
OPEN_CALL = {**CALL, "arguments": "", "status": "in_progress"}
SPOKEN = (item("added", 0, EMPTY), said("output_text.delta", "msg_1", 0, content_index=0, delta="t"),
          said("output_text.done", "msg_1", 0, content_index=0, text="t"), item("done", 0, TEXT))  # fmt: skip
CALLED = (item("added", 0, OPEN_CALL), said("function_call_arguments.delta", "fc_1", 0, delta='{"x":1}'),
          said("function_call_arguments.done", "fc_1", 0, arguments='{"x":1}'), item("done", 0, CALL))  # fmt: skip
THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "r"}]}
RAW_THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "rs"}]}
ONE = (("f", {"x": 1}),)

RESPONSES = [
    Stream("QuantumNous/new-api#4362 nothing in the last event", named(CREATED, *SPOKEN, response("completed", usage=USAGE)), "t"),
    Stream("BerriAI/litellm#32724 nothing in the last event, and a call", named(CREATED, *CALLED, response("completed", usage=USAGE)),
           calls=ONE, finish="tool_calls"),
    Stream("mnfst/llm-gateway#2064 words alone", named(CREATED, said("output_text.delta", "msg_1", 0, content_index=0, delta="t"),
           response("completed", usage=USAGE)), "t"),
    Stream("VaalaCat/ai-gateway#9 events without a name", named(CREATED, *SPOKEN, response("completed", TEXT, usage=USAGE), name=False), "t"),
    Stream("VaalaCat/ai-gateway#9 a call without names", named(CREATED, *CALLED, response("completed", CALL, usage=USAGE), name=False),
           calls=ONE, finish="tool_calls"),
    Stream("router-for-me/CLIProxyAPI#5028 a mark at the end", sse(*named(CREATED, *SPOKEN, response("completed", TEXT, usage=USAGE)).pieces, b"data: [DONE]\n\n"), "t"),
    Stream("vllm-project/vllm#35184 an index for each word of thinking", named(CREATED, item("added", 0, {**RAW_THOUGHT, "content": []}),
           said("reasoning_text.delta", "rs_1", 0, content_index=0, delta="r"), said("reasoning_text.delta", "rs_1", 0, content_index=1, delta="s"),
           said("reasoning_text.done", "rs_1", 0, content_index=2, text="rs"), item("done", 0, RAW_THOUGHT),
           item("added", 1, EMPTY), said("output_text.delta", "msg_1", 1, content_index=0, delta="t"), item("done", 1, TEXT),
           response("completed", RAW_THOUGHT, TEXT, usage=USAGE)), "t", "rs", but=("R",)),
    Stream("vllm-project/vllm#44608 no id at the end of a call", named(CREATED, *CALLED[:3], item("done", 0, {**CALL, "id": None}),
           response("completed", CALL, usage=USAGE)), calls=ONE, finish="tool_calls"),
    Stream("langchain-ai/langchain#37625 thinking told at its end alone", named(CREATED, item("added", 0, {**THOUGHT, "summary": []}), item("done", 0, THOUGHT),
           item("added", 1, EMPTY), said("output_text.delta", "msg_1", 1, content_index=0, delta="t"), item("done", 1, TEXT),
           response("completed", THOUGHT, TEXT, usage=USAGE)), "t", "r"),
    Stream("unslothai/unsloth#9107 thinking without parts", named(CREATED, item("added", 0, {**THOUGHT, "summary": []}),
           said("reasoning_summary_text.delta", "rs_1", 0, summary_index=0, delta="r"), item("done", 0, THOUGHT), item("added", 1, EMPTY),
           said("output_text.delta", "msg_1", 1, content_index=0, delta="t"), item("done", 1, TEXT), response("completed", THOUGHT, TEXT, usage=USAGE)), "t", "r"),
    Stream("ollama/ollama#17118 no end", named(CREATED, item("added", 0, {**THOUGHT, "summary": []}),
           said("reasoning_summary_text.delta", "rs_1", 0, summary_index=0, delta="r")), error="ended before"),
    Stream("a reply that the last event alone holds", named(CREATED, response("completed", TEXT, CALL, usage=USAGE)), "t", calls=ONE, finish="tool_calls"),
    Stream("openai/codex no index of items", named(CREATED, *({name: value for name, value in event.items() if name != "output_index"} for event in CALLED),
           response("completed", CALL, usage=USAGE)), calls=ONE, finish="tool_calls"),
    Stream("vllm-project/vllm#52418 thinking before the call's last piece", named(CREATED, item("added", 0, OPEN_CALL),
           said("function_call_arguments.delta", "fc_1", 0, delta='{"x"'), item("added", 1, {**THOUGHT, "summary": []}),
           said("reasoning_summary_text.delta", "rs_1", 1, summary_index=0, delta="r"), item("done", 1, THOUGHT),
           said("function_call_arguments.delta", "fc_1", 0, delta=":1}"), item("done", 0, CALL), response("completed", CALL, THOUGHT, usage=USAGE)),
           "", "r", ONE, "tool_calls"),
    Stream("vllm-project/vllm#47916 another id at the end", named(CREATED, *CALLED, response("completed", {**CALL, "call_id": "c9", "id": "fc_9"}, usage=USAGE)),
           calls=ONE, finish="tool_calls"),
    Stream("icoretech/codex-pooler#193 all of the arguments in each delta", named(CREATED, CALLED[0],
           *(said("function_call_arguments.delta", "fc_1", 0, delta='{"x":1}'[:end]) for end in (3, 5, 6, 7)), CALLED[3],
           response("completed", CALL, usage=USAGE)), calls=ONE, finish="tool_calls"),
    Stream("an object of nothing before the arguments", named(CREATED, CALLED[0], said("function_call_arguments.delta", "fc_1", 0, delta="{}"),
           *CALLED[1:], response("completed", CALL, usage=USAGE)), calls=ONE, finish="tool_calls"),
    Stream("QuantumNous/new-api#6278 the end of an item twice", named(CREATED, *CALLED, CALLED[3], response("completed", CALL, usage=USAGE)),
           calls=ONE, finish="tool_calls"),
    Stream("an item announced twice", named(CREATED, CALLED[0], *CALLED, response("completed", CALL, usage=USAGE)), calls=ONE, finish="tool_calls"),
    Stream("NousResearch/hermes-agent#94961 a call that ends under another id and place", named(CREATED, CALLED[0], item("done", 1, {**CALL, "id": "fc_9"}),
           response("completed", {**CALL, "id": "fc_9"}, usage=USAGE)), calls=ONE, finish="tool_calls"),
    Stream("rbb-dev/Open-WebUI-OpenRouter-pipe#54 another id in each place", named(CREATED, item("added", 0, {**OPEN_CALL, "id": "fc_tmp_1"}),
           said("function_call_arguments.delta", "fc_tmp_1", 0, delta='{"x":1}'), item("done", 0, {**CALL, "id": "fc_tmp_2"}),
           response("completed", {**CALL, "id": "fc_3"}, usage=USAGE)), calls=ONE, finish="tool_calls"),
    Stream("QuantumNous/new-api#6904 an end of old", named(CREATED, *SPOKEN, {"type": "response.done", "response": response("completed", TEXT, usage=USAGE)["response"]}), "t"),
    Stream("an error of old", named(CREATED, {"type": "response.error", "error": {"message": "boom"}}), error="boom"),
    Stream("arguments as an object", named(CREATED, item("added", 0, {**OPEN_CALL, "arguments": {}}), item("done", 0, {**CALL, "arguments": {"x": 1}}),
           response("completed", {**CALL, "arguments": {"x": 1}}, usage=USAGE)), calls=ONE, finish="tool_calls"),
    Stream("a content that is a text", named(CREATED, item("done", 0, {**TEXT, "content": "t"}), response("completed", {**TEXT, "content": "t"}, usage=USAGE)), "t"),
    Stream("decolua/9router#1648 a mark without an end", sse(*named(CREATED, *SPOKEN).pieces, b"data: [DONE]\n\n"), error="ended before"),
]  # fmt: skip


# --- Messages ---

START = {"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [],
         "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 3, "output_tokens": 1}}}  # fmt: skip


def block(place: int, told: dict[str, Any]) -> dict[str, Any]:
    return {"type": "content_block_start", "index": place, "content_block": told}


def added(place: int, kind: str, **more: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": place, "delta": {"type": kind, **more}}


def closed(place: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": place}


def end(reason: str | None = "end_turn", **more: Any) -> tuple[dict[str, Any], ...]:
    told = {
        "type": "message_delta",
        "delta": {"stop_reason": reason, "stop_sequence": None},
        "usage": {"output_tokens": 2},
    }
    return told | more, {"type": "message_stop"}


WORDS = (block(0, {"type": "text", "text": ""}), added(0, "text_delta", text="t"), closed(0))
TOOL = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
USED = (block(0, TOOL), added(0, "input_json_delta", partial_json='{"x":1}'), closed(0))
NO_USAGE = {name: value for name, value in end()[0].items() if name != "usage"}

MESSAGES = [
    Stream("earendil-works/pi#6567 no counts at the end", named(START, *WORDS, NO_USAGE, end()[1]), "t"),
    Stream("fumito-ito/AnthropicSwiftSDK#7 the counts within", named(START, *WORDS, {"type": "message_delta",
           "delta": {"stop_reason": "end_turn", "stop_sequence": None, "usage": {"output_tokens": 15}}}, end()[1]), "t"),
    Stream("karthink/gptel#1331 null counts", named(START, *WORDS, *end(usage={"input_tokens": None, "output_tokens": None})), "t"),
    Stream("no counts at the start", named({**START, "message": {**START["message"], "usage": None}}, *WORDS, *end()), "t"),
    Stream("hardly a start", named({"type": "message_start", "message": {"id": "msg_1", "role": "assistant"}}, *WORDS, *end()), "t"),
    Stream("sgl-project/sglang#24293 words within a call", named(START, block(0, TOOL), added(0, "input_json_delta", partial_json='{"x":1}'),
           added(0, "text_delta", text="t"), closed(0), *end("tool_use")), "t", calls=ONE, finish="tool_calls"),
    Stream("thinking within words", named(START, block(0, {"type": "text", "text": ""}), added(0, "thinking_delta", thinking="r"),
           added(0, "text_delta", text="t"), closed(0), *end()), "t", "r"),
    Stream("a whole call at its beginning", named(START, block(0, {**TOOL, "input": {"x": 1}}), closed(0), *end("tool_use")), calls=ONE, finish="tool_calls"),
    Stream("the text of a whole call at its beginning", named(START, block(0, {**TOOL, "input": '{"x":1}'}), closed(0), *end("tool_use")), calls=ONE, finish="tool_calls"),
    Stream("arguments as an object", named(START, block(0, TOOL), added(0, "input_json_delta", partial_json={"x": 1}), closed(0), *end("tool_use")),
           calls=ONE, finish="tool_calls"),
    Stream("an empty object before the arguments", named(START, block(0, TOOL), added(0, "input_json_delta", partial_json={}),
           added(0, "input_json_delta", partial_json='{"x":1}'), closed(0), *end("tool_use")), calls=ONE, finish="tool_calls"),
    Stream("no arguments as an object", named(START, block(0, TOOL), added(0, "input_json_delta", partial_json={}), closed(0), *end("tool_use")),
           calls=(("f", {}),), finish="tool_calls"),
    Stream("a call and its end of a turn", named(START, *USED, *end("end_turn")), calls=ONE, finish="tool_calls"),
    Stream("no end of the block", named(START, *WORDS[:2], *end()), "t"),
    Stream("esengine/DeepSeek-Reasonix#8756 no last event", named(START, *WORDS, end()[0]), "t"),
    Stream("an end without a reason", named(START, *WORDS, *end(None)), "t"),
    Stream("an empty reason", named(START, *WORDS, *end("")), "t"),
    Stream("events without a name", named(START, *WORDS, *end(), name=False), "t"),
    Stream("a mark at the end", sse(*named(START, *WORDS, *end()).pieces, b"data: [DONE]\n\n"), "t"),
    Stream("two blocks of one number", named(START, *WORDS, *USED, *end("tool_use")), "t", calls=ONE, finish="tool_calls"),
    Stream("null for a text", named(START, block(0, {"type": "text", "text": None}), added(0, "text_delta", text="t"), closed(0), *end()), "t"),
    Stream("a start twice", named(START, START, *WORDS, *end()), "t"),
    Stream("a block within a block", named(START, block(0, {"type": "text", "text": ""}), added(0, "text_delta", text="t"),
           block(1, TOOL), added(1, "input_json_delta", partial_json='{"x":1}'), closed(0), closed(1), *end("tool_use")), "t", calls=ONE, finish="tool_calls"),
    Stream("null input", named(START, block(0, {**TOOL, "input": None}), added(0, "input_json_delta", partial_json='{"x":1}'), closed(0), *end("tool_use")),
           calls=ONE, finish="tool_calls"),
    Stream("no end", named(START, *WORDS[:2]), error="ended before"),
    Stream("all of the arguments in each delta", named(START, block(0, TOOL), *(added(0, "input_json_delta", partial_json='{"x":1}'[:end]) for end in (3, 5, 7)),
           closed(0), *end("tool_use")), calls=ONE, finish="tool_calls", but=("A",)),
    Stream("the text of an object of nothing before the arguments", named(START, block(0, TOOL), added(0, "input_json_delta", partial_json="{}"),
           added(0, "input_json_delta", partial_json='{"x":1}'), closed(0), *end("tool_use")), calls=ONE, finish="tool_calls", but=("A",)),
    Stream("an object of nothing after a whole call", named(START, block(0, {**TOOL, "input": {"x": 1}}), added(0, "input_json_delta", partial_json="{}"),
           closed(0), *end("tool_use")), calls=ONE, finish="tool_calls", but=("A",)),
    Stream("no start", named(*WORDS, *end()), "t"),
    Stream("no beginning at all", named(added(0, "text_delta", text="t"), *end()), "t"),
    Stream("a delta without a type", named(START, block(0, {"type": "text", "text": ""}), {"type": "content_block_delta", "index": 0, "delta": {"text": "t"}}, closed(0), *end()), "t"),
    Stream("no index", named(START, *({name: value for name, value in event.items() if name != "index"} for event in WORDS), *end()), "t"),
    Stream("a reason before the last words", named(START, *WORDS[:2], end()[0], added(0, "text_delta", text="u"), closed(0), *end()), "tu"),
    Stream("an error without its type", sse(*named(START, *WORDS[:2]).pieces, b'event: error\ndata: {"error":{"message":"boom","type":"overloaded_error"}}\n\n'), error="boom"),
]  # fmt: skip


@pytest.mark.parametrize("model", ["responses/m", "messages/m"])
def test_a_stream_is_read_as_its_server_meant_it(every: Client, upstream: FakeUpstream, model: str) -> None:
    wrong = {}
    for case in RESPONSES if model == "responses/m" else MESSAGES:
        for dialect in (client for client in CLIENTS if client not in case.but):
            upstream.script(case.sent)
            try:
                told = ask(every, dialect, model, stream=True)
            except Exception as error:
                wrong[case.id, dialect] = repr(error)
                continue
            got = (told.text, told.thought, told.calls, told.finish)
            meant = (case.text, case.thought, list(case.calls), case.finish)
            if (
                case.error not in told.error
                or bool(case.error) != bool(told.error)
                or (not case.error and got != meant)
            ):
                wrong[case.id, dialect] = f"{told}"

    assert wrong == {}
