"""Converts tools in the shape of another dialect, which some agents send."""

from __future__ import annotations

import re
from collections.abc import Mapping
from operator import attrgetter
from typing import Any

import msgspec

from app.conversation.blocks import DialectName
from app.conversation.request import NativeTool

# Only the vendor tools of Messages have a date in their types.
_DATED = re.compile(r"[a-z_]{1,60}_20[0-9]{6}")
_MESSAGES: DialectName = "anthropic_messages"
_RESPONSES: DialectName = "openai_responses"
# Tools without a name of their own that the client runs; tool_search and shell may be hosted too.
_CLIENTS_OF_RESPONSES = (
    "tool_search",
    "local_shell",
    "shell",
    "apply_patch",
    "computer",
    "computer_use_preview",
)
OF_RESPONSES = frozenset(
    (
        *_CLIENTS_OF_RESPONSES,
        "web_search",
        "web_search_preview",
        "web_search_preview_2025_03_11",
        "file_search",
        "code_interpreter",
        "mcp",
        "image_generation",
    )
)


class OtherSchemas(msgspec.Struct):
    """The names of a function's schema besides `parameters`: of Messages, of MCP, of Gemini, and of libraries."""

    input_schema: Any = None
    inputSchema: Any = None  # noqa: N815 - as on the wire, and so below
    parametersJsonSchema: Any = None  # noqa: N815
    parameters_json_schema: Any = None
    args_schema: Any = None
    argsSchema: Any = None  # noqa: N815
    json_schema: Any = None
    jsonSchema: Any = None  # noqa: N815
    schema_: Any = msgspec.field(name="schema", default=None)

    @property
    def other_schema(self) -> Any:
        """The first of them; None if there is none."""
        return next(filter(None, _others_of(self)), None)


_others_of = attrgetter(*OtherSchemas.__struct_fields__)
SCHEMAS = ("parameters", *OtherSchemas.__struct_encode_fields__)
_RUN_BY_CLIENTS = ("bash_", "text_editor_", "memory_", "computer_")


def dated_tool(definition: Mapping[str, Any]) -> NativeTool | None:
    """A vendor tool of Messages; None for any other."""
    kind, name = definition.get("type"), definition.get("name")
    if not isinstance(kind, str) or not is_dated(kind):
        return None
    server = not kind.startswith(_RUN_BY_CLIENTS)
    return NativeTool(_MESSAGES, kind, name if isinstance(name, str) else kind, dict(definition), server)


def responses_tool(definition: Mapping[str, Any]) -> NativeTool | None:
    """A tool of the vendor of Responses; None for any other. Servers of Chat that have a tool of the same type say more
    of it below its type."""
    kind = definition.get("type")
    if not isinstance(kind, str) or kind not in OF_RESPONSES or isinstance(definition.get(kind), dict):
        return None
    label = definition.get("name") or definition.get("server_label")
    return NativeTool(_RESPONSES, kind, label if isinstance(label, str) and label else kind, dict(definition),
                      is_hosted(kind, definition))  # fmt: skip


def is_hosted(kind: str, definition: Mapping[str, Any]) -> bool:
    """Whether the upstream runs a tool of Responses. A search of tools and a shell exist in both kinds."""
    if kind == "tool_search":
        return bool(definition.get("execution", "client" if "parameters" in definition else "server") == "server")
    if kind == "shell":
        environment = definition.get("environment")
        return isinstance(environment, dict) and str(environment.get("type")).startswith("container")
    return kind not in _CLIENTS_OF_RESPONSES


def is_dated(kind: object) -> bool:
    return isinstance(kind, str) and _DATED.fullmatch(kind) is not None


def nested_tool(definition: Mapping[str, Any]) -> dict[str, Any] | None:
    """The inner object of a Chat Completions tool, with its type added; None if there is none."""
    kind = definition.get("type", "function")
    inner = definition.get(kind) if kind in ("function", "custom") else None
    return {"type": kind, **inner} if isinstance(inner, dict) else None


def untyped_tool(definition: Mapping[str, Any]) -> dict[str, Any] | None:
    """A function tool of Messages or MCP in flat form; None for a definition without a name and a schema."""
    schema = schema_in(definition)
    if not isinstance(schema, dict) or not definition.get("name"):
        return None
    flat = {name: definition[name] for name in ("name", "description", "strict", "defer_loading") if name in definition}
    return {"type": "function", **flat, "parameters": schema}


def schema_in(function: Mapping[str, Any]) -> Any:
    """A function's schema, under whatever name."""
    return next((function[name] for name in SCHEMAS if function.get(name) is not None), None)
