"""Translates requests for JSON answers into the strongest form that the upstream supports.

Runs after the tool choice: for a schema that the upstream does not support it adds a tool that exists only in transit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import partial
from typing import Any

import msgspec
from msgspec.structs import replace

from app.adaptation.notes import Notes, field
from app.adaptation.tools.forced_json import CallToText
from app.adaptation.tools.wrapping import FENCE, OBJECT, Unwrap
from app.conversation.blocks import Text
from app.conversation.capabilities import Capabilities
from app.conversation.request import FunctionTool, OutputFormat, Request, ToolChoice, Turn
from app.conversation.schemas import (
    is_openai_strict,
    sanitize,
    to_anthropic_subset,
    to_current_draft,
    to_gemini_subset,
    to_plain_subset,
    without_noise,
    without_nulls,
    wrap_root,
)
from app.dialects.registry import traits_of

TOOL_NAME = "json_output"
TOOL_DESCRIPTION = "Give the answer with this tool, and only with it."
DEFAULT_NAME = "output"

PLAIN_JSON = "Answer with a single JSON object only, without code fences or other text."

_BAD_NAME = re.compile(r"[^a-zA-Z0-9_-]+")


def adapt_structured(request: Request, capabilities: Capabilities, notes: Notes) -> Request:
    output = request.output_format
    if output is None or output.kind == "text":
        return request
    if output.kind == "json_object":
        return _ask_for_object(request, capabilities, notes)
    output = replace(output, schema=to_current_draft(without_nulls(output.schema or {})))
    output = _wrap_format(output, capabilities, notes)
    match capabilities.structured:
        case "schema":
            return replace(request, output_format=_fit_format(request, output, capabilities, notes))
        case "tool" if capabilities.tools and capabilities.forced_tool:
            return _force_tool(request, output, capabilities, notes)
        case _:
            return _describe_schema(request, output, capabilities, notes)


def _ask_for_object(request: Request, capabilities: Capabilities, notes: Notes) -> Request:
    """Any JSON: natively, with the word JSON in the conversation, which OpenAI requires; else by a plain
    instruction."""
    if not capabilities.json_object or capabilities.structured == "none":
        return _ask_in_words(request, PLAIN_JSON, notes)
    if traits_of(capabilities.dialect).json_in_turns:
        # This dialect ignores the instructions.
        return request if _mention_json(_spoken(request)) else _add_turn(request, PLAIN_JSON)
    return request if _mention_json([*request.instructions, *_spoken(request)]) else _instruct(request, PLAIN_JSON)


def _wrap_format(output: OutputFormat, capabilities: Capabilities, notes: Notes) -> OutputFormat:
    """The format with an object at its root, for upstreams that support no other root."""
    schema = output.schema or {}
    any_root = capabilities.structured == "schema" and capabilities.schema not in ("object", "openai", "plain")
    wrapped = schema if any_root or capabilities.structured == "none" else wrap_root(schema)
    if wrapped is schema:
        return output
    notes.on_reply(partial(Unwrap, OBJECT))
    return replace(output, schema=wrapped)


def _ask_in_words(request: Request, words: str, notes: Notes) -> Request:
    notes.on_reply(partial(Unwrap, FENCE))
    return replace(_instruct(request, words), output_format=None)


def _spoken(request: Request) -> list[Text]:
    return [block for turn in request.turns for block in turn.blocks if isinstance(block, Text)]


def _mention_json(texts: Iterable[Text]) -> bool:
    return any("json" in text.text.lower() for text in texts)


def _add_turn(request: Request, words: str) -> Request:
    return replace(request, turns=(*request.turns, Turn("system", (Text(words),))))


def _instruct(request: Request, words: str) -> Request:
    return replace(request, instructions=(*request.instructions, Text(words)))


def _fit_format(request: Request, output: OutputFormat, capabilities: Capabilities, notes: Notes) -> OutputFormat:
    schema, lost = _fit_schema(output.schema or {}, capabilities)
    for why in lost:
        notes.lose("degrading", field(request.dialect, "output_format"), why)
    strict = output.strict
    if traits_of(request.dialect).always_strict:
        # Its vendor always enforces the schema; elsewhere only strict schemas can be enforced.
        strict = is_openai_strict(schema)
    name = _BAD_NAME.sub("_", output.name or "").strip("_")[:64] or DEFAULT_NAME
    return replace(output, schema=schema, name=name, strict=strict)


def _fit_schema(schema: dict[str, Any], capabilities: Capabilities) -> tuple[dict[str, Any], tuple[str, ...]]:
    match capabilities.schema:
        case _ if capabilities.closed_formats:
            return to_plain_subset(schema, closed=True)
        case "plain":
            return to_plain_subset(schema)
        case "anthropic":
            return to_anthropic_subset(schema)
        case "gemini":
            return to_gemini_subset(schema)
        case _:
            return without_noise(schema), ()


def _force_tool(request: Request, output: OutputFormat, capabilities: Capabilities, notes: Notes) -> Request:
    """The schema as the arguments of a tool that must be called; the client sees the call as text.

    If the client has tools of its own, the model must call one of them, or this one with the answer.
    """
    choice = request.tool_choice
    path = field(request.dialect, "output_format")
    if choice is not None and choice.mode in ("tool", "any"):
        notes.lose("ignorable", path, "the client's own tool is forced, so the answer is a tool call, not text")
        return replace(request, output_format=None)
    schema, lost = sanitize(output.schema, capabilities.schema)
    for why in lost:
        notes.lose("degrading", path, why)
    taken = {tool.name for tool in request.tools}
    name = TOOL_NAME
    while name in taken:
        name += "_"
    tool = FunctionTool(name, output.description or TOOL_DESCRIPTION, schema)
    free = bool(request.tools) and (choice is None or choice.mode == "auto")
    notes.on_reply(partial(CallToText, name))
    return replace(
        request,
        tools=(*request.tools, tool),
        tool_choice=ToolChoice("any") if free else ToolChoice("tool", ((None, name),)),
        output_format=None,
    )


def _describe_schema(request: Request, output: OutputFormat, capabilities: Capabilities, notes: Notes) -> Request:
    """The schema in words, for an upstream that can enforce JSON at best."""
    notes.lose(
        "degrading", field(request.dialect, "output_format"), "the schema is described to the model, not enforced"
    )
    schema = msgspec.json.encode(output.schema or {}).decode()
    words = f"{PLAIN_JSON} It matches this JSON schema: {schema}"
    if capabilities.structured == "json_object":
        return replace(_instruct(request, words), output_format=OutputFormat("json_object"))
    return _ask_in_words(request, words, notes)
