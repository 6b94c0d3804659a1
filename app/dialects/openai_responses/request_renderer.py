"""Renders Responses requests."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from app.conversation.blocks import Text
from app.conversation.capabilities import Capabilities
from app.conversation.losses import Loss
from app.conversation.request import NativeTool, ReasoningSettings, Request, Sampling, Tool
from app.dialects.contract import RenderedRequest
from app.dialects.json_bodies import encode_body, put_back
from app.dialects.openai_responses.items.content import render_parts
from app.dialects.openai_responses.items.input_renderer import render_turn
from app.dialects.openai_responses.items.tools import render_tool_choice, write_tools
from app.dialects.openai_responses.request_parser import ENCRYPTED_CONTENT, LOGPROBS
from app.dialects.openai_responses.vocabulary import COMPACTION_TRIGGER, NAME, REFUSED_FIELDS, SERVICE_TIERS, SUMMARIES

# The `include` value for the pages that a search found, which are shown to clients of other dialects as its result.
SOURCES = "web_search_call.action.sources"
# The minimum that the vendor's own service accepts.
MIN_OUTPUT_TOKENS = 16

_NO_HINTS = (None,) * 4
_UNSAMPLED = Sampling()


def render_request(request: Request, capabilities: Capabilities) -> RenderedRequest:
    """The body for an upstream of this dialect, and its losses."""
    losses: list[Loss] = []
    own = request.dialect == NAME
    items: list[Any] = []
    body: dict[str, Any] = {"model": capabilities.model or request.model}
    instructions, leading = _split_instructions(request, capabilities)
    if instructions is not None:
        body["instructions"] = instructions
    for leading_text in leading:
        parts = render_parts((leading_text,), capabilities, losses, "instructions")
        items.append({"type": "message", "role": capabilities.system_role, "content": parts})
    effort: str | None = request.reasoning.effort
    for turn in request.turns:
        if turn.effort is not None and own:
            items.append({"type": "configuration_update", "reasoning": {"effort": turn.effort}})
        effort = effort if turn.effort is None or own else turn.effort
        if turn.blocks:
            items.extend(render_turn(turn, len(items), request, capabilities, losses))
    if request.compact:
        items.append({"type": COMPACTION_TRIGGER})
    body["input"] = items
    tools = write_tools(request, losses) if request.tools else None
    if tools is not None:
        body["tools"] = tools
        if request.tool_choice is not None:
            body["tool_choice"] = render_tool_choice(request.tool_choice, request.tools)
    if request.parallel_tool_calls is not None and (tools is not None or own):
        body["parallel_tool_calls"] = request.parallel_tool_calls
    if reasoning := _render_reasoning(request.reasoning, effort, capabilities):
        body["reasoning"] = reasoning
    if text := render_text(request):
        body["text"] = text
    body.update(_render_limits(request, losses))
    body.update(_render_state(request, capabilities))
    if (request.user, request.cache_key, request.service_tier, request.metadata) != _NO_HINTS:
        body.update(_render_hints(request, capabilities))
    if include := _render_include(request, body.get("store"), capabilities):
        body["include"] = include
    if request.stream or capabilities.stream_only:
        body["stream"] = True
    _restore_extensions(body, request)
    body.update(capabilities.extra_body)
    for name in capabilities.refused_fields:
        if name in body:
            del body[name]
            losses.append(Loss(REFUSED_FIELDS.get(name, "ignorable"), name, "the upstream refuses this field"))
    return RenderedRequest(encode_body(body), losses=tuple(losses))


# Characters that are not allowed in the name of a format.
_NO_NAME = re.compile(r"[^a-zA-Z0-9_-]")


def render_text(request: Request) -> dict[str, Any]:
    """The `text` field: the output format and the verbosity, if the request sets them."""
    text: dict[str, Any] = {}
    wanted = request.output_format
    if wanted is not None and wanted.kind == "json_schema":
        name = _NO_NAME.sub("_", wanted.name or "output")[:64]
        text["format"] = {"type": "json_schema", "name": name, "schema": wanted.schema or {}}
        if wanted.description is not None:
            text["format"]["description"] = wanted.description
        if wanted.strict is not None:
            text["format"]["strict"] = wanted.strict
    elif wanted is not None:
        text["format"] = {"type": wanted.kind}
    if request.verbosity is not None:
        text["verbosity"] = request.verbosity
    return text


def _split_instructions(request: Request, capabilities: Capabilities) -> tuple[str | None, Sequence[Text]]:
    """The `instructions`, and the system texts that become separate items.

    Only items can carry cache breakpoints. A client of this dialect sent at most one text as instructions; texts of
    other dialects are one prompt in several pieces.
    """
    texts = request.instructions
    if not texts:
        return None, ()
    if capabilities.cache_hints == "breakpoint" and any(text.cache is not None for text in texts):
        return None, texts
    if request.dialect == NAME:
        return texts[0].text, texts[1:]
    return "\n\n".join(text.text for text in texts), ()


def _render_reasoning(settings: ReasoningSettings, effort: str | None, capabilities: Capabilities) -> dict[str, Any]:
    if settings.mode == "off":
        return {"effort": "none"} if capabilities.reasoning_off == "none" else {}
    reasoning = {"effort": effort} if effort is not None else {}
    if settings.visibility in SUMMARIES:
        reasoning["summary"] = SUMMARIES[settings.visibility]
    return reasoning


def _render_limits(request: Request, losses: list[Loss]) -> dict[str, Any]:
    """Sampling and limits. The adaptation has fitted them to the upstream; the dialect itself lacks some."""
    sampling, limit = request.sampling, request.max_tokens
    limits = {} if limit is None else {"max_output_tokens": max(limit, MIN_OUTPUT_TOKENS)}
    if sampling == _UNSAMPLED and not request.stop and request.n == 1:
        return limits
    body: dict[str, Any] = {"temperature": sampling.temperature, "top_p": sampling.top_p, **limits}
    penalties = {"frequency_penalty": sampling.frequency_penalty, "presence_penalty": sampling.presence_penalty}
    if request.dialect == NAME:  # Open Responses supports them, OpenAI does not
        body.update(penalties)
        penalties = {}
    absent = {"top_k": sampling.top_k, "logit_bias": sampling.logit_bias, "stop": request.stop or None, **penalties}
    losses.extend(
        Loss("degrading", name, "the dialect has no such setting")
        for name, value in absent.items()
        if value is not None
    )
    if sampling.seed is not None:
        losses.append(Loss("ignorable", "seed", "the dialect has no such setting"))
    if request.n > 1:
        losses.append(Loss("wrong", "n", "this dialect returns one answer per request"))
    return {name: value for name, value in body.items() if value is not None}


def _render_state(request: Request, capabilities: Capabilities) -> dict[str, Any]:
    """The fields about storage. Clients of other dialects send the whole history each time, so nothing is stored for
    them."""
    state = request.state
    if request.dialect != NAME:
        return {"store": bool(state.store) and capabilities.store}
    body: dict[str, Any] = {
        "store": state.store if capabilities.store else False,
        "previous_response_id": state.previous_id,
        "conversation": state.conversation,
        "background": state.background or None,
    }
    return {name: value for name, value in body.items() if value is not None}


def _render_hints(request: Request, capabilities: Capabilities) -> dict[str, Any]:
    user_field = "user" if capabilities.user_field == "user" and request.dialect != NAME else "safety_identifier"
    hints = {
        user_field: request.user,
        "prompt_cache_key": request.cache_key,
        "service_tier": SERVICE_TIERS.get(request.service_tier or "", request.service_tier),
        "metadata": request.metadata,
    }
    return {name: value for name, value in hints.items() if value is not None}


def _render_include(request: Request, store: bool | None, capabilities: Capabilities) -> list[str]:
    """The `include` values. An upstream that stores nothing must return its reasoning encrypted, to receive it with the
    next turn."""
    include = []
    wanted = store is False or request.dialect == NAME
    if wanted and capabilities.reasoning_style != "none" and NAME in capabilities.proofs:
        include.append(ENCRYPTED_CONTENT)
    if request.logprobs is not None:
        include.append(LOGPROBS)
    if request.dialect != NAME and any(tool.name == "web_search" for tool in request.tools if _is_hosted(tool)):
        include.append(SOURCES)
    return include


def _is_hosted(tool: Tool) -> bool:
    return isinstance(tool, NativeTool) and tool.server


def _restore_extensions(body: dict[str, Any], request: Request) -> None:
    """Restores fields of this dialect that came with the request to their places."""
    if request.logprobs:
        body["top_logprobs"] = request.logprobs
    own: list[tuple[str, Any]] = []
    for extension in request.extensions:
        if extension.dialect != NAME or "[" in extension.name:
            continue
        if extension.name == "include":
            body["include"] = [*body.get("include", ()), *extension.value]
        else:
            own.append((extension.name, extension.value))
    put_back(body, own, ("reasoning",))
