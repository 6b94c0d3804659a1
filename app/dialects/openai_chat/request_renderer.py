"""Renders Chat Completions requests."""

from __future__ import annotations

from typing import Any

import msgspec

from app.conversation.capabilities import Capabilities
from app.conversation.losses import Loss
from app.conversation.request import OutputFormat, Request, Sampling
from app.dialects.contract import RenderedRequest
from app.dialects.json_bodies import encode_body
from app.dialects.openai_chat.messages.messages import MessageWriter
from app.dialects.openai_chat.messages.parts import write_cache
from app.dialects.openai_chat.messages.tools import control_only, write_tools
from app.dialects.openai_chat.vocabulary import NAME, SERVICE_TIERS

_UNSAMPLED = Sampling()  # its fields are called as on the wire


def render_request(request: Request, capabilities: Capabilities) -> RenderedRequest:
    """The body for an upstream, and its losses. The request has been adapted to `capabilities`."""
    writer = MessageWriter(request, capabilities)
    body: dict[str, Any] = {"model": request.model, "messages": writer.write()}
    losses = writer.losses
    if request.tools:
        body.update(write_tools(request, capabilities, losses))
    if request.max_tokens is not None:
        body[capabilities.max_tokens_field] = request.max_tokens
    if _rare_settings_of(request) != _NOTHING_RARE:
        body.update(_write_rare_settings(request, capabilities, losses))
    streamed = request.stream or capabilities.stream_only
    body["stream"] = streamed
    if request.extensions:
        _write_extensions(request, body)
    if streamed and capabilities.stream_usage:
        body["stream_options"] = {**body.get("stream_options", {}), "include_usage": True}
    elif not streamed or not capabilities.stream_usage:
        body.pop("stream_options", None)
    if capabilities.extra_body:
        body.update(capabilities.extra_body)
    for name in capabilities.refused_fields:
        if name in body:
            del body[name]
            losses.append(Loss("ignorable", name, "this upstream refuses the field"))
    return RenderedRequest(encode_body(body), {}, tuple(losses))


def _write_rare_settings(request: Request, capabilities: Capabilities, losses: list[Loss]) -> dict[str, Any]:
    fields: dict[str, Any] = {
        **(msgspec.structs.asdict(request.sampling) if request.sampling != _UNSAMPLED else {}),
        "stop": list(request.stop) or None,
        "reasoning_effort": request.reasoning.effort,
        "response_format": None if request.output_format is None else _write_format(request.output_format),
        "verbosity": request.verbosity,
        "n": request.n if request.n != 1 else None,
        "logprobs": True if request.logprobs is not None else None,
        "top_logprobs": request.logprobs or None,
        "prompt_cache_key": request.cache_key,
        "service_tier": SERVICE_TIERS.get(request.service_tier or "", request.service_tier),
        "metadata": request.metadata,
        "store": request.state.store,
    }
    fields |= write_cache(request.cache, control_only(capabilities))
    if request.user is not None:
        match capabilities.user_field:
            case "user" | "safety_identifier":
                fields[capabilities.user_field] = request.user
            case _:
                losses.append(Loss("ignorable", "user", "this upstream has no field for the end user"))
    if request.state.previous_id is not None or request.state.conversation is not None:
        losses.append(Loss("wrong", "previous_response_id", "this upstream does not store conversations"))
    return {name: value for name, value in fields.items() if value is not None}


def _write_format(wanted: OutputFormat) -> dict[str, Any]:
    if wanted.kind != "json_schema":
        return {"type": wanted.kind}
    schema = {
        "name": wanted.name or "output",
        "description": wanted.description,
        "schema": wanted.schema,
        "strict": wanted.strict,
    }
    return {"type": "json_schema", "json_schema": {key: value for key, value in schema.items() if value is not None}}


def _write_extensions(request: Request, body: dict[str, Any]) -> None:
    """Restores fields of this dialect to their places; those inside messages are restored by MessageWriter."""
    for extension in request.extensions:
        inside = extension.name.startswith(("messages[", "input["))
        if extension.dialect == NAME and not inside and extension.name != "functions":
            body.setdefault(extension.name, extension.value)


def _rare_settings_of(request: Request) -> tuple[object, ...]:
    """The settings that most requests leave alone."""
    return (
        request.reasoning,
        request.sampling,
        request.stop,
        request.output_format,
        request.verbosity,
        request.n,
        request.logprobs,
        request.cache_key,
        request.service_tier,
        request.metadata,
        request.state,
        request.cache,
        request.user,
    )


_NOTHING_RARE = _rare_settings_of(Request(dialect=NAME, model="", turns=()))
