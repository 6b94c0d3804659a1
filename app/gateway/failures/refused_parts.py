"""Finds the content blocks and input items that a server refuses for their type."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from app.json_values import decode_or_none

# The capabilities without which a type of the vendor's content blocks is not sent, for servers that refuse it.
BLOCKS: dict[str, dict[str, Any]] = {
    "thinking": {"proofs": (), "reasoning_replay": "none"},
    "redacted_thinking": {"proofs": (), "reasoning_replay": "none"},
    **{
        kind: {"proofs": ()}
        for kind in
        ("server_tool_use", "mcp_tool_use", "mcp_tool_result", "web_search_tool_result", "web_fetch_tool_result",
         "code_execution_tool_result", "bash_code_execution_tool_result", "text_editor_code_execution_tool_result",
         "tool_search_tool_result", "advisor_tool_result")
    },
    "tool_reference": {"deferred_tools": False},
    "search_result": {"text_documents": False},
    "document": {"documents": False, "text_documents": False},
}  # fmt: skip

_NAMES = {kind: re.compile(rf"(?<![a-z_.]){kind}(?![a-z_.])") for kind in BLOCKS}
# How servers speak of the type of a content block that they refuse, and of those that they accept.
_SPEAKS_OF_BLOCKS = re.compile(
    r"\bblocks?\b[^.]{0,40}(?:support|allow|accept|type)|content[ _]type|content[ _]block|unknown variant"
    r"|messages\.content\.type|content(?:\.|\[)\d*\]?\.type|content/\d+/type"
    r"|content(?:\.|\[)\d+[\].:][^.]{0,80}(?:input tag|unknown|unsupported|invalid|unexpected)"
)
_LISTS_TYPES = re.compile(r"\.type: input should be |discriminator value\. expected ")
_NAMES_NO_TYPE = re.compile(
    r"messages\.content\.type.{0,80}invalid value|invalid value.{0,80}messages\.content\.type"
    r"|content block type[^.]{0,20}not supported"
)

# How servers refuse an input item, in general words.
_UNKNOWN_ITEM = re.compile(
    r"(?:unknown|unsupported|unexpected|unrecogni[sz]ed|invalid) (?:responses api )?input item|unknown input type"
    r"|input item type|input\[\d{1,5}\] did not match any|input\[\d{1,5}\]\.type"
    r"|type of 'item'"
)
# The same, by its place in the list.
_PLACE = re.compile(r"\binput[\[.](\d{1,5})\b")
# How servers refuse a list without a word on which of its items is wrong.
_WORDLESS = re.compile(r"\s*(?:invalid|malformed|bad|unsupported)(?: value for)? ['\"`]?input['\"`]?[.!]?\s*")
# The same, naming the type, as OpenAI's API does: "Invalid value: 'agent_message'. Supported values are: …".
_REFUSED_TYPE = re.compile(
    r"(?:invalid value|(?:unknown|unsupported|unexpected|unrecogni[sz]ed|invalid)(?: (?:input|item|type|variant))+)"
    r"[:\s]{1,3}['\"`]?([a-z_]{1,60})\b"
    r"|\b(?:item|input)s?(?: of)? type[:\s]{1,3}['\"`]?([a-z_]{1,60})\b"
)
# The reasoning of another vendor may lack what this one requires.
_LACKS_SUMMARY = re.compile(r"missing.{0,60}summary")
_BASIC = {"", "message", "reasoning", "function_call", "function_call_output"}
_MAX_NAMES = 8


class _Head(msgspec.Struct):
    type: str = ""


_heads = msgspec.json.Decoder(list[_Head])


def find_blocks(text: str, sent: bytes) -> list[str]:
    """The types of sent content blocks that a complaint names; if it only lists what it accepts, those beside them."""
    if not _SPEAKS_OF_BLOCKS.search(text) or "extra inputs" in text:
        return []
    present = [kind for kind in BLOCKS if f'"{kind}"'.encode() in sent]
    named = [kind for kind in present if _NAMES[kind].search(text)]
    if _LISTS_TYPES.search(text):
        return [kind for kind in present if kind not in named]
    return named or (present if _NAMES_NO_TYPE.search(text) else [])


def refuses_item(text: str, param: str, items: msgspec.Raw) -> bool:
    """Whether a complaint, in lower case, is about the type of an item: in general words, or by the name or the place
    of one that was sent and that not every server knows."""
    if _UNKNOWN_ITEM.search(text):
        return True
    named = {name for found in _REFUSED_TYPE.findall(text[:1000])[:_MAX_NAMES] for name in found if name}
    place, wordless = _PLACE.search(text) or _PLACE.search(param), _WORDLESS.fullmatch(text)
    if not (named or place or wordless):
        return False
    heads = decode_or_none(items, _heads) or []
    if place:
        heads = heads[int(place[1]) :][:1]
    basic = _BASIC - {"reasoning"} if _LACKS_SUMMARY.search(text) else _BASIC
    return any(head.type not in basic and (place or wordless or head.type in named) for head in heads)
