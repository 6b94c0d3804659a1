"""Recognises that a Responses server refuses an input item for its type."""

from __future__ import annotations

import re

import msgspec

from app.dialects.json_bodies import decode_or_none

_UNKNOWN_ITEM = re.compile(
    r"(?:unknown|unsupported|unexpected|unrecogni[sz]ed|invalid) (?:responses api )?input item|unknown input type"
    r"|input item type|input\[\d{1,5}\] did not match any|input\[\d{1,5}\]\.type"
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


def refuses_item(text: str, items: msgspec.Raw) -> bool:
    """Whether a complaint, in lower case, is about the type of an item: in general words, or by the name or the place
    of one that was sent and that not every server knows."""
    if _UNKNOWN_ITEM.search(text):
        return True
    named = {name for found in _REFUSED_TYPE.findall(text[:1000])[:_MAX_NAMES] for name in found if name}
    place, wordless = _PLACE.search(text), _WORDLESS.fullmatch(text)
    if not (named or place or wordless):
        return False
    heads = decode_or_none(items, _heads) or []
    if place:
        heads = heads[int(place[1]) :][:1]
    basic = _BASIC - {"reasoning"} if _LACKS_SUMMARY.search(text) else _BASIC
    return any(head.type not in basic and (place or wordless or head.type in named) for head in heads)
