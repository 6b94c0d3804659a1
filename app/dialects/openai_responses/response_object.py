"""Renders the response object around the items: status, usage and echoed request fields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from app.conversation.capabilities import RenderContext
from app.conversation.events import Finished
from app.conversation.repeated_tools import derive
from app.conversation.request import Request, Tool
from app.conversation.response import FinishReason, Usage
from app.dialects.finish_words import judge_word
from app.dialects.json_bodies import encode_body
from app.dialects.openai_responses.errors import response_error
from app.dialects.openai_responses.items.tools import render_tool_choice, render_tools
from app.dialects.openai_responses.request_renderer import render_text
from app.dialects.openai_responses.usage import render_usage
from app.dialects.openai_responses.vocabulary import (
    INCOMPLETE_REASONS,
    NAME,
    RESPONSE_EXTENSIONS,
    STATUSES,
    WireResponse,
)
from app.errors import Failure

# The keys that the schema of Open Responses requires in each echoed function tool.
_FUNCTION_KEYS = {"description": None, "parameters": None, "strict": None}

# The vendor's types require image counts beside those of searches.
_NO_DETAILS = {"image_tokens": 0, "text_tokens": 0}
_NO_IMAGES = {
    "input_tokens": 0,
    "input_tokens_details": _NO_DETAILS,
    "output_tokens": 0,
    "output_tokens_details": _NO_DETAILS,
    "total_tokens": 0,
}


def parse_finish(response: WireResponse, *, calls: bool) -> Finished:
    """How a response ended; `calls` is whether it calls tools."""
    reason: FinishReason = "tool_calls" if calls else "stop"
    raw = response.status
    if response.status == "incomplete":
        raw = (response.incomplete_details and response.incomplete_details.reason) or "incomplete"
        reason = INCOMPLETE_REASONS.get(raw) or ("content_filter" if judge_word(raw) == "content_filter" else "length")
    given = {name: getattr(response, field) for name, field in RESPONSE_EXTENSIONS.items()}
    extensions = {name: value for name, value in given.items() if value is not None}
    return Finished(reason, raw, extensions=extensions)


class ResponseObject:
    """The response object of one reply, rendered anew at each stage of its life.

    The echoed request fields are rendered once, because a long request would otherwise cost more than the answer.
    """

    def __init__(self, context: RenderContext) -> None:
        self.id = f"resp_{context.id}"
        self._context = context
        # Without the client's request (its bytes passed through) every field has its default.
        request = context.request if isinstance(context.request, Request) else Request(dialect=NAME, model="", turns=())
        self.service_tier = request.service_tier or "default"
        self._echo = msgspec.json.encode(_echo_request(request))[1:]

    def render(
        self,
        status: str,
        items: Sequence[bytes] = (),
        *,
        finished: Finished | None = None,
        usage: Usage | None = None,
        failure: Failure | None = None,
    ) -> bytes:
        """The object as JSON. `items` are whole output items as JSON; `finished` and `usage` are set at the end."""
        reason = STATUSES[finished.finish_reason][1] if finished and status == "incomplete" else None
        fields: dict[str, Any] = {
            "id": self.id,
            "object": "response",
            "created_at": self._context.created,
            "status": status,
            # There is no clock here; the dialect requires a number for a completed response.
            "completed_at": self._context.created if status == "completed" else None,
            "error": response_error(failure) if failure else None,
            "incomplete_details": {"reason": reason} if reason else None,
            "model": self._context.model,
            "output": [msgspec.Raw(item) for item in items],
            "usage": render_usage(usage) if usage else None,
            "service_tier": self.service_tier,
        }
        if finished:
            known = finished.extensions
            fields.update({field: known[name] for name, field in RESPONSE_EXTENSIONS.items() if name in known})
        if usage and usage.web_searches:
            fields["tool_usage"] = {"image_gen": _NO_IMAGES, "web_search": {"num_requests": usage.web_searches}}
        return msgspec.json.encode(fields)[:-1] + b"," + self._echo


def _echo_request(request: Request) -> dict[str, Any]:
    """The response fields that repeat the request; all of them, because strict clients require each one."""
    state, sampling, settings = request.state, request.sampling, request.reasoning
    extensions = {extension.name: extension.value for extension in request.extensions if extension.dialect == NAME}
    choice = request.tool_choice
    return {
        "background": state.background,
        "conversation": {"id": state.conversation} if state.conversation else None,
        "instructions": _instructions_of(request),
        "max_output_tokens": request.max_tokens,
        "max_tool_calls": extensions.get("max_tool_calls"),
        "metadata": request.metadata or {},
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "previous_response_id": state.previous_id,
        "prompt_cache_key": request.cache_key,
        "reasoning": {
            "effort": "none" if settings.mode == "off" else settings.effort,
            "summary": settings.visibility,
        },
        "safety_identifier": request.user,
        "store": state.store is not False,
        "temperature": 1.0 if sampling.temperature is None else sampling.temperature,
        "text": {"format": {"type": "text"}, **render_text(request)},
        "tool_choice": render_tool_choice(choice, request.tools) if choice else "auto",
        "tools": _echo_tools(request),
        "top_logprobs": request.logprobs or 0,
        "top_p": 1.0 if sampling.top_p is None else sampling.top_p,
        "presence_penalty": sampling.presence_penalty or 0,
        "frequency_penalty": sampling.frequency_penalty or 0,
        "truncation": extensions.get("truncation", "disabled"),
        "user": extensions.get("user"),
    }


def _instructions_of(request: Request) -> str | None:
    """The client's `instructions`; None if leading system messages were merged into them, which makes them
    inseparable."""
    if not request.turns or request.turns[0].path not in ("input", "input[0]"):
        return None
    return "\n\n".join(text.text for text in request.instructions) or None


def _echo_tools(request: Request) -> msgspec.Raw:
    tools, own = request.tools, request.dialect == NAME
    written: bytes = derive(tools, (_echo_tools, own), None, lambda: _write_echo(tools, own))
    return msgspec.Raw(written)


def _write_echo(tools: Sequence[Tool], own: bool) -> bytes:
    return encode_body([_echo_tool(tool) for tool in render_tools(tools, [], own=own)])


def _echo_tool(tool: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "name": "", **_FUNCTION_KEYS, **tool} if tool.get("type") == "function" else tool
