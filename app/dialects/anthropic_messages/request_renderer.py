"""Renders Anthropic Messages requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.conversation.capabilities import Capabilities
from app.conversation.losses import Loss, Severity
from app.conversation.request import NativeTool, Request, Tool
from app.dialects.anthropic_messages.content.blocks import BlockWriter, write_cache
from app.dialects.anthropic_messages.content.tools import write_tool_choice, write_tools
from app.dialects.anthropic_messages.reasoning import write_reasoning
from app.dialects.anthropic_messages.vocabulary import (
    ADVISOR_BETA,
    CLEAR_AT_BETA,
    COMPACT_EDIT_BETA,
    DEFAULT_MAX_TOKENS,
    FIELD_BETAS,
    MCP_TOOLSET_BETA,
    NAME,
    OBJECTS,
    TIERS_TO_ASK,
    TOLERANT_VERSION,
    TURN_EFFORT_BETA,
    UPDATES_BETA,
    VERSION,
)
from app.dialects.contract import RenderedRequest
from app.dialects.json_bodies import encode_body, put_back


def render_request(request: Request, capabilities: Capabilities) -> RenderedRequest:
    """The body for an upstream of this dialect, the headers that it requires, and the losses.

    Relies on the preceding adaptation: results follow their calls, reasoning settings suit the model, names are legal.
    """
    losses: list[Loss] = []
    betas: list[str] = list(request.betas) if request.dialect == NAME else []
    cached = capabilities.cache_hints == "cache_control"
    body: dict[str, Any] = {
        "model": capabilities.model or request.model,
        "max_tokens": _max_tokens(request, capabilities),
    }
    if request.instructions:
        writer = BlockWriter(losses, "system", cached=cached, own=request.dialect == NAME)
        body["system"] = writer.blocks(request.instructions)
    body["messages"] = _write_turns(request, capabilities, losses, betas)
    if request.tools and (tools := write_tools(request.tools, losses, cached=cached, own=request.dialect == NAME)):
        body["tools"] = tools
        if choice := write_tool_choice(request, losses):
            body["tool_choice"] = choice
    if _settings_of(request) != _NO_SETTINGS:
        body |= write_reasoning(request, capabilities, losses)
        body |= _write_settings(request, capabilities, losses)
    _restore_extensions(body, request, losses, first_party=capabilities.first_party)
    body |= capabilities.extra_body
    for name in capabilities.refused_fields:
        if name in body:
            del body[name]
            losses.append(Loss("ignorable", name, "the upstream refuses this field"))
    headers = {"anthropic-version": _version(body, capabilities)}
    if betas := list(dict.fromkeys([*betas, *_needed_betas(body, request.tools)])):
        headers["anthropic-beta"] = ",".join(betas)
    return RenderedRequest(encode_body(body), headers, tuple(losses))


def _max_tokens(request: Request, capabilities: Capabilities) -> int:
    if request.max_tokens is not None:
        return request.max_tokens
    limit = capabilities.max_output or DEFAULT_MAX_TOKENS
    return capabilities.default_output or (limit if request.stream else min(limit, DEFAULT_MAX_TOKENS))


def _write_turns(
    request: Request, capabilities: Capabilities, losses: list[Loss], betas: list[str]
) -> list[dict[str, Any]]:
    cached = capabilities.cache_hints == "cache_control"
    unsigned = capabilities.reasoning_required or capabilities.reasoning_replay != "none"
    messages = []
    for turn in request.turns:
        message: dict[str, Any] = {"role": turn.role}
        writer = BlockWriter(losses, turn.path, cached=cached, own=request.dialect == NAME, unsigned=unsigned)
        message["content"] = writer.content(turn.blocks)
        if turn.role == "system":
            if turn.effort is not None:
                message["output_config"] = {"effort": turn.effort}
                betas.append(TURN_EFFORT_BETA)
            if turn.clear_at is not None:
                message["clear_at"] = turn.clear_at
                betas.append(CLEAR_AT_BETA)
        if turn.name is not None:
            losses.append(Loss("ignorable", turn.path, "this dialect has no message names"))
        if message["content"] or "output_config" in message:
            messages.append(message)
    return messages


def _write_settings(request: Request, capabilities: Capabilities, losses: list[Loss]) -> dict[str, Any]:
    """The small fields; those that this dialect lacks become losses with fixed severities."""
    sampling, state = request.sampling, request.state
    lacking: tuple[tuple[Severity, str, object], ...] = (
        ("degrading", "frequency_penalty", sampling.frequency_penalty or None),
        ("degrading", "presence_penalty", sampling.presence_penalty or None),
        ("ignorable", "seed", sampling.seed),
        ("degrading", "logit_bias", sampling.logit_bias or None),
        ("degrading", "verbosity", request.verbosity),
        ("wrong", "logprobs", request.logprobs),
        ("wrong", "n", request.n if request.n > 1 else None),
        ("ignorable", "prompt_cache_key", request.cache_key),
        ("ignorable", "metadata", request.metadata),
        ("degrading", "store", state.store or None),
        ("wrong", "previous_response_id", state.previous_id),
        ("wrong", "conversation", state.conversation),
        ("wrong", "background", state.background or None),
    )
    losses.extend(
        Loss(loss, name, "Anthropic Messages has no such field") for loss, name, value in lacking if value is not None
    )
    tier = TIERS_TO_ASK.get(request.service_tier or "")
    written: dict[str, Any] = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": None if sampling.top_k == -1 else sampling.top_k,  # vLLM's word for none
        "stop_sequences": list(request.stop) or None,
        "metadata": {"user_id": request.user} if request.user else None,
        "service_tier": tier,
        "stream": request.stream or None,
    }
    if request.cache is not None and capabilities.cache_hints == "cache_control":
        written["cache_control"] = write_cache(request.cache)
    return {name: value for name, value in written.items() if value is not None}


def _restore_extensions(body: dict[str, Any], request: Request, losses: list[Loss], *, first_party: bool) -> None:
    """Restores this dialect's own fields to their places; those inside messages and tools went with their blocks."""
    own: list[tuple[str, Any]] = []
    for extension in request.extensions:
        if extension.dialect != NAME or "[" in extension.name:
            continue
        if extension.name == "thread" and not first_party:
            losses.append(Loss("wrong", "thread", "this upstream holds no conversations; send the whole history"))
        elif extension.name.startswith("thinking.") and "thinking" not in body:
            losses.append(Loss("ignorable", extension.name, "the request asks for no thinking there"))
        else:
            own.append((extension.name, extension.value))
    put_back(body, own, OBJECTS)


def _version(body: Mapping[str, Any], capabilities: Capabilities) -> str:
    """The newest version for the vendor's own service, unless sampling parameters are set, which it refuses."""
    sampled = "temperature" in body or "top_p" in body or "top_k" in body
    return VERSION if capabilities.first_party and not sampled else TOLERANT_VERSION


_FIELD_BETAS = [(*path.partition(".")[::2], beta) for path, beta in FIELD_BETAS.items()]
_BETA_FIELDS = frozenset(outer for outer, _, _ in _FIELD_BETAS)


def _needed_betas(body: Mapping[str, Any], tools: Sequence[Tool]) -> list[str]:
    """The betas without which the vendor would refuse fields of this body."""
    betas = []
    for outer, inner, beta in () if _BETA_FIELDS.isdisjoint(body) else _FIELD_BETAS:
        if outer in body and (not inner or inner in body[outer]):
            betas.append(beta)
    if "context_management" in body and "compact_" in str(body["context_management"]):
        betas.append(COMPACT_EDIT_BETA)
    if body.get("thinking", {}).get("display") == "updates":
        betas.append(UPDATES_BETA)
    for tool in tools:
        if isinstance(tool, NativeTool) and tool.dialect == NAME:
            if tool.type.startswith("advisor_"):
                betas.append(ADVISOR_BETA)
            elif tool.type == "mcp_toolset":
                betas.append(MCP_TOOLSET_BETA)
    return betas


def _settings_of(request: Request) -> tuple[object, ...]:
    """What a request may set besides its limit; most leave all of it alone."""
    return (
        request.reasoning,
        request.output_format,
        request.sampling,
        request.state,
        request.verbosity,
        request.logprobs,
        request.n,
        request.cache_key,
        request.metadata,
        request.service_tier,
        request.stop,
        request.user,
        request.stream,
        request.cache,
    )


_NO_SETTINGS = _settings_of(Request(dialect=NAME, model="", turns=()))
