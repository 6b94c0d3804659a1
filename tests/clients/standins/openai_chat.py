"""The stand-in for a server of Chat Completions: strict keys, every tool call answered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from flask import Response, jsonify, request

from tests.clients.standins.openai_api import OpenAiStandIn
from tests.clients.standins.scripted_model import Offer, Say, Use, pieces
from tests.clients.standins.stand_in import Refusal, event_stream, keys, refuse_unknown_keys, sse

REQUEST_KEYS = keys(
    "model messages stream stream_options max_completion_tokens max_tokens temperature top_p frequency_penalty "
    "presence_penalty n seed stop logprobs top_logprobs logit_bias tools tool_choice parallel_tool_calls "
    "response_format reasoning_effort verbosity store metadata user safety_identifier prompt_cache_key service_tier"
)
MESSAGE_KEYS = {
    "developer": keys("role content name"),
    "system": keys("role content name"),
    "user": keys("role content name"),
    "assistant": keys("role content refusal tool_calls name reasoning_content"),
    "tool": keys("role content tool_call_id"),
}


class ChatStandIn(OpenAiStandIn):
    model: ClassVar[str] = "local-model"
    request_keys: ClassVar[frozenset[str]] = REQUEST_KEYS
    reasoning_key: ClassVar[str] = "reasoning_content"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.app.add_url_rule("/v1/chat/completions", view_func=self.create, methods=["POST"])

    def create(self) -> Response:
        body = request.get_json()
        refuse_unknown_keys(body, self.request_keys, "")
        _check_messages(body["messages"])
        act = self.script.answer(_offers(body), _results(body["messages"]), _schema(body))
        if self.streams(body):
            return event_stream(self._chunks(body, act))
        return jsonify(_completion(body, act))

    def streams(self, body: dict[str, Any]) -> bool:
        """Whether an answer is a stream."""
        return body.get("stream") is True

    def _chunks(self, body: dict[str, Any], act: Say | Use) -> Iterator[str]:
        head = {"id": "chatcmpl-standin", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}

        def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> str:
            return sse({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]})

        yield ": a comment, as servers send to keep a connection alive\n\n"
        yield chunk({"role": "assistant", "content": ""})
        yield chunk({self.reasoning_key: "One command "})
        yield chunk({self.reasoning_key: "will tell."})
        if isinstance(act, Use):
            call = _tool_call(body, act)
            yield chunk({"tool_calls": [{"index": 0, **call, "function": {"name": act.offer.name, "arguments": ""}}]})
            for piece in pieces(act.input):
                yield chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
        else:
            for piece in pieces(act.text):
                yield chunk({"content": piece})
        yield chunk({}, _finish_reason(act))
        if (body.get("stream_options") or {}).get("include_usage"):
            yield sse({**head, "choices": [], "usage": _usage()})
        yield "data: [DONE]\n\n"


def _offers(body: dict[str, Any]) -> list[Offer]:
    functions = [tool["function"] for tool in body.get("tools") or ()]
    return [Offer(function["name"], function.get("parameters", {})) for function in functions]


def _results(messages: list[dict[str, Any]]) -> list[str]:
    return [_text(message["content"]) for message in messages if message["role"] == "tool"]


def _text(content: str | list[dict[str, Any]]) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def _schema(body: dict[str, Any]) -> dict[str, Any] | None:
    wanted = body.get("response_format") or {}
    return wanted["json_schema"]["schema"] if wanted.get("type") == "json_schema" else None


def _check_messages(messages: list[dict[str, Any]]) -> None:
    """Each call is answered before the next message that is no answer, and each answer has its call."""
    waiting: set[str] = set()
    for message in messages:
        role = message["role"]
        if role not in MESSAGE_KEYS:
            raise Refusal(f"messages: unknown role {role}")
        refuse_unknown_keys(message, MESSAGE_KEYS[role], f"messages.{role}.")
        if role == "tool":
            if message["tool_call_id"] not in waiting:
                raise Refusal(f"messages: tool result {message['tool_call_id']} answers no call")
            waiting.remove(message["tool_call_id"])
        elif waiting:
            raise Refusal(f"messages: tool calls {waiting} are not answered")
        if role == "assistant":
            waiting = {call["id"] for call in message.get("tool_calls") or ()}
    if waiting:
        raise Refusal(f"messages: tool calls {waiting} are not answered")


def _completion(body: dict[str, Any], act: Say | Use) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
    if isinstance(act, Use):
        message["tool_calls"] = [_tool_call(body, act)]
    else:
        message["content"] = act.text
    return {
        "id": "chatcmpl-standin",
        "object": "chat.completion",
        "created": 1,
        "model": body["model"],
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": _finish_reason(act)}],
        "usage": _usage(),
    }


def _tool_call(body: dict[str, Any], act: Use) -> dict[str, Any]:
    number = len(_results(body["messages"]))
    function = {"name": act.offer.name, "arguments": act.input}
    return {"id": f"call_{number:024}", "type": "function", "function": function}


def _finish_reason(act: Say | Use) -> str:
    return "tool_calls" if isinstance(act, Use) else "stop"


def _usage() -> dict[str, Any]:
    details = {"prompt_tokens_details": {"cached_tokens": 8}, "completion_tokens_details": {"reasoning_tokens": 4}}
    return {"prompt_tokens": 48, "completion_tokens": 12, "total_tokens": 60, **details}
