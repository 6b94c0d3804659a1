"""Replies of Chat servers as reports tell of them, for clients of every dialect, as streams and whole.

Each case names where it was reported: the repository and the number of the issue or the pull request.
"""

# ruff: noqa: E501 - one case a line
from __future__ import annotations

import json
from typing import Any

import pytest

from tests.field.pairs import CHAT_HEAD, chat_events, chat_reply, delta
from tests.field.vectors import Vector, misread
from tests.gateway.conftest import Client
from tests.support.fake_upstream import FakeUpstream, Reply, json_reply, sse

ONE = (("f", {"x": 1}),)
COUNTS = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}}
DONE = "[DONE]"


def call(arguments: Any = '{"x":1}', **more: Any) -> dict[str, Any]:
    return {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": arguments}, **more}


def called(*fragments: Any, finish: str | None = None) -> dict[str, Any]:
    return delta({"tool_calls": list(fragments)}, finish)


AFTER_THE_FINISH = [
    Vector("words after a bare finish", chat_events(delta({"content": "t"}), delta({}, "stop"), delta({"content": "u"}), DONE), "tu"),
    Vector("words after a finish and counts", chat_events(delta({"content": "t"}), delta({}, "stop"), COUNTS, delta({"content": "u"}), delta({}, "stop"), DONE), "tu"),
    Vector("a call after a bare finish", chat_events(delta({"content": "t"}), delta({}, "stop"), called(call()), delta({}, "tool_calls"), DONE), "t", "", ONE, "tool_calls"),
    Vector("a call after a bare finish, and no other", chat_events(delta({"content": "t"}), delta({}, "stop"), called(call()), DONE), "t", "", ONE, "tool_calls"),
    Vector("the arguments of a call after a finish", chat_events(called(call("")), delta({}, "tool_calls"),
           called({"index": 0, "function": {"arguments": '{"x":1}'}}), DONE), calls=ONE, finish="tool_calls"),
    Vector("thinking after a finish", chat_events(delta({"content": "t"}), delta({}, "stop"), delta({"reasoning_content": "r"}), DONE), "t", "r"),
    Vector("a whole message after the deltas", chat_events(delta({"content": "t"}), delta({}, "stop"),
           {"choices": [{"index": 0, "message": {"role": "assistant", "content": "t"}, "finish_reason": "stop"}]}, DONE), "t"),
    Vector("a whole message instead of the last delta", chat_events(delta({"content": "t"}),
           {"choices": [{"index": 0, "message": {"role": "assistant", "content": "t"}, "finish_reason": "stop"}]}, DONE), "t"),
    Vector("an error after the finish", chat_events(delta({"content": "t"}), delta({}, "stop"), {"error": {"message": "late"}}), "t"),
    Vector("a page after the finish", sse(*chat_events(delta({"content": "t"}), delta({}, "stop")).pieces, b"<html>\n\n"), "t"),
    Vector("an empty finish in each chunk", chat_events(delta({"role": "assistant", "content": ""}, ""), delta({"content": "t"}, ""), delta({"content": "u"}, ""), delta({}, "stop"), DONE), "tu"),
    Vector("two ends", chat_events(delta({"content": "t"}), delta({}, "stop"), delta({}, "stop"), DONE), "t"),
]  # fmt: skip


def many(*payloads: Any, head: Any = CHAT_HEAD) -> Reply:
    """A stream whose chunks begin with `head`."""
    return sse(*(f"data: {json.dumps({**head, **payload})}\n\n".encode() for payload in payloads), b"data: [DONE]\n\n")


def framed(*payloads: Any, end: bytes = b"data: [DONE]\n\n", line: str = "data: {}\n\n") -> Reply:
    return sse(*(line.format(json.dumps({**CHAT_HEAD, **payload})).encode() for payload in payloads), end)


def without(*names: str, **more: Any) -> dict[str, Any]:
    return {name: value for name, value in {**CHAT_HEAD, **more}.items() if name not in names}


def whole(message: dict[str, Any], finish: Any = "stop", head: Any = None, **more: Any) -> Reply:
    body = chat_reply(message, finish, **more)
    return json_reply(body if head is None else {**head, "choices": body["choices"]})


T, END, CALLED = delta({"content": "t"}), delta({}, "stop"), delta({}, "tool_calls")
HEADS = [
    Vector(f"a head with {what}", sent, "t")
    for what, head in {
        "the time in milliseconds": {**CHAT_HEAD, "created": 1_760_000_000_000},
        "the time as a text": {**CHAT_HEAD, "created": "1760000000"},
        "the time as a fraction": {**CHAT_HEAD, "created": 1760000000.25},
        "the time as a date": {**CHAT_HEAD, "created": "2026-01-01T00:00:00Z"},
        "no time": without("created"),
        "null for the time": {**CHAT_HEAD, "created": None},
        "no model": without("model"),
        "an empty model": {**CHAT_HEAD, "model": ""},
        "null for the model": {**CHAT_HEAD, "model": None},
        "no id": without("id"),
        "an empty id": {**CHAT_HEAD, "id": ""},
        "a number for the id": {**CHAT_HEAD, "id": 7},
        "no object": without("object"),
        "an empty object": {**CHAT_HEAD, "object": ""},
        "a wrong object": {**CHAT_HEAD, "object": "chat.completions"},
        "a list for the fingerprint": {**CHAT_HEAD, "system_fingerprint": []},
        "an object for the tier": {**CHAT_HEAD, "service_tier": {"name": "x"}},
        "nothing": {},
    }.items()
    for sent in (many(T, END, head=head), whole({"content": "t"}, head=head))
]

PLACES = [
    Vector("MiniMax-AI/MiniMax-M2.5#2 an empty role", chat_events(delta({"role": "", "content": ""}), delta({"role": "", "content": "t"}), delta({"role": ""}, "stop"), DONE), "t"),
    Vector("songquanpeng/one-api#1299 null for the role", chat_events(delta({"role": None, "content": "t", "tool_calls": None, "function_call": None}), END, DONE), "t"),
    Vector("the role at the end", chat_events(T, delta({"role": "assistant"}, "stop"), DONE), "t"),
    Vector("another role", chat_events(delta({"role": "model", "content": "t"}), END, DONE), "t", but=("C",)),
    Vector("another role, whole", whole({"role": "model", "content": "t"}), "t"),
    Vector("the role in each chunk", chat_events(delta({"role": "assistant", "content": "t"}), delta({"role": "assistant", "content": "u"}), END, DONE), "tu"),
    Vector("vercel/ai#4031 neither index nor reason", chat_events({"choices": [{"delta": {"content": "t"}}]}, {"choices": [{"delta": {}, "finish_reason": "stop"}]}, DONE), "t"),
    Vector("jakobdylanc/llmcord#84 the reason under another name", chat_events(T, {"choices": [{"index": 0, "delta": {"content": "u"}, "finishReason": "stop", "finish_reason": None}]}, DONE), "tu"),
    Vector("jakobdylanc/llmcord#84 a limit under another name", chat_events(T, {"choices": [{"index": 0, "delta": {}, "finishReason": "length", "finish_reason": None}]}, DONE), "t", finish="length"),
    Vector("a text for the index", chat_events({"choices": [{"index": "0", "delta": {"content": "t"}, "finish_reason": None}]}, END, DONE), "t"),
    Vector("null for the index", chat_events({"choices": [{"index": None, "delta": {"content": "t"}, "finish_reason": None}]}, END, DONE), "t"),
    Vector("an index from one", chat_events({"choices": [{"index": 1, "delta": {"content": "t"}, "finish_reason": None}]}, {"choices": [{"index": 1, "delta": {}, "finish_reason": "stop"}]}, DONE), "t"),
    Vector("null for the delta", chat_events(T, {"choices": [{"index": 0, "delta": None, "finish_reason": "stop"}]}, DONE), "t"),
    Vector("no delta at the end", chat_events(T, {"choices": [{"index": 0, "finish_reason": "stop"}]}, DONE), "t"),
    Vector("null for the choices", chat_events({"choices": None}, T, END, DONE), "t"),
    Vector("MiniMax-AI/MiniMax-M2.5#2 counts of nothing in each chunk", chat_events({**T, "usage": {"total_tokens": 0, "total_characters": 0}}, END, {**COUNTS, "usage": {"total_tokens": 5, "total_characters": 0, "prompt_tokens": 3, "completion_tokens": 2}}, DONE), "t"),
    Vector("dairoot/Grok-Mirror#16 counts in each chunk", chat_events({**delta({"content": None, "reasoning_content": "r", "role": "assistant"}), "usage": COUNTS["usage"]}, {**T, "usage": COUNTS["usage"]}, {**END, "usage": COUNTS["usage"]}, DONE), "t", "r"),
    Vector("openai/openai-python#2544 counts of Vertex", chat_events(T, {**END, "usage": {"completion_tokens": 57, "prompt_tokens": 2181, "total_tokens": 2518, "completion_tokens_details": None, "prompt_tokens_details": None, "reasoning_tokens": 280, "traffic_type": "ON_DEMAND", "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 2181}]}}, DONE), "t"),
    Vector("counts as a list", chat_events(T, {**END, "usage": []}, DONE), "t"),
    Vector("counts as a text", chat_events(T, {**END, "usage": ""}, DONE), "t"),
    Vector("details as a list", chat_events(T, {**END, "usage": {"prompt_tokens": 3, "completion_tokens": 2, "prompt_tokens_details": []}}, DONE), "t"),
    Vector("counts in the first chunk alone", chat_events({**T, "usage": COUNTS["usage"]}, END, DONE), "t"),
    Vector("jeremychone/rust-genai#164 the last words beside the reason", chat_events(T, delta({"content": "u"}, "stop"), DONE), "tu"),
    Vector("linagora/openrag#462 all words beside the reason, and the reason again", chat_events(delta({"role": "assistant", "content": "t"}, "stop"), delta({"content": None}, "stop"), DONE), "t"),
    Vector("router-for-me/CLIProxyAPI#4860 no reason at all", chat_events(T, DONE), "t"),
    Vector("can1357/oh-my-pi#2991 null beside thinking", chat_events(delta({"content": None, "reasoning_content": "r"}), delta({"content": "t", "reasoning_content": None}), delta({"content": None, "reasoning_content": None}, "stop"), DONE), "t", "r"),
    Vector("Xiaoyangy/novel-studio#5 thinking under three names", chat_events(delta({"reasoning_content": "r", "reasoning": "r", "reasoning_details": [{"type": "reasoning.text", "text": "r"}]}), T, END, DONE), "t", "r"),
    Vector("false for thinking", chat_events(delta({"content": "t", "reasoning_content": False}), END, DONE), "t"),
    Vector("a refusal that is false", chat_events(delta({"content": "t", "refusal": False}), END, DONE), "t"),
    Vector("an audio of null", chat_events(delta({"content": "t", "audio": None}), END, DONE), "t"),
    Vector("annotations of nothing", chat_events(delta({"content": "t", "annotations": {}}), END, DONE), "t"),
    Vector("logprobs of another shape", chat_events(delta({"content": "t"}, logprobs={"tokens": ["t"], "token_logprobs": [-0.1]}), END, DONE), "t"),
    Vector("logprobs as a list", chat_events(delta({"content": "t"}, logprobs=[{"token": "t"}]), END, DONE), "t"),
    Vector("logprobs as a text, whole", whole({"content": "t"}, logprobs="none"), "t"),
    Vector("a whole refusal", whole({"content": None, "refusal": "no"}), "no", but=("A", "R")),
]  # fmt: skip

CALLS = [
    Vector("googleapis/python-genai#2868 a call and the reason of words", chat_events(called(call()), END, DONE), calls=ONE, finish="tool_calls"),
    Vector("su-kaka/gcli2api#407 the reason of words long after the call", chat_events(called(call()), delta({"content": ""}), END, DONE), calls=ONE, finish="tool_calls"),
    Vector("vercel/ai#7238 no index, whole", chat_events(called({"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}), CALLED, DONE), calls=ONE, finish="tool_calls"),
    Vector("CherryHQ/cherry-studio#10958 no index, and the reason at once", chat_events(called({"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}, finish="tool_calls"), DONE), calls=ONE, finish="tool_calls"),
    Vector("spring-projects/spring-ai#1276 the rest of a call beside it", chat_events(called({"id": "1", "function": {"name": "f"}}, {"id": "", "function": {"arguments": '{"x":1}'}}), CALLED, DONE), calls=ONE, finish="tool_calls"),
    Vector("ogx-ai/ogx#5462 null arguments first", chat_events(called(call(None)), called({"index": 0, "function": {"arguments": '{"x":1}'}}), CALLED, DONE), calls=ONE, finish="tool_calls"),
    Vector("BerriAI/litellm#39288 empty pieces", chat_events(called(call("")), called({"index": 0, "function": {"arguments": ""}}), called({"index": 0, "function": {"arguments": '{"x":1}'}}), called({"index": 0, "function": {"arguments": ""}}), CALLED, DONE), calls=ONE, finish="tool_calls"),
    Vector("OpenBMB/PilotDeck#294 blank ids", chat_events(called(call(id=" "), call('{"x":2}', id=" ", index=1)), CALLED, DONE), calls=(*ONE, ("f", {"x": 2})), finish="tool_calls"),
    Vector("OpenBMB/PilotDeck#294 blank ids, whole", whole({"tool_calls": [call(id=" "), call('{"x":2}', id=" ")]}, "tool_calls"), calls=(*ONE, ("f", {"x": 2})), finish="tool_calls"),
    Vector("HKUDS/nanobot#3943 one id for two calls", chat_events(called(call()), called(call('{"x":2}', index=1)), CALLED, DONE), calls=(*ONE, ("f", {"x": 2})), finish="tool_calls"),
    Vector("HKUDS/nanobot#3943 one id for two calls, whole", whole({"tool_calls": [call(), call('{"x":2}')]}, "tool_calls"), calls=(*ONE, ("f", {"x": 2})), finish="tool_calls"),
    Vector("brainlid/langchain#620 each call in a chunk, without index or id", chat_events(called({"function": {"name": "f", "arguments": '{"x":1}'}}), called({"function": {"name": "f", "arguments": '{"x":2}'}}), CALLED, DONE), calls=(*ONE, ("f", {"x": 2})), finish="tool_calls"),
    Vector("oracle/langchain-oracle#108 two ids under one index", chat_events(called(call()), called(call('{"x":2}', id="c2")), CALLED, DONE), calls=(*ONE, ("f", {"x": 2})), finish="tool_calls"),
    Vector("oracle/langchain-oracle#254 fragments without an id or an index", chat_events(called({"id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}), called({"function": {"arguments": '{"x"'}}), called({"function": {"arguments": ":1}"}}), CALLED, DONE), calls=ONE, finish="tool_calls"),
    Vector("maximhq/bifrost#1829 pieces in turns", chat_events(called(call("")), called(call("", id="c2", index=1)), called({"index": 0, "function": {"arguments": '{"x":'}}), called({"index": 1, "function": {"arguments": '{"x":'}}), called({"index": 0, "function": {"arguments": "1}"}}), called({"index": 1, "function": {"arguments": "2}"}}), CALLED, DONE), calls=(*ONE, ("f", {"x": 2})), finish="tool_calls"),
    Vector("vllm-project/vllm#22015 all of the arguments at each step", chat_events(*(called(call('{"x": 12, "y": "z"}'[:end])) for end in (4, 8, 14, 19)), CALLED, DONE), calls=(("f", {"x": 12, "y": "z"}),), finish="tool_calls"),
    Vector("jjang-ai/vmlx#219 marks of a call beside it", chat_events(delta({"tool_call_generating": True}), called(call()), CALLED, DONE), calls=ONE, finish="tool_calls"),
    Vector("a text for the index of a call", chat_events(called(call("", index="0")), called({"index": "0", "function": {"arguments": '{"x":1}'}}), CALLED, DONE), calls=ONE, finish="tool_calls"),
    Vector("no kind of call", chat_events(called({"index": 0, "id": "c1", "function": {"name": "f", "arguments": '{"x":1}'}}), CALLED, DONE), calls=ONE, finish="tool_calls"),
    Vector("an empty kind of call", chat_events(called(call(type="")), CALLED, DONE), calls=ONE, finish="tool_calls"),
    Vector("another kind of call", chat_events(called(call(type="tool_call")), CALLED, DONE), calls=ONE, finish="tool_calls"),
    Vector("the kind of a call, whole", whole({"tool_calls": [call(type="tool_call")]}, "tool_calls"), calls=ONE, finish="tool_calls"),
    Vector("null for the content of a call, whole", whole({"content": None, "tool_calls": [call()]}, "tool_calls"), calls=ONE, finish="tool_calls"),
    Vector("parameters for arguments", chat_events(called({"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "parameters": {"x": 1}}}), CALLED, DONE), calls=ONE, finish="tool_calls"),
    Vector("parameters for arguments, whole", whole({"tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "parameters": {"x": 1}}}]}, "tool_calls"), calls=ONE, finish="tool_calls"),
    Vector("two documents, the first empty", chat_events(called(call('{}{"x":1}')), CALLED, DONE), calls=ONE, finish="tool_calls"),
    Vector("two documents of one call", chat_events(called(call('{"x":1}{"x":1}')), CALLED, DONE), calls=ONE, finish="tool_calls"),
    Vector("two documents, whole", whole({"tool_calls": [call('{}{"x":1}')]}, "tool_calls"), calls=ONE, finish="tool_calls"),
    Vector("a text around the arguments", whole({"tool_calls": [call('"{\\"x\\":1}"')]}, "tool_calls"), calls=ONE, finish="tool_calls"),
    Vector("a fence around the arguments", whole({"tool_calls": [call('```json\n{"x":1}\n```')]}, "tool_calls"), calls=ONE, finish="tool_calls"),
    Vector("an empty list of calls in each chunk", chat_events(delta({"content": "t", "tool_calls": []}), delta({"content": "", "tool_calls": []}, "stop"), DONE), "t"),
    Vector("an empty object in the list of calls", chat_events(delta({"content": "t", "tool_calls": [{}]}), END, DONE), "t"),
]  # fmt: skip

FRAMES = [
    Vector("farion1231/cc-switch#6541 no blank line at the end", framed(T, end=b"data: " + json.dumps({**CHAT_HEAD, **END}).encode()), "t"),
    Vector("darshi1337/apogee#139 a mark without a blank line", framed(T, END, end=b"data: [DONE]"), "t"),
    Vector("ggml-org/llama.cpp#14268 blank lines before each event", framed(T, END, line="\n\ndata: {}\n\n"), "t"),
    Vector("no space after the colon", framed(T, END, end=b"data:[DONE]\n\n", line="data:{}\n\n"), "t"),
    Vector("two spaces after the colon", framed(T, END, line="data:  {}\n\n"), "t"),
    Vector("lower case for the mark", framed(T, END, end=b"data: [done]\n\n"), "t"),
    Vector("a mark in quotes", framed(T, END, end=b'data: "[DONE]"\n\n'), "t"),
    Vector("a mark of another kind", framed(T, END, end=b"data: DONE\n\n"), "t"),
    Vector("an event named done", framed(T, END, end=b"event: done\ndata: {}\n\n"), "t"),
    Vector("a mark and a space", framed(T, END, end=b"data: [DONE] \n\n"), "t"),
    Vector("names of events", framed(T, END, line="event: completion\ndata: {}\n\n"), "t"),
    Vector("ids of events", framed(T, END, line="id: 7\ndata: {}\n\n"), "t"),
    Vector("keep-alive comments", framed(T, END, line=": keep-alive\n\ndata: {}\n\n"), "t"),
    Vector("OpenRouter's comments within events", framed(T, END, line=": OPENROUTER PROCESSING\ndata: {}\n\n"), "t"),
    Vector("pings as objects", framed(T, {"choices": [], "object": "ping"}, END), "t"),
    Vector("a field of spaces", framed(T, END, line="data: {} \n\n"), "t"),
    Vector("an unknown field", framed(T, END, line="retry: 3\nfoo: bar\ndata: {}\n\n"), "t"),
]  # fmt: skip

ERRORS = [
    Vector("damianvtran/local-operator#223 an error beside a reason", chat_events(T, {"error": {"code": 502, "message": "boom"}, **delta({"content": ""}, "error")}, DONE), error="boom"),
    Vector("diegosouzapw/OmniRoute#8210 an error and no choices", chat_events({"choices": [], "error": {"code": 502, "message": "Worker local total request limit reached (33/32)"}}, DONE), error="request limit reached"),
    Vector("mastra-ai/mastra#20302 MALFORMED_FUNCTION_CALL", chat_events(T, delta({}, "MALFORMED_FUNCTION_CALL"), DONE), error="MALFORMED_FUNCTION_CALL"),
    Vector("gethouston/houston#1211 network_error", chat_events(T, delta({}, "network_error"), DONE), error="network_error"),
    Vector("OleksandrChekhovskyi/hax#15 a failure in the native reason alone", chat_events(delta({"content": ""}), delta({}, "stop", native_finish_reason="network_error"), DONE), error="network_error"),
    Vector("OleksandrChekhovskyi/hax#15 a failure in the native reason, whole", whole({"content": ""}, native_finish_reason="error"), error="error"),
    Vector("coddy-project/coddy-agent#106 a field for errors", sse(b'error: {"code":400,"message":"boom happened","type":"invalid_request_error"}\n\n', b"data: [DONE]\n\n"), error="boom happened"),
    Vector("ggml-org/llama.cpp#16109 a field for errors in the middle", framed(T, end=b'error: {"code":500,"message":"boom happened","type":"server_error"}\n\n'), error="boom happened"),
    Vector("an error as it is", framed(T, end=b'{"error":{"message":"boom"}}'), error="boom"),
    Vector("an error as it is, and a blank line", framed(T, end=b'{"error":{"message":"boom"}}\n\n'), error="boom"),
    Vector("an error of Messages", framed(T, end=b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"boom"}}\n\n'), error="boom"),
    Vector("an error of Responses", framed(T, end=b'event: response.failed\ndata: {"type":"response.failed","response":{"status":"failed","error":{"code":"server_error","message":"boom"}}}\n\n'), error="boom"),
    Vector("a page", framed(T, end=b"<html><head><title>504 Gateway Time-out</title></head></html>\n"), error="504 Gateway Time-out"),
    Vector("an event named error", framed(T, end=b'event: error\ndata: {"message":"boom"}\n\n'), error="boom"),
    Vector("an event named error with words", framed(T, end=b"event: error\ndata: boom happened\n\n"), error="boom happened"),
    Vector("cloudflare/cloudflare-docs#15116 no success", json_reply({"result": None, "success": False, "errors": [{"code": 7009, "message": "Upstream service unavailable"}], "messages": []}), error="Upstream service unavailable"),
    Vector("odysseus-dev/odysseus#736 an error alone", chat_events({"error": "Error rendering prompt with jinja template"}), error="jinja template"),
    Vector("a text in `detail`", chat_events('{"detail":"boom"}'), error="boom"),
    Vector("an object in `message`", chat_events('{"object":"error","message":"boom","type":"BadRequestError","code":400}'), error="boom"),
]  # fmt: skip

HEARTBEATS = [
    Vector(f"{what} {place}", sent, "t")
    for what in ("ping", "heartbeat", "keep-alive", ": OPENROUTER PROCESSING", '""', "null", "[]", "true", "0", "{}", '{"warning":"no usage"}')
    for beat in (f"data: {what}\n\n".encode(),)
    for place, sent in {
        "first": sse(beat, *chat_events(T, END, DONE).pieces),
        "between": sse(*chat_events(T).pieces, beat, *chat_events(END, DONE).pieces),
        "last": sse(*chat_events(T, END).pieces, beat, *chat_events(DONE).pieces),
    }.items()
]  # fmt: skip
JOINED = [
    Vector("a second prefix", framed(T, END, line="data: data: {}\n\n", end=b"data: data: [DONE]\n\n"), "t"),
    Vector("mpetazzoni/sse.js#36 no blank lines", framed(T, END, line="data: {}\n", end=b"data: [DONE]\n"), "t"),
    Vector("a mark in the last event", framed(T, end=b"data: " + json.dumps({**CHAT_HEAD, **END}).encode() + b"\ndata: [DONE]\n\n"), "t"),
    Vector("danny-avila/LibreChat#4820 two chunks in one line", sse(b"data: " + b"".join(json.dumps({**CHAT_HEAD, **one}).encode() for one in (T, delta({"content": "u"}), END)) + b"\n\n", b"data: [DONE]\n\n"), "tu"),
    Vector("chunks in lists", framed(T, END, line="data: [{}]\n\n"), "t"),
    Vector("chunks as texts of JSON", sse(*(b"data: " + json.dumps(json.dumps({**CHAT_HEAD, **one})).encode() + b"\n\n" for one in (T, END)), b"data: [DONE]\n\n"), "t"),
    Vector("a chunk and no chunk", sse(b"data: " + json.dumps({**CHAT_HEAD, **T}).encode() + b"boom\n\n", b"data: [DONE]\n\n"), error="boom"),
]  # fmt: skip
TOLD_AT_THE_END = [
    Vector("a call in the whole message alone", chat_events(T, {"choices": [{"index": 0, "message": {"role": "assistant", "content": "t", "tool_calls": [call()]}, "finish_reason": "tool_calls"}]}, DONE), "t", "", ONE, "tool_calls"),
    Vector("a call in the whole message beside an empty delta", chat_events(T, {"choices": [{"index": 0, "delta": {}, "message": {"role": "assistant", "content": "t", "tool_calls": [call()]}, "finish_reason": "tool_calls"}]}, DONE), "t", "", ONE, "tool_calls"),
    Vector("a call in both", chat_events(called(call()), {"choices": [{"index": 0, "delta": {}, "message": {"role": "assistant", "content": None, "tool_calls": [call()]}, "finish_reason": "tool_calls"}]}, DONE), "", "", ONE, "tool_calls"),
    Vector("the answer after streamed thoughts", chat_events(delta({"reasoning_content": "r"}), {"choices": [{"index": 0, "message": {"role": "assistant", "content": "t", "reasoning_content": "r"}, "finish_reason": "stop"}]}, DONE), "t", "r", but=("C",)),
]  # fmt: skip
ARGUMENTS = [
    Vector(f"{written!r} {how}", sent, calls=(("f", meant),), finish="tool_calls")
    for written, meant in {
        "[]": {}, '""': {}, "None": {}, "undefined": {}, '[{"x":1}]': {"x": 1}, '{"x":1}</tool_call>': {"x": 1}, '{"x":1}<|tool_call_end|>': {"x": 1},
    }.items()
    for how, sent in {"streamed": chat_events(called(call(written)), CALLED, DONE), "whole": whole({"tool_calls": [call(written)]}, "tool_calls")}.items()
]  # fmt: skip
ARGUMENTS += [
    Vector("an id and a name in each fragment", chat_events(called(call("")), called(call('{"x"', id="c2")), called(call(":1}", id="c3")), CALLED, DONE), calls=ONE, finish="tool_calls"),
    Vector("calls of one index, the first without arguments", chat_events(called(call("{}")), called(call('{"x":1}', id="c2")), CALLED, DONE), calls=(("f", {}), *ONE), finish="tool_calls"),
]  # fmt: skip
ANSWER = chat_reply({"content": "t"})
ENVELOPES = [
    Vector(f"a reply in {what}", json_reply(body), "t")
    for what, body in {
        "cline/cline#13348 data": {"data": ANSWER, "success": True},
        "Cloudflare's result": {"result": ANSWER, "success": True, "errors": [], "messages": []},
        "a body of text": {"statusCode": 200, "body": json.dumps(ANSWER)},
        "DashScope's output": {"output": {"choices": ANSWER["choices"]}, "usage": {"input_tokens": 1, "output_tokens": 1}, "request_id": "x"},
        "a list": [ANSWER],
        "a text": json.dumps(ANSWER),
    }.items()
]  # fmt: skip
ENVELOPES += [
    Vector(f"chunks in {name}", sse(*(f"data: {json.dumps({name: {**CHAT_HEAD, **one}})}\n\n".encode() for one in (T, END)), b"data: [DONE]\n\n"), "t")
    for name in ("data", "result", "response")
]  # fmt: skip
NUMBERS = [
    Vector(f"{number} in {place}", sent, "t")
    for number in ("NaN", "-Infinity")
    for place, odd in {"a field of its own": {"timings": {"x": 0.125}}, "logprobs": delta({"content": "t"}, logprobs={"content": [{"token": "t", "logprob": 0.125, "bytes": None, "top_logprobs": []}]})}.items()
    for sent in (
        sse(*(piece.replace(b"0.125", number.encode()) for piece in chat_events({**T, **odd}, END, DONE).pieces)),
        sse(json.dumps({**chat_reply({"content": "t"}), "timings": {"x": 0.125}}).replace("0.125", number).encode(), headers={"content-type": "application/json"}),
    )
]  # fmt: skip
EMPTY_VALUES = [
    Vector(f"{value!r} for the {field}", sent, "t", but=("C",) if value else ())
    for field, value in (("tool_calls", ""), ("tool_calls", False), ("tool_calls", 0), ("tool_calls", [None]), ("function_call", ""))
    for sent in (chat_events(delta({"content": "t", field: value}), END, DONE), whole({"content": "t", field: value}))
]  # fmt: skip
EMPTY_VALUES += [
    Vector("false for the reason", chat_events({"choices": [{"index": 0, "delta": {"content": "t"}, "finish_reason": False}]}, END, DONE), "t", but=("C",)),
    Vector("null for a choice", chat_events({"choices": [None]}, T, {"choices": [None]}, END, DONE), "t"),
]  # fmt: skip
REASONS = [
    Vector("BerriAI/litellm#27101 repetition", whole({"content": "t"}, "repetition"), "t", finish="length"),
    Vector("MoonshotAI/moonpalace#3 repeat", whole({"content": "t"}, "repeat"), "t", finish="length"),
    Vector("UNEXPECTED_TOOL_CALL", whole({"content": "t"}, "UNEXPECTED_TOOL_CALL"), error="UNEXPECTED_TOOL_CALL"),
    Vector("TOO_MANY_TOOL_CALLS", whole({"content": "t"}, "stop", native_finish_reason="TOO_MANY_TOOL_CALLS"), error="TOO_MANY_TOOL_CALLS"),
    Vector("MISSING_THOUGHT_SIGNATURE", whole({"content": "t"}, "MISSING_THOUGHT_SIGNATURE"), error="MISSING_THOUGHT_SIGNATURE"),
    Vector("a status in digits", framed(T, end=b'data: {"status":"449","msg":"boom","body":null}\n\n'), error="boom"),
]  # fmt: skip


FAMILIES = {
    "after the finish": AFTER_THE_FINISH, "heads": HEADS, "places": PLACES, "calls": CALLS, "frames": FRAMES, "errors": ERRORS,
    "heartbeats": HEARTBEATS, "joined": JOINED, "told at the end": TOLD_AT_THE_END, "arguments": ARGUMENTS, "envelopes": ENVELOPES,
    "reasons": REASONS, "numbers": NUMBERS, "empty values": EMPTY_VALUES,
}  # fmt: skip


@pytest.mark.parametrize("vectors", FAMILIES.values(), ids=FAMILIES)
def test_a_reply_is_read_as_its_server_meant_it(client: Client, upstream: FakeUpstream, vectors: list[Vector]) -> None:
    assert misread(client, upstream, "C", vectors) == {}
