"""Asking in each client's dialect, and what came of it, in no dialect."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from werkzeug.test import TestResponse

from tests.field.asking import UPSTREAMS, A, C, R, body_of
from tests.gateway.conftest import Client, events_of
from tests.support.answers import unnamed
from tests.support.fake_upstream import FakeUpstream, Reply, json_reply, sse

CHAT_HEAD: dict[str, Any] = {"id": "x", "object": "chat.completion", "created": 1, "model": "m"}


@dataclass
class Heard:
    """What a client was told. `error` is the message of a failure, empty where there is none."""

    status: int
    text: str = ""
    thought: str = ""
    calls: list[tuple[str, Any]] = field(default_factory=list)
    finish: str = ""
    stop: str | None = None
    error: str = ""
    code: str | None = None


def ask(client: Client, dialect: str, model: str, *, stream: bool = False, **more: Any) -> Heard:
    """One turn with a tool `f`; `more` are fields of the body."""
    path, body = body_of(dialect)
    response = client.ask(path, body | {"model": model, "stream": stream} | more)
    if response.status_code != 200:
        error = response.json["error"] if response.json else {}
        return Heard(response.status_code, error=error.get("message", response.text), code=error.get("code"))
    if stream:
        return tell_stream(dialect, [event for event in events_of(response) if event != "[DONE]"])
    return tell_whole(dialect, response)


def tell_stream(dialect: str, events: list[Any]) -> Heard:
    return _READ_STREAM[dialect](events)


def tell_whole(dialect: str, response: TestResponse) -> Heard:
    return _READ[dialect](response)


def chat_reply(message: dict[str, Any], finish: str | None = "stop", **more: Any) -> dict[str, Any]:
    """A whole reply of Chat Completions; `more` are fields of its choice."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish, **more}
    return {**CHAT_HEAD, "choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}


def chat_events(*payloads: dict[str, Any] | str) -> Reply:
    """A stream of Chat Completions; texts are data as they are."""
    lines = (payload if isinstance(payload, str) else CHAT_HEAD | payload for payload in payloads)
    return sse(*unnamed(*lines))


def delta(said: dict[str, Any], finish: str | None = None, index: int = 0, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": said, "finish_reason": finish, **more}]}


def _read_message(response: TestResponse) -> Heard:
    body = response.json
    return _tell_blocks(body["content"], body["stop_reason"], body["stop_sequence"])


def _tell_blocks(blocks: list[Any], reason: str, sequence: str | None) -> Heard:
    return Heard(
        200,
        "".join(block["text"] for block in blocks if block["type"] == "text"),
        "".join(block["thinking"] for block in blocks if block["type"] == "thinking"),
        [(block["name"], block["input"]) for block in blocks if block["type"] == "tool_use"],
        {"tool_use": "tool_calls", "end_turn": "stop", "refusal": "content_filter"}.get(reason, reason),
        sequence,
    )


def _read_message_stream(events: list[Any]) -> Heard:
    blocks: list[Any] = []
    reason, sequence = "", None
    for event in events:
        match event:
            case {"type": "error", "error": error}:
                return Heard(200, error=error["message"])
            case {"type": "content_block_start", "content_block": block}:
                blocks.append({**block, "input": ""} if block["type"] == "tool_use" else block)
            case {"type": "content_block_delta", "delta": added}:
                for name, target in (("text", "text"), ("thinking", "thinking"), ("partial_json", "input")):
                    if name in added:
                        blocks[-1][target] += added[name]
            case {"type": "message_delta", "delta": end}:
                reason, sequence = end["stop_reason"], end["stop_sequence"]
    for block in blocks:
        if block["type"] == "tool_use":
            block["input"] = json.loads(block["input"] or "{}")
    return _tell_blocks(blocks, reason, sequence)


def _thought_in(said: dict[str, Any]) -> str:
    """What was thought, under the names that servers have for it and clients know."""
    details = "".join(entry.get("text") or "" for entry in said.get("reasoning_details") or [])
    return said.get("reasoning_content") or said.get("reasoning") or details


def _read_chat(response: TestResponse) -> Heard:
    assert len(response.json["choices"]) == 1
    choice = response.json["choices"][0]
    message = choice["message"]
    calls = [
        (call["function"]["name"], json.loads(call["function"]["arguments"]))
        for call in message.get("tool_calls") or []
    ]
    assert all(call["id"] and call["type"] == "function" for call in message.get("tool_calls") or [])
    refusal = message.get("refusal") or ""
    return Heard(200, (message["content"] or "") + refusal, _thought_in(message), calls, choice["finish_reason"])


def _read_chat_stream(events: list[Any]) -> Heard:
    told = Heard(200)
    calls: dict[int, dict[str, str]] = {}
    for event in events:
        if "error" in event:
            return Heard(200, error=event["error"]["message"], code=event["error"]["code"])
        for choice in event["choices"]:
            assert choice["index"] == 0
            said = choice["delta"]
            told.text += (said.get("content") or "") + (said.get("refusal") or "")
            told.thought += _thought_in(said)
            assert isinstance(said.get("tool_calls") or [], list)
            for call in said.get("tool_calls") or []:
                known = calls.setdefault(call["index"], {"name": "", "arguments": ""})
                for name in known:
                    known[name] += call["function"].get(name) or ""
            told.finish = choice["finish_reason"] or told.finish
    told.calls = [(call["name"], json.loads(call["arguments"] or "{}")) for call in calls.values()]
    return told


def _read_response(response: TestResponse) -> Heard:
    return _tell_response(response.json)


def _tell_response(body: dict[str, Any]) -> Heard:
    if body["status"] == "failed":
        return Heard(200, error=body["error"]["message"], code=body["error"]["code"])
    told = Heard(200, finish={"completed": "stop"}.get(body["status"], body["status"]))
    for item in body["output"]:
        match item["type"]:
            case "message":
                told.text += "".join(part.get("text") or part.get("refusal") or "" for part in item["content"])
            case "reasoning":
                told.thought += "".join(part["text"] for part in item["summary"])
            case "function_call":
                told.calls.append((item["name"], json.loads(item["arguments"])))
    if body["status"] == "incomplete":
        told.finish = {"max_output_tokens": "length"}.get(reason := body["incomplete_details"]["reason"], reason)
    elif told.calls:
        told.finish = "tool_calls"
    return told


def _read_response_stream(events: list[Any]) -> Heard:
    ends = [
        event for event in events if event["type"] in ("response.completed", "response.incomplete", "response.failed")
    ]
    assert len(ends) == 1, [event["type"] for event in events]
    return _tell_response(ends[0]["response"])


_READ = {A: _read_message, C: _read_chat, R: _read_response}
_READ_STREAM = {A: _read_message_stream, C: _read_chat_stream, R: _read_response_stream}


def whole_reply(dialect: str, text: str) -> dict[str, Any]:
    """A whole answer of an upstream that says nothing but `text`; gateways take it for a stream too."""
    match dialect:
        case "A":
            head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m"}
            end = {"stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1}}
            return {**head, "content": [{"type": "text", "text": text}], **end}
        case "C":
            return chat_reply({"content": text})
        case _:
            said = {"type": "output_text", "text": text, "annotations": []}
            message = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [said]}
            return {"id": "resp_1", "object": "response", "status": "completed", "model": "m", "output": [message]}


GOOD = json_reply(chat_reply({"content": "t"}))


def refuse_once(upstream: FakeUpstream, to: str, refusal: Any, status: int = 400) -> None:
    """An upstream that refuses the first request, and answers the second with "t"."""
    upstream.script(json_reply(refusal, status), json_reply(whole_reply(to, "t")))


def asked_of(client: Client, upstream: FakeUpstream, dialect: str, to: str, **more: Any) -> Any:
    """What an upstream is asked, which answers."""
    upstream.seen.clear()
    upstream.script(json_reply(whole_reply(to, "t")))
    told = ask(client, dialect, UPSTREAMS[to], **more)
    assert told.text == "t", told
    return upstream.seen[0].json()
