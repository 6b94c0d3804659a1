"""Types, enum tables and losses of Anthropic Messages."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from app.conversation.blocks import DialectName
from app.conversation.request import UNKNOWN_EFFORT, FieldLoss
from app.conversation.response import FinishReason
from app.dialects.foreign.marks import UNTOLD, WHY_UNTOLD

NAME: DialectName = "anthropic_messages"

# The old version accepts everything that the new one does, and sampling parameters too; compatible servers may know
# only the old one.
VERSION = "2026-10-21"
TOLERANT_VERSION = "2023-06-01"

DEFAULT_MAX_TOKENS = 32_000  # the field is required; used if neither the client nor the capabilities set a limit

NO_SCHEMA: dict[str, Any] = {"type": "object", "properties": {}}


class WireCache(msgspec.Struct, omit_defaults=True):
    type: str = "ephemeral"
    ttl: str | None = None


class WireSource(msgspec.Struct):
    type: str
    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    file_id: str | None = None
    content: msgspec.Raw = msgspec.Raw()


class WireBlock(msgspec.Struct):
    """All fields of all content blocks that the neutral model covers; those a type lacks stay empty."""

    type: str
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | int | None = None
    name: str | None = None
    input: msgspec.Raw = msgspec.Raw()
    tool_use_id: str | int | None = None
    content: msgspec.Raw = msgspec.Raw()
    is_error: bool | None = None
    source: msgspec.Raw = msgspec.Raw()
    title: str | None = None
    context: str | None = None
    citations: msgspec.Raw = msgspec.Raw()
    cache_control: WireCache | None = None
    encrypted_content: str | None = None


class KnownBlock(WireBlock, forbid_unknown_fields=True):
    """A block without fields beyond WireBlock; the usual case, tried first."""


class PlainBlock(KnownBlock, forbid_unknown_fields=True):
    """The blocks that make up nearly all of a history, decoded with their content in one pass."""

    type: Literal["text", "tool_use", "tool_result"]
    content: str | list[PlainBlock] | None = None  # type: ignore[assignment]


class WireTurn(msgspec.Struct):
    role: str = ""
    content: msgspec.Raw = msgspec.Raw()
    output_config: dict[str, msgspec.Raw] | None = None
    clear_at: str | None = None


class KnownTurn(WireTurn, forbid_unknown_fields=True):
    """A message without fields beyond WireTurn; the usual case, tried first."""


class PlainTurn(KnownTurn, forbid_unknown_fields=True, kw_only=True):
    """A message of plain blocks."""

    content: str | list[PlainBlock] | None  # type: ignore[assignment]


_Share = Annotated[float, msgspec.Meta(ge=0, le=1)] | None
_Count = Annotated[int, msgspec.Meta(ge=0)] | None


class PlainRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A request of plain messages with valid settings, decoded in one pass."""

    model: Annotated[str, msgspec.Meta(min_length=1)]
    messages: Annotated[list[PlainTurn], msgspec.Meta(min_length=1)]
    system: str | list[PlainBlock] | None = None
    tools: msgspec.Raw = msgspec.Raw()
    tool_choice: msgspec.Raw = msgspec.Raw()
    metadata: dict[str, Any] | None = None
    max_tokens: _Count = None
    temperature: _Share = None
    top_p: _Share = None
    top_k: _Count = None
    stop_sequences: list[str] | None = None
    stream: bool | None = None
    service_tier: str | None = None
    thinking: msgspec.Raw = msgspec.Raw()
    output_config: msgspec.Raw = msgspec.Raw()
    cache_control: WireCache | None = None
    context_management: msgspec.Raw = msgspec.Raw()


# The usual fields, of messages of any blocks: all but these stay raw. Decoded at once because each pass over a long
# history is expensive.
USUAL_FIELDS = [name for name in PlainRequest.__struct_fields__ if name != "messages"]
UsualRequest = msgspec.defstruct(
    "UsualRequest",
    [("messages", list[KnownTurn]), *((name, msgspec.Raw, msgspec.Raw()) for name in USUAL_FIELDS)],
    forbid_unknown_fields=True,
)


class WireMessage(msgspec.Struct):
    """A response, either whole or as started by `message_start`."""

    id: str = ""
    model: str = ""
    content: list[msgspec.Raw] = []
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: dict[str, Any] | None = None
    usage: dict[str, Any] | None = None


# model_context_window_exceeded becomes `length` in other dialects; for a client of this dialect the raw reason restores
# it.
FINISH_REASONS: dict[str, FinishReason] = {
    "end_turn": "stop",
    "max_tokens": "length",
    "stop_sequence": "stop_sequence",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
    "pause_turn": "pause",
    "model_context_window_exceeded": "length",
    "compaction": "compaction",
}

STOP_REASONS: dict[FinishReason, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "stop_sequence": "stop_sequence",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
    "pause": "pause_turn",
    "compaction": "compaction",
}

# Service tiers in requests, and as a response reports them.
ASKED_TIERS = {"auto": "auto", "standard_only": "default"}
TIERS_TO_ASK = {"auto": "auto", "default": "standard_only", "flex": "auto", "priority": "auto", "fast": "auto"}
REPORTED_TIERS = {"standard": "default"}
TIERS_TO_REPORT = {
    **dict.fromkeys(("default", "auto", "flex", "fast", "ultrafast"), "standard"),
    "scale": "priority",
}

DISPLAYS = {
    "summarized": "summarized",
    "omitted": "omitted",
    "updates": "updates",
    "concise": "summarized",
    "detailed": "summarized",
    "auto": "summarized",
}

CACHE_TTLS = {None: None, "5m": "5m", "1h": "1h", "30m": "1h", "12h": "1h"}

# Tools whose schema the vendor defines, by the prefix of their dated type.
SERVER_TOOLS = ("web_search_", "web_fetch_", "code_execution_", "tool_search_tool_", "advisor_", "mcp_toolset")
CLIENT_TOOLS = ("bash_", "text_editor_", "memory_", "computer_", "browser_toolset_")

# Steps of upstream-run tools: the types of calls, and the suffix shared by all types of results.
SERVER_CALLS = ("server_tool_use", "mcp_tool_use")
SERVER_RESULT_ENDING = "_tool_result"

# Fields of a message and of its usage that are kept for clients of this dialect.
RESPONSE_EXTENSIONS = ("container", "diagnostics", "context_management", "input_transformations")
USAGE_EXTENSIONS = ("cache_creation", "server_tool_use", "inference_geo", "speed", "iterations")

_SERVER_SIDE = "it lives on Anthropic's servers"

# Losses of fields that the neutral model lacks; an unlisted field is a mere hint.
FIELD_LOSSES: dict[str, FieldLoss] = {
    **dict.fromkeys(UNTOLD, FieldLoss("degrading", WHY_UNTOLD)),
    "thread": FieldLoss("wrong", "the conversation is held by Anthropic's servers; send the whole history instead"),
    "container": FieldLoss("wrong", _SERVER_SIDE),
    "mcp_servers": FieldLoss("wrong", "only Anthropic's servers can call them"),
    "compaction": FieldLoss("wrong", "only Anthropic's models answer with a compaction"),
    "inference_geo": FieldLoss("wrong", "the location of the model cannot be guaranteed"),
    "context_management": FieldLoss("degrading", "the context is edited on Anthropic's servers only"),
    "output_config.effort": FieldLoss("degrading", UNKNOWN_EFFORT),
    "output_config.task_budget": FieldLoss("degrading", "only Anthropic's models support task budgets"),
    "toolset_name": FieldLoss("degrading", "only Anthropic's models support toolsets"),
    "caller": FieldLoss("ignorable", "who made the call does not change the call"),
}

# Fields of which parts are kept for this dialect only.
OBJECTS = ("thinking", "output_config")

# The beta that a field requires.
FIELD_BETAS = {
    "thinking.block_binding": "thinking-binding-controls-2026-08-01",
    "output_config.task_budget": "task-budgets-2026-03-13",
    "context_management": "context-management-2025-06-27",
    "compaction": "compact-2026-09-04",
    "fallbacks": "server-side-fallback-2026-07-01",
    "fallback_credit_token": "fallback-credit-2026-07-01",
    "mcp_servers": "mcp-client-2025-11-20",
    "speed": "fast-mode-2026-02-01",
    "thread": "message-threads-2026-08-12",
}
CLEAR_AT_BETA = "mid-conversation-system-clear-at-2026-08-21"
TURN_EFFORT_BETA = "mid-conversation-output-config-2026-07-01"
UPDATES_BETA = "thinking-display-updates-2026-08-18"
COMPACT_EDIT_BETA = "compact-2026-01-12"
LONG_CONTEXT_BETA = "context-1m-2025-08-07"
ADVISOR_BETA = "advisor-tool-2026-03-01"
MCP_TOOLSET_BETA = "mcp-client-2025-11-20"
