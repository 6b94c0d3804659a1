"""Streams of Responses and of Messages as servers really write them, read for clients of every dialect.

Each case names where it was reported: the repository and the number of the issue or the pull request.
"""

# ruff: noqa: E501 - one case a line
from __future__ import annotations

from typing import Any

import pytest

from tests.field.vectors import Vector, misread
from tests.gateway.conftest import Client
from tests.support.answers import added, block, closed, named, unnamed
from tests.support.fake_upstream import FakeUpstream, Reply, sse


def streamed(*events: dict[str, Any], name: bool = True) -> Reply:
    numbered = [
        {**event, "sequence_number": number} if event["type"].startswith("response.") else event
        for number, event in enumerate(events)
    ]
    return sse(*(named if name else unnamed)(*numbered))


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
    Vector("QuantumNous/new-api#4362 nothing in the last event", streamed(CREATED, *SPOKEN, response("completed", usage=USAGE)), "t"),
    Vector("BerriAI/litellm#32724 nothing in the last event, and a call", streamed(CREATED, *CALLED, response("completed", usage=USAGE)),
           calls=ONE, finish="tool_calls"),
    Vector("mnfst/llm-gateway#2064 words alone", streamed(CREATED, said("output_text.delta", "msg_1", 0, content_index=0, delta="t"),
           response("completed", usage=USAGE)), "t"),
    Vector("VaalaCat/ai-gateway#9 events without a name", streamed(CREATED, *SPOKEN, response("completed", TEXT, usage=USAGE), name=False), "t"),
    Vector("VaalaCat/ai-gateway#9 a call without names", streamed(CREATED, *CALLED, response("completed", CALL, usage=USAGE), name=False),
           calls=ONE, finish="tool_calls"),
    Vector("router-for-me/CLIProxyAPI#5028 a mark at the end", sse(*streamed(CREATED, *SPOKEN, response("completed", TEXT, usage=USAGE)).pieces, b"data: [DONE]\n\n"), "t"),
    Vector("vllm-project/vllm#35184 an index for each word of thinking", streamed(CREATED, item("added", 0, {**RAW_THOUGHT, "content": []}),
           said("reasoning_text.delta", "rs_1", 0, content_index=0, delta="r"), said("reasoning_text.delta", "rs_1", 0, content_index=1, delta="s"),
           said("reasoning_text.done", "rs_1", 0, content_index=2, text="rs"), item("done", 0, RAW_THOUGHT),
           item("added", 1, EMPTY), said("output_text.delta", "msg_1", 1, content_index=0, delta="t"), item("done", 1, TEXT),
           response("completed", RAW_THOUGHT, TEXT, usage=USAGE)), "t", "rs", but=("R",)),
    Vector("vllm-project/vllm#44608 no id at the end of a call", streamed(CREATED, *CALLED[:3], item("done", 0, {**CALL, "id": None}),
           response("completed", CALL, usage=USAGE)), calls=ONE, finish="tool_calls"),
    Vector("langchain-ai/langchain#37625 thinking told at its end alone", streamed(CREATED, item("added", 0, {**THOUGHT, "summary": []}), item("done", 0, THOUGHT),
           item("added", 1, EMPTY), said("output_text.delta", "msg_1", 1, content_index=0, delta="t"), item("done", 1, TEXT),
           response("completed", THOUGHT, TEXT, usage=USAGE)), "t", "r"),
    Vector("unslothai/unsloth#9107 thinking without parts", streamed(CREATED, item("added", 0, {**THOUGHT, "summary": []}),
           said("reasoning_summary_text.delta", "rs_1", 0, summary_index=0, delta="r"), item("done", 0, THOUGHT), item("added", 1, EMPTY),
           said("output_text.delta", "msg_1", 1, content_index=0, delta="t"), item("done", 1, TEXT), response("completed", THOUGHT, TEXT, usage=USAGE)), "t", "r"),
    Vector("ollama/ollama#17118 no end", streamed(CREATED, item("added", 0, {**THOUGHT, "summary": []}),
           said("reasoning_summary_text.delta", "rs_1", 0, summary_index=0, delta="r")), error="ended before"),
    Vector("a reply that the last event alone holds", streamed(CREATED, response("completed", TEXT, CALL, usage=USAGE)), "t", calls=ONE, finish="tool_calls"),
    Vector("openai/codex no index of items", streamed(CREATED, *({name: value for name, value in event.items() if name != "output_index"} for event in CALLED),
           response("completed", CALL, usage=USAGE)), calls=ONE, finish="tool_calls"),
    Vector("vllm-project/vllm#52418 thinking before the call's last piece", streamed(CREATED, item("added", 0, OPEN_CALL),
           said("function_call_arguments.delta", "fc_1", 0, delta='{"x"'), item("added", 1, {**THOUGHT, "summary": []}),
           said("reasoning_summary_text.delta", "rs_1", 1, summary_index=0, delta="r"), item("done", 1, THOUGHT),
           said("function_call_arguments.delta", "fc_1", 0, delta=":1}"), item("done", 0, CALL), response("completed", CALL, THOUGHT, usage=USAGE)),
           "", "r", ONE, "tool_calls"),
    Vector("vllm-project/vllm#47916 another id at the end", streamed(CREATED, *CALLED, response("completed", {**CALL, "call_id": "c9", "id": "fc_9"}, usage=USAGE)),
           calls=ONE, finish="tool_calls"),
    Vector("icoretech/codex-pooler#193 all of the arguments in each delta", streamed(CREATED, CALLED[0],
           *(said("function_call_arguments.delta", "fc_1", 0, delta='{"x":1}'[:end]) for end in (3, 5, 6, 7)), CALLED[3],
           response("completed", CALL, usage=USAGE)), calls=ONE, finish="tool_calls"),
    Vector("an object of nothing before the arguments", streamed(CREATED, CALLED[0], said("function_call_arguments.delta", "fc_1", 0, delta="{}"),
           *CALLED[1:], response("completed", CALL, usage=USAGE)), calls=ONE, finish="tool_calls"),
    Vector("QuantumNous/new-api#6278 the end of an item twice", streamed(CREATED, *CALLED, CALLED[3], response("completed", CALL, usage=USAGE)),
           calls=ONE, finish="tool_calls"),
    Vector("an item announced twice", streamed(CREATED, CALLED[0], *CALLED, response("completed", CALL, usage=USAGE)), calls=ONE, finish="tool_calls"),
    Vector("NousResearch/hermes-agent#94961 a call that ends under another id and place", streamed(CREATED, CALLED[0], item("done", 1, {**CALL, "id": "fc_9"}),
           response("completed", {**CALL, "id": "fc_9"}, usage=USAGE)), calls=ONE, finish="tool_calls"),
    Vector("rbb-dev/Open-WebUI-OpenRouter-pipe#54 another id in each place", streamed(CREATED, item("added", 0, {**OPEN_CALL, "id": "fc_tmp_1"}),
           said("function_call_arguments.delta", "fc_tmp_1", 0, delta='{"x":1}'), item("done", 0, {**CALL, "id": "fc_tmp_2"}),
           response("completed", {**CALL, "id": "fc_3"}, usage=USAGE)), calls=ONE, finish="tool_calls"),
    Vector("QuantumNous/new-api#6904 an end of old", streamed(CREATED, *SPOKEN, {"type": "response.done", "response": response("completed", TEXT, usage=USAGE)["response"]}), "t"),
    Vector("an error of old", streamed(CREATED, {"type": "response.error", "error": {"message": "boom"}}), error="boom"),
    Vector("arguments as an object", streamed(CREATED, item("added", 0, {**OPEN_CALL, "arguments": {}}), item("done", 0, {**CALL, "arguments": {"x": 1}}),
           response("completed", {**CALL, "arguments": {"x": 1}}, usage=USAGE)), calls=ONE, finish="tool_calls"),
    Vector("a content that is a text", streamed(CREATED, item("done", 0, {**TEXT, "content": "t"}), response("completed", {**TEXT, "content": "t"}, usage=USAGE)), "t"),
    Vector("decolua/9router#1648 a mark without an end", sse(*streamed(CREATED, *SPOKEN).pieces, b"data: [DONE]\n\n"), error="ended before"),
]  # fmt: skip


# --- Messages ---

START = {"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [],
         "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 3, "output_tokens": 1}}}  # fmt: skip


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
    Vector("earendil-works/pi#6567 no counts at the end", streamed(START, *WORDS, NO_USAGE, end()[1]), "t"),
    Vector("fumito-ito/AnthropicSwiftSDK#7 the counts within", streamed(START, *WORDS, {"type": "message_delta",
           "delta": {"stop_reason": "end_turn", "stop_sequence": None, "usage": {"output_tokens": 15}}}, end()[1]), "t"),
    Vector("karthink/gptel#1331 null counts", streamed(START, *WORDS, *end(usage={"input_tokens": None, "output_tokens": None})), "t"),
    Vector("no counts at the start", streamed({**START, "message": {**START["message"], "usage": None}}, *WORDS, *end()), "t"),
    Vector("hardly a start", streamed({"type": "message_start", "message": {"id": "msg_1", "role": "assistant"}}, *WORDS, *end()), "t"),
    Vector("sgl-project/sglang#24293 words within a call", streamed(START, block(0, TOOL), added(0, "input_json_delta", partial_json='{"x":1}'),
           added(0, "text_delta", text="t"), closed(0), *end("tool_use")), "t", calls=ONE, finish="tool_calls"),
    Vector("thinking within words", streamed(START, block(0, {"type": "text", "text": ""}), added(0, "thinking_delta", thinking="r"),
           added(0, "text_delta", text="t"), closed(0), *end()), "t", "r"),
    Vector("a whole call at its beginning", streamed(START, block(0, {**TOOL, "input": {"x": 1}}), closed(0), *end("tool_use")), calls=ONE, finish="tool_calls"),
    Vector("the text of a whole call at its beginning", streamed(START, block(0, {**TOOL, "input": '{"x":1}'}), closed(0), *end("tool_use")), calls=ONE, finish="tool_calls"),
    Vector("arguments as an object", streamed(START, block(0, TOOL), added(0, "input_json_delta", partial_json={"x": 1}), closed(0), *end("tool_use")),
           calls=ONE, finish="tool_calls"),
    Vector("an empty object before the arguments", streamed(START, block(0, TOOL), added(0, "input_json_delta", partial_json={}),
           added(0, "input_json_delta", partial_json='{"x":1}'), closed(0), *end("tool_use")), calls=ONE, finish="tool_calls"),
    Vector("no arguments as an object", streamed(START, block(0, TOOL), added(0, "input_json_delta", partial_json={}), closed(0), *end("tool_use")),
           calls=(("f", {}),), finish="tool_calls"),
    Vector("a call and its end of a turn", streamed(START, *USED, *end("end_turn")), calls=ONE, finish="tool_calls"),
    Vector("no end of the block", streamed(START, *WORDS[:2], *end()), "t"),
    Vector("esengine/DeepSeek-Reasonix#8756 no last event", streamed(START, *WORDS, end()[0]), "t"),
    Vector("an end without a reason", streamed(START, *WORDS, *end(None)), "t"),
    Vector("an empty reason", streamed(START, *WORDS, *end("")), "t"),
    Vector("events without a name", streamed(START, *WORDS, *end(), name=False), "t"),
    Vector("a mark at the end", sse(*streamed(START, *WORDS, *end()).pieces, b"data: [DONE]\n\n"), "t"),
    Vector("two blocks of one number", streamed(START, *WORDS, *USED, *end("tool_use")), "t", calls=ONE, finish="tool_calls"),
    Vector("null for a text", streamed(START, block(0, {"type": "text", "text": None}), added(0, "text_delta", text="t"), closed(0), *end()), "t"),
    Vector("a start twice", streamed(START, START, *WORDS, *end()), "t"),
    Vector("a block within a block", streamed(START, block(0, {"type": "text", "text": ""}), added(0, "text_delta", text="t"),
           block(1, TOOL), added(1, "input_json_delta", partial_json='{"x":1}'), closed(0), closed(1), *end("tool_use")), "t", calls=ONE, finish="tool_calls"),
    Vector("null input", streamed(START, block(0, {**TOOL, "input": None}), added(0, "input_json_delta", partial_json='{"x":1}'), closed(0), *end("tool_use")),
           calls=ONE, finish="tool_calls"),
    Vector("no end", streamed(START, *WORDS[:2]), error="ended before"),
    Vector("all of the arguments in each delta", streamed(START, block(0, TOOL), *(added(0, "input_json_delta", partial_json='{"x":1}'[:end]) for end in (3, 5, 7)),
           closed(0), *end("tool_use")), calls=ONE, finish="tool_calls", but=("A",)),
    Vector("the text of an object of nothing before the arguments", streamed(START, block(0, TOOL), added(0, "input_json_delta", partial_json="{}"),
           added(0, "input_json_delta", partial_json='{"x":1}'), closed(0), *end("tool_use")), calls=ONE, finish="tool_calls", but=("A",)),
    Vector("an object of nothing after a whole call", streamed(START, block(0, {**TOOL, "input": {"x": 1}}), added(0, "input_json_delta", partial_json="{}"),
           closed(0), *end("tool_use")), calls=ONE, finish="tool_calls", but=("A",)),
    Vector("no start", streamed(*WORDS, *end()), "t"),
    Vector("no beginning at all", streamed(added(0, "text_delta", text="t"), *end()), "t"),
    Vector("a delta without a type", streamed(START, block(0, {"type": "text", "text": ""}), {"type": "content_block_delta", "index": 0, "delta": {"text": "t"}}, closed(0), *end()), "t"),
    Vector("no index", streamed(START, *({name: value for name, value in event.items() if name != "index"} for event in WORDS), *end()), "t"),
    Vector("a reason before the last words", streamed(START, *WORDS[:2], end()[0], added(0, "text_delta", text="u"), closed(0), *end()), "tu"),
    Vector("an error without its type", sse(*streamed(START, *WORDS[:2]).pieces, b'event: error\ndata: {"error":{"message":"boom","type":"overloaded_error"}}\n\n'), error="boom"),
]  # fmt: skip


ALL = [*(("R", case) for case in RESPONSES), *(("A", case) for case in MESSAGES)]


@pytest.mark.parametrize(("to", "case"), ALL, ids=lambda value: getattr(value, "id", value))
def test_a_stream_is_read_as_its_server_meant_it(every: Client, upstream: FakeUpstream, to: str, case: Vector) -> None:
    assert misread(every, upstream, to, [case]) == {}
