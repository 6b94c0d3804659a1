"""The stand-in for the Anthropic API: strict keys, a version, pings, thinking with a signature."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any, ClassVar

from flask import Response, jsonify, request

from tests.clients.standins.scripted_model import Offer, Say, Use, pieces
from tests.clients.standins.stand_in import KEY, Refusal, StandIn, event_stream, keys, refuse_unknown_keys, sse

REQUEST_KEYS = keys(
    "model max_tokens messages system stream stop_sequences tools tool_choice thinking output_config cache_control "
    "metadata service_tier speed inference_geo container diagnostics context_management"
)
SAMPLING_KEYS = keys("temperature top_p top_k")  # known to the older version only
BLOCK_KEYS = {
    "text": keys("type text citations cache_control"),
    "image": keys("type source cache_control"),
    "document": keys("type source title context citations cache_control"),
    "thinking": keys("type thinking signature"),
    "tool_use": keys("type id name input caller cache_control"),
    "tool_result": keys("type tool_use_id content is_error cache_control"),
}
ERROR_TYPES = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error"}
THOUGHT = "One command will tell."


class AnthropicStandIn(StandIn):
    """It holds threads as well: a request that continues one brings only what is new, without tools."""

    model: ClassVar[str] = "claude-sonnet-4-6"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._signatures: set[str] = set()
        self._threads: dict[str, dict[str, Any]] = {}
        self.app.add_url_rule("/v1/messages", view_func=self._create, methods=["POST"])
        self.app.add_url_rule("/v1/messages/count_tokens", view_func=self._count, methods=["POST"])
        self.app.add_url_rule("/v1/models", view_func=self._list)

    @property
    def settings(self) -> dict[str, str]:
        return {"kind": "anthropic", "base_url": self.url, "api_key": KEY}

    def is_proven(self, headers: dict[str, str]) -> bool:
        return headers.get("x-api-key") == KEY

    def error_body(self, status: int, message: str) -> dict[str, Any]:
        error = {"type": ERROR_TYPES[status], "message": message}
        return {"type": "error", "error": error, "request_id": "req_standin"}

    def _create(self) -> Response:
        body = request.get_json()
        thread = body.pop("thread", None)
        if thread and thread["type"] == "continue":
            earlier = self._threads[thread["previous_message_id"]]
            body = earlier | body | {"messages": earlier["messages"] + body["messages"]}
        self._check(body)
        offers = [Offer(tool["name"], tool["input_schema"]) for tool in body.get("tools", ()) if "input_schema" in tool]
        form = body.get("output_config", {}).get("format")
        act = self.script.answer(offers, _results(body["messages"]), form and form["schema"])
        message = self._message(body, act)
        if thread:
            said = {"role": "assistant", "content": message["content"]}
            self._threads[message["id"]] = body | {"messages": [*body["messages"], said]}
        return event_stream(_events(message)) if body.get("stream") else jsonify(message)

    def _count(self) -> Response:
        return jsonify({"input_tokens": len(request.get_data()) // 4})

    def _list(self) -> Response:
        entry = {"type": "model", "id": self.model, "display_name": "Stand-in", "created_at": "2026-01-01T00:00:00Z"}
        return jsonify({"data": [entry], "has_more": False, "first_id": self.model, "last_id": self.model})

    def _message(self, body: dict[str, Any], act: Say | Use) -> dict[str, Any]:
        content: list[dict[str, Any]] = []
        if body.get("thinking", {}).get("type") in ("enabled", "adaptive"):
            signature = hashlib.sha256(request.get_data()).hexdigest()
            self._signatures.add(signature)
            content.append({"type": "thinking", "thinking": THOUGHT, "signature": signature})
        if isinstance(act, Use):
            used = sum(block["type"] == "tool_use" for block in _blocks(body["messages"]))
            call_id = f"toolu_{used:024}"
            content.append({"type": "tool_use", "id": call_id, "name": act.offer.name, "input": json.loads(act.input)})
        else:
            content.append({"type": "text", "text": act.text})
        return {
            "id": f"msg_{len(self.asked):024}",
            "type": "message",
            "role": "assistant",
            "model": body["model"],
            "content": content,
            "stop_reason": "tool_use" if isinstance(act, Use) else "end_turn",
            "stop_sequence": None,
            "usage": {
                "input_tokens": 40,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 8,
                "output_tokens": 12,
            },
        }

    def _check(self, body: dict[str, Any]) -> None:
        version = request.headers.get("anthropic-version")
        if version not in ("2023-06-01", "2026-10-21"):
            raise Refusal("anthropic-version: header is required")
        refuse_unknown_keys(body, REQUEST_KEYS | SAMPLING_KEYS if version == "2023-06-01" else REQUEST_KEYS, "")
        if "context_management" in body and "context-management" not in request.headers.get("anthropic-beta", ""):
            raise Refusal("context_management: Extra inputs are not permitted")
        if not isinstance(body.get("max_tokens"), int):
            raise Refusal("max_tokens: Field required")
        _check_pairs(body["messages"])
        for block in _blocks(body["messages"]):
            if block["type"] not in BLOCK_KEYS:
                raise Refusal(f"messages: unknown block type {block['type']}")
            refuse_unknown_keys(block, BLOCK_KEYS[block["type"]], f"messages.{block['type']}.")
            if block["type"] == "text" and not block["text"]:
                raise Refusal("messages: text content blocks must be non-empty")
            if block["type"] == "thinking" and block["signature"] not in self._signatures:
                raise Refusal("messages: Invalid `signature` in `thinking` block")


def _blocks(messages: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for message in messages:
        content = message["content"]
        yield from [{"type": "text", "text": content}] if isinstance(content, str) else content


def _results(messages: list[dict[str, Any]]) -> list[str]:
    return [_text(block.get("content", "")) for block in _blocks(messages) if block["type"] == "tool_result"]


def _text(content: str | list[dict[str, Any]]) -> str:
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def _check_pairs(messages: list[dict[str, Any]]) -> None:
    """Each call is answered in the next message, before anything else there."""
    waiting: set[str] = set()
    for message in messages:
        blocks = list(_blocks([message]))
        answered = {block["tool_use_id"] for block in blocks if block["type"] == "tool_result"}
        if answered != waiting:
            raise Refusal(f"messages: tool_use ids {waiting ^ answered} without their counterpart")
        if [block["type"] for block in blocks[: len(answered)]] != ["tool_result"] * len(answered):
            raise Refusal("messages: tool_result blocks must come first")
        waiting = {block["id"] for block in blocks if block["type"] == "tool_use"}
    if waiting:
        raise Refusal(f"messages: tool_use ids {waiting} without tool_result")


def _events(message: dict[str, Any]) -> Iterator[str]:
    def event(kind: str, **data: Any) -> str:
        return sse({"type": kind, **data}, kind)

    usage = message["usage"]
    start = {**message, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    yield event("message_start", message=start)
    yield event("ping")
    for index, block in enumerate(message["content"]):
        head, deltas = _streamed(block)
        yield event("content_block_start", index=index, content_block=head)
        for delta in deltas:
            yield event("content_block_delta", index=index, delta=delta)
        yield event("content_block_stop", index=index)
    delta = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    yield event("message_delta", delta=delta, usage={"output_tokens": usage["output_tokens"]})
    yield event("message_stop")


def _streamed(block: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The head of a block and its deltas."""
    match block["type"]:
        case "thinking":
            said = [{"type": "thinking_delta", "thinking": piece} for piece in pieces(block["thinking"])]
            signed = {"type": "signature_delta", "signature": block["signature"]}
            return {"type": "thinking", "thinking": "", "signature": ""}, [*said, signed]
        case "tool_use":
            spelt = pieces(json.dumps(block["input"]))
            return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": piece} for piece in spelt]
        case _:
            return {"type": "text", "text": ""}, [{"type": "text_delta", "text": p} for p in pieces(block["text"])]
