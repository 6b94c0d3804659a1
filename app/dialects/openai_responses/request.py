"""Turns request bodies into neutral requests, and neutral requests into bodies for an upstream."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec

from app.conversation.blocks import Text
from app.conversation.capabilities import Capabilities
from app.conversation.losses import Loss
from app.conversation.request import (
    EFFORT_NAMES,
    Extension,
    NativeTool,
    OutputFormat,
    ReasoningSettings,
    Request,
    Sampling,
    State,
    Tool,
)
from app.dialects.contract import RenderedRequest
from app.dialects.json_bodies import Fields, encode_body, read_body, read_value, repair_surrogates
from app.dialects.openai_responses.content import render_parts
from app.dialects.openai_responses.tools import (
    namespace_of,
    parse_tool_choice,
    parse_tools,
    render_tool_choice,
    render_tools,
)
from app.dialects.openai_responses.turns import COMPACTION_TRIGGER, Input, render_turn
from app.dialects.openai_responses.vocabulary import (
    EXTENSIONS,
    NAME,
    NULL,
    REFUSED_FIELDS,
    SERVICE_TIERS,
    SUMMARIES,
    UNKNOWN_FIELD,
    ConversationId,
    Format,
    ReasoningField,
    Settings,
)
from app.dialects.tool_schemas import mend_schemas
from app.errors import InvalidRequest

ENCRYPTED_CONTENT = "reasoning.encrypted_content"
LOGPROBS = "message.output_text.logprobs"
# The pages that a search found, which clients of other dialects are shown as its result.
SOURCES = "web_search_call.action.sources"
# The least that the vendor's own service accepts.
MIN_OUTPUT_TOKENS = 16

_settings_decoder = msgspec.json.Decoder(Settings)
_any_decoder = msgspec.json.Decoder(Any)
_LONG_FIELDS = ("input", "tools")


def parse_request(body: bytes, headers: Mapping[str, str]) -> Request:
    """The neutral request of a body. Raises InvalidRequest with the field's path."""
    if b"\\ud" in body or b"\\uD" in body:
        body = repair_surrogates(body)
    fields = read_body(body)
    settings = _parse_settings(fields)
    given = Input(fields.get("input", NULL))
    declared = fields.get("tools", NULL)
    tools = _join_tools([*mend_schemas(parse_tools(declared, "tools"), declared)], given.tools)
    instructions = ([Text(settings.instructions)] if settings.instructions else []) + given.instructions
    state = _parse_state(settings)
    turns = given.turns
    if not turns and not instructions and not state.previous_id and not state.conversation and "prompt" not in fields:
        raise InvalidRequest("input is required: a text, or a list with at least one item", param="input")
    text_format = given.format or (settings.text.format if settings.text else None)
    return Request(
        dialect=NAME,
        model=cast(str, settings.model),
        turns=turns,
        instructions=tuple(instructions),
        tools=tuple(tools),
        tool_choice=parse_tool_choice(settings.tool_choice),
        parallel_tool_calls=settings.parallel_tool_calls,
        reasoning=_parse_reasoning(settings.reasoning),
        sampling=Sampling(
            temperature=settings.temperature,
            top_p=settings.top_p,
            frequency_penalty=settings.frequency_penalty,
            presence_penalty=settings.presence_penalty,
        ),
        max_tokens=settings.max_output_tokens,
        output_format=_parse_format(text_format),
        verbosity=settings.text.verbosity if settings.text else None,
        logprobs=_parse_logprobs(settings),
        user=settings.safety_identifier,
        cache_key=settings.prompt_cache_key,
        service_tier=settings.service_tier,
        metadata=settings.metadata,
        state=state,
        compact=given.compact,
        stream=bool(settings.stream),
        extensions=(*_parse_extensions(fields, settings), *given.extensions),
    )


def render_request(request: Request, capabilities: Capabilities) -> RenderedRequest:
    """The body for an upstream of this dialect, and what it cannot say."""
    losses: list[Loss] = []
    own = request.dialect == NAME
    items: list[Any] = []
    body: dict[str, Any] = {"model": capabilities.model or request.model}
    instructions, leading = _split_instructions(request, capabilities)
    if instructions is not None:
        body["instructions"] = instructions
    for said in leading:
        parts = render_parts((said,), capabilities, losses, "instructions")
        items.append({"type": "message", "role": "developer", "content": parts})
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
    if tools := render_tools(request, losses):
        body["tools"] = tools
        if request.tool_choice is not None:
            body["tool_choice"] = render_tool_choice(request.tool_choice, request.tools)
    if request.parallel_tool_calls is not None and (tools or own):
        body["parallel_tool_calls"] = request.parallel_tool_calls
    if reasoning := _render_reasoning(request.reasoning, effort, capabilities):
        body["reasoning"] = reasoning
    if text := render_text(request):
        body["text"] = text
    body.update(_render_limits(request, losses))
    body.update(_render_state(request, capabilities))
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


# Characters that the name of a format cannot have.
_NO_NAME = re.compile(r"[^a-zA-Z0-9_-]")


def render_text(request: Request) -> dict[str, Any]:
    """The `text` field: the output format and the verbosity, as far as the request names them."""
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


def _parse_settings(fields: Fields) -> Settings:
    """All fields but the long ones, decoded at once: together they are small."""
    small = {name: value for name, value in fields.items() if name not in _LONG_FIELDS}
    try:
        settings = read_value(msgspec.Raw(msgspec.json.encode(small)), _settings_decoder, "")
    except InvalidRequest as error:
        where = (error.failure.param or "").lstrip(".")
        raise InvalidRequest(str(error).lstrip("."), param=where) from error
    if not settings.model:
        raise InvalidRequest("model is required: the name of a model", param="model")
    return settings


def _join_tools(tools: list[Tool], found: list[Tool]) -> list[Tool]:
    """The tools with those that came in items. Codex sends the results of its searches again with each turn."""
    known = {(namespace_of(tool), tool.name) for tool in tools}
    for tool in found:
        if (name := (namespace_of(tool), tool.name)) not in known:
            known.add(name)
            tools.append(tool)
    return tools


def _parse_state(settings: Settings) -> State:
    conversation = settings.conversation
    return State(
        store=settings.store,
        previous_id=settings.previous_response_id,
        conversation=conversation.id if isinstance(conversation, ConversationId) else conversation,
        background=bool(settings.background),
    )


def _parse_reasoning(field: ReasoningField | None) -> ReasoningSettings:
    if field is None:
        return ReasoningSettings()
    visibility = field.summary or field.generate_summary
    name = (field.effort or "auto").lower()
    effort = EFFORT_NAMES.get(name)
    if effort == "none":
        return ReasoningSettings(mode="off", visibility=visibility)
    asked = effort is not None or name not in EFFORT_NAMES
    return ReasoningSettings(mode="on" if asked else None, effort=effort, visibility=visibility)


def _parse_format(wire: Format | None) -> OutputFormat | None:
    if wire is None or wire.type == "text":
        return None
    if wire.type == "json_object":
        return OutputFormat("json_object")
    if wire.type != "json_schema":
        where = "text.format.type"
        raise InvalidRequest(f"{where}: must be one of text, json_object, json_schema", param=where)
    return OutputFormat("json_schema", wire.json_schema, wire.name, wire.description, wire.strict)


def _parse_logprobs(settings: Settings) -> int | None:
    if LOGPROBS in (settings.include or ()):
        return settings.top_logprobs or 0
    return settings.top_logprobs or None


def _parse_extensions(fields: Fields, settings: Settings) -> list[Extension]:
    """What has no place in the neutral model, with what its loss would mean."""
    values: dict[str, Any] = {
        name: read_value(raw, _any_decoder, name)
        for name, raw in fields.items()
        if name not in Settings.__struct_fields__ and name not in _LONG_FIELDS
    }
    include = [name for name in settings.include or () if name not in (ENCRYPTED_CONTENT, LOGPROBS)]
    if include:
        values["include"] = include
    if settings.reasoning is not None:
        values["reasoning.context"] = settings.reasoning.context
        values["reasoning.mode"] = settings.reasoning.mode
        if (effort := settings.reasoning.effort) is not None and effort.lower() not in EFFORT_NAMES:
            values["reasoning.effort"] = effort
    extensions = []
    for name, value in values.items():
        if value is not None:
            loss, why = EXTENSIONS.get(name, UNKNOWN_FIELD)
            if name == "truncation" and value == "disabled":  # what every other dialect does anyway
                loss = "ignorable"
            if name == "moderation" and b'"block"' in encode_body(value):  # changes what may be said
                loss = "wrong"
            extensions.append(Extension(NAME, name, value, loss, why))
    return extensions


def _split_instructions(request: Request, capabilities: Capabilities) -> tuple[str | None, Sequence[Text]]:
    """The `instructions`, and the system texts that are items of their own.

    Only items can carry cache breakpoints. A client of this dialect had one text as instructions, if any; texts of
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
    """Sampling and limits. Adaptation has fitted them to the upstream; the dialect itself lacks some."""
    sampling = request.sampling
    body: dict[str, Any] = {"temperature": sampling.temperature, "top_p": sampling.top_p}
    if request.max_tokens is not None:
        body["max_output_tokens"] = max(request.max_tokens, MIN_OUTPUT_TOKENS)
    penalties = {"frequency_penalty": sampling.frequency_penalty, "presence_penalty": sampling.presence_penalty}
    if request.dialect == NAME:  # Open Responses has them, OpenAI has not
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
        losses.append(Loss("wrong", "n", "a request of this dialect has one answer"))
    return {name: value for name, value in body.items() if value is not None}


def _render_state(request: Request, capabilities: Capabilities) -> dict[str, Any]:
    """Whoever speaks another dialect sends the whole history each time, so nothing need be stored for them."""
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
    """An upstream that keeps nothing must give its reasoning away, encrypted, to get it back with the next turn."""
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
    """Fields of this dialect that came with the request, written back where they were."""
    if request.logprobs:
        body["top_logprobs"] = request.logprobs
    for extension in request.extensions:
        if extension.dialect != NAME or "[" in extension.name:
            continue
        outer, _, inner = extension.name.partition(".")
        if extension.name == "include":
            body["include"] = [*body.get("include", ()), *extension.value]
        elif inner:
            body[outer] = {**body.get(outer, {}), inner: extension.value}
        else:
            body[outer] = extension.value
