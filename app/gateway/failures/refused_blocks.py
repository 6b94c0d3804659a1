"""Finds the types of content blocks that a server refuses which only resembles Anthropic's."""

from __future__ import annotations

import re
from typing import Any

# The capabilities without which a type of the vendor's content blocks is not sent, for servers that refuse it.
_OWN_STEPS: dict[str, Any] = {"proofs": ()}
BLOCKS: dict[str, dict[str, Any]] = {
    "thinking": {"proofs": (), "reasoning_replay": "none"},
    "redacted_thinking": {"proofs": (), "reasoning_replay": "none"},
    "server_tool_use": _OWN_STEPS,
    "mcp_tool_use": _OWN_STEPS,
    "mcp_tool_result": _OWN_STEPS,
    "web_search_tool_result": _OWN_STEPS,
    "web_fetch_tool_result": _OWN_STEPS,
    "code_execution_tool_result": _OWN_STEPS,
    "bash_code_execution_tool_result": _OWN_STEPS,
    "text_editor_code_execution_tool_result": _OWN_STEPS,
    "tool_search_tool_result": _OWN_STEPS,
    "tool_reference": {"deferred_tools": False},
    "search_result": {"text_documents": False},
    "document": {"documents": False, "text_documents": False},
}

_NAMES = {kind: re.compile(rf"(?<![a-z_.]){kind}(?![a-z_.])") for kind in BLOCKS}
# How servers speak of the type of a content block that they refuse, and of those that they accept.
_SPEAKS_OF_BLOCKS = re.compile(
    r"\bblocks?\b[^.]{0,40}(?:support|allow|accept|type)|content[ _]type|content[ _]block|unknown variant"
    r"|messages\.content\.type|content(?:\.|\[)\d+\]?\.type"
    r"|content(?:\.|\[)\d+[\].:][^.]{0,80}(?:input tag|unknown|unsupported|invalid|unexpected)"
)
_LISTS_TYPES = re.compile(r"\.type: input should be ")
_NAMES_NO_TYPE = re.compile(
    r"messages\.content\.type.{0,80}invalid value|invalid value.{0,80}messages\.content\.type"
    r"|content block type[^.]{0,20}not supported"
)


def find_blocks(text: str, sent: bytes) -> list[str]:
    """The types of sent content blocks that a complaint names; if it only lists what it accepts, those beside them."""
    if not _SPEAKS_OF_BLOCKS.search(text) or "extra inputs" in text:
        return []
    present = [kind for kind in BLOCKS if f'"{kind}"'.encode() in sent]
    named = [kind for kind in present if _NAMES[kind].search(text)]
    if _LISTS_TYPES.search(text):
        return [kind for kind in present if kind not in named]
    return named or (present if _NAMES_NO_TYPE.search(text) else [])
