"""Parses and renders `thinking` and `output_config`."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from app.conversation.capabilities import Capabilities
from app.conversation.losses import Loss
from app.conversation.request import EFFORT_NAMES, Effort, OutputFormat, ReasoningSettings, Request
from app.dialects.anthropic_messages.content.blocks import NoteField
from app.dialects.anthropic_messages.vocabulary import DISPLAYS
from app.dialects.json_bodies import read_value
from app.errors import InvalidRequest
from app.json_values import Fields

T = TypeVar("T")

MODES: dict[str, Any] = {"enabled": "on", "adaptive": "on", "disabled": "off", "between_tools": "between_tools"}

optional_text = msgspec.json.Decoder(str | None)
_FIELDS = frozenset({"thinking", "output_config", "output_format"})
_UNSAID = ReasoningSettings()
_integer = msgspec.json.Decoder(int | None)
_object = msgspec.json.Decoder(dict[str, Any] | None)
_fields = msgspec.json.Decoder(Fields | None)


def read_reasoning(fields: Fields, note: NoteField) -> tuple[ReasoningSettings, OutputFormat | None]:
    """Removes both fields from `fields`; what the neutral model lacks goes to `note`. Raises InvalidRequest."""
    if not _FIELDS & fields.keys():
        return _UNSAID, None
    thinking = take_field(fields, "thinking", _fields) or {}
    config = take_field(fields, "output_config", _fields) or {}
    if (old := fields.pop("output_format", None)) is not None:
        config.setdefault("format", old)  # its place during the beta of structured outputs
    mode = take_field(thinking, "thinking.type", optional_text)
    if mode is not None and mode not in MODES:
        raise InvalidRequest(f"thinking.type: must be one of {', '.join(MODES)}", param="thinking.type")
    settings = ReasoningSettings(
        mode=MODES[mode] if mode is not None else None,
        effort=_take_effort(config),
        budget=take_field(thinking, "thinking.budget_tokens", _integer),
        visibility=take_field(thinking, "thinking.display", optional_text),
    )
    output_format = _read_format(take_field(config, "output_config.format", _object))
    for name, raw in thinking.items():
        note(f"thinking.{name}", raw)
    for name, raw in config.items():
        note(f"output_config.{name}", raw)
    return settings, output_format


def write_reasoning(request: Request, capabilities: Capabilities, losses: list[Loss]) -> dict[str, Any]:
    """`thinking` and `output_config`: a budget means manual thinking; "on" without one lets the model choose the
    depth."""
    settings = request.reasoning
    thinking: dict[str, Any] = {}
    config: dict[str, Any] = {}
    if settings.budget is not None and settings.mode != "off":
        thinking = {"type": "enabled", "budget_tokens": settings.budget}
    elif settings.mode == "on":
        thinking = {"type": "adaptive"}
    elif settings.mode is not None:
        thinking = {"type": "disabled" if settings.mode == "off" else settings.mode}
    if settings.mode == "on" and settings.visibility is not None:
        if capabilities.reasoning_visibility:
            thinking["display"] = DISPLAYS.get(settings.visibility, "summarized")
        else:
            losses.append(Loss("ignorable", "thinking.display", "the model always returns its thinking"))
    if capabilities.bound_reasoning and thinking.get("type") == "adaptive":
        # A translated history never repeats its prefix byte for byte; without this the vendor refuses past thinking.
        thinking["block_binding"] = {"prefix_mismatch_behavior": "drop_block"}
    if settings.effort is not None and settings.effort not in ("none", "minimal"):
        config["effort"] = settings.effort
    match request.output_format:
        case OutputFormat(kind="json_schema", schema=schema, description=description):
            described = {"description": description} if description else {}
            config["format"] = {"type": "json_schema", "schema": {**described, **(schema or {"type": "object"})}}
        case OutputFormat(kind="json_object"):
            losses.append(Loss("degrading", "response_format", "this dialect has no JSON mode without a schema"))
    return {name: value for name, value in (("thinking", thinking), ("output_config", config)) if value}


def take_field(fields: Fields, path: str, decoder: msgspec.json.Decoder[T]) -> T | None:
    """Removes the field at the end of `path` from `fields` and returns its value. Raises InvalidRequest."""
    raw = fields.pop(path.rpartition(".")[2], None)
    return None if raw is None else read_value(raw, decoder, path)


def _take_effort(config: Fields) -> Effort | None:
    """Removes and returns the effort; one with an unknown name also stays where it is."""
    raw = config.get("effort")
    effort = take_field(config, "output_config.effort", optional_text)
    if raw is not None and effort is not None and effort.lower() not in EFFORT_NAMES:
        config["effort"] = raw
    return EFFORT_NAMES.get((effort or "").lower())


def _read_format(wire: dict[str, Any] | None) -> OutputFormat | None:
    if wire is None:
        return None
    schema = wire.get("schema")
    if wire.get("type") == "json_object":  # the form of OpenAI's dialects
        return OutputFormat("json_object")
    if wire.get("type") != "json_schema" or not isinstance(schema, dict):
        raise InvalidRequest("output_config.format: must be a json_schema with a schema", param="output_config.format")
    return OutputFormat("json_schema", schema)
