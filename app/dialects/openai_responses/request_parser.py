"""Parses Responses requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from app.conversation.blocks import Text
from app.conversation.repeated_tools import read_repeated
from app.conversation.request import (
    EFFORT_NAMES,
    UNKNOWN_FIELD,
    Extension,
    OutputFormat,
    ReasoningSettings,
    Request,
    Sampling,
    State,
    Tool,
)
from app.dialects.foreign.requests import check_fields, read_mended
from app.dialects.json_bodies import read_body, read_value, repair_surrogates
from app.dialects.openai_responses.items.input_parser import Input
from app.dialects.openai_responses.items.tools import parse_tool_choice, parse_tools
from app.dialects.openai_responses.vocabulary import (
    FIELD_LOSSES,
    NAME,
    NULL,
    ConversationId,
    Format,
    ReasoningField,
    Settings,
)
from app.dialects.tool_schemas import mend_schemas
from app.errors import InvalidRequest
from app.json_values import Fields, any_decoder

ENCRYPTED_CONTENT = "reasoning.encrypted_content"
LOGPROBS = "message.output_text.logprobs"

_settings_decoder = msgspec.json.Decoder(Settings)
_UNSAID = ReasoningSettings()
_LONG_FIELDS = ("input", "tools")


def parse_request(body: bytes, headers: Mapping[str, str]) -> Request:
    """The neutral request in a body. Raises InvalidRequest with the field's path."""
    return read_mended(body, "items", _parse)


def _parse(body: bytes) -> Request:
    if b"\\ud" in body or b"\\uD" in body:
        body = repair_surrogates(body)
    fields = read_body(body)
    check_fields(fields, "items")
    settings = _parse_settings(fields)
    given = Input(fields.get("input", NULL))
    instructions = ([Text(settings.instructions)] if settings.instructions else []) + given.instructions
    state = _parse_state(settings)
    turns = given.turns
    if not turns and not instructions and not state.previous_id and not state.conversation and "prompt" not in fields:
        raise InvalidRequest("input is required: a text, or a list with at least one item", param="input")
    text_format = given.format or (settings.text.format if settings.text else None)
    request = Request(
        dialect=NAME,
        model=cast(str, settings.model),
        turns=turns,
        instructions=tuple(instructions),
        tools=given.join_tools(_parse_tools(fields.get("tools"))),
        tool_choice=None if settings.tool_choice is None else parse_tool_choice(settings.tool_choice),
        parallel_tool_calls=settings.parallel_tool_calls,
        reasoning=_UNSAID if settings.reasoning is None else _parse_reasoning(settings.reasoning),
        sampling=Sampling(
            temperature=settings.temperature,
            top_p=settings.top_p,
            frequency_penalty=settings.frequency_penalty,
            presence_penalty=settings.presence_penalty,
        ),
        max_tokens=settings.max_output_tokens,
        stop=_parse_stop(settings),
        state=state,
        compact=given.compact,
        stream=bool(settings.stream),
        extensions=(*_parse_extensions(fields, settings), *given.extensions),
    )
    return msgspec.structs.replace(  # a call with more than fifteen keywords builds a dict
        request,
        output_format=None if text_format is None else _parse_format(text_format),
        verbosity=settings.text.verbosity if settings.text else None,
        logprobs=_parse_logprobs(settings),
        user=settings.safety_identifier,
        cache_key=settings.prompt_cache_key,
        service_tier=settings.service_tier,
        metadata=settings.metadata,
    )


def _parse_settings(fields: Fields) -> Settings:
    """All fields except the long ones, decoded at once because they are small."""
    small = {name: value for name, value in fields.items() if name not in _LONG_FIELDS}
    try:
        settings = read_value(msgspec.Raw(msgspec.json.encode(small)), _settings_decoder, "")
    except InvalidRequest as error:
        where = (error.failure.param or "").lstrip(".")
        raise InvalidRequest(str(error).lstrip("."), param=where) from error
    if not settings.model:
        raise InvalidRequest("model is required: the name of a model", param="model")
    return settings


def _parse_tools(declared: msgspec.Raw | None) -> tuple[Tool, ...]:
    if declared is None:
        return ()
    return read_repeated(declared, NAME, lambda: mend_schemas(parse_tools(declared, "tools"), declared))


def _parse_stop(settings: Settings) -> tuple[str, ...]:
    """Stop sequences, a field that Chat clients send here too; the vendor's dialect has none."""
    return (settings.stop,) if isinstance(settings.stop, str) else tuple(settings.stop or ())


def _parse_state(settings: Settings) -> State:
    conversation = settings.conversation
    return State(
        store=settings.store,
        previous_id=settings.previous_response_id or None,
        conversation=conversation.id if isinstance(conversation, ConversationId) else conversation,
        background=bool(settings.background),
    )


def _parse_reasoning(field: ReasoningField) -> ReasoningSettings:
    visibility = field.summary or field.generate_summary
    name = (field.effort or "auto").lower()
    effort = EFFORT_NAMES.get(name)
    if effort == "none":
        return ReasoningSettings(mode="off", effort=effort, visibility=visibility)
    asked = effort is not None or name not in EFFORT_NAMES
    return ReasoningSettings(mode="on" if asked else None, effort=effort, visibility=visibility)


def _parse_format(wire: Format) -> OutputFormat | None:
    if wire.type == "text":
        return None
    if wire.type == "json_object":
        return OutputFormat("json_object")
    if wire.type != "json_schema":
        where = "text.format.type"
        raise InvalidRequest(f"{where}: must be one of text, json_object, json_schema", param=where)
    if wire.nested is not None:  # the form of Chat
        wire = wire.nested
    return OutputFormat("json_schema", wire.json_schema, wire.name, wire.description, wire.strict)


def _parse_logprobs(settings: Settings) -> int | None:
    if LOGPROBS in (settings.include or ()):
        return settings.top_logprobs or 0
    return settings.top_logprobs or None


def _parse_extensions(fields: Fields, settings: Settings) -> list[Extension]:
    """Fields that the neutral model lacks, with the severity of their loss."""
    values: dict[str, Any] = {
        name: read_value(raw, any_decoder, name)
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
            extensions.append(FIELD_LOSSES.get(name, UNKNOWN_FIELD).of(NAME, name, value))
    return extensions
