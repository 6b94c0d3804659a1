"""Tells the turns that keep a request from passing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from app.conversation.capabilities import Capabilities
from app.conversation.envelope import PREFIX, is_sealed
from app.dialects.anthropic_messages.content.tool_changes import CHANGES
from app.dialects.anthropic_messages.vocabulary import NAME, SERVER_CALLS, SERVER_RESULT_ENDING
from app.dialects.foreign.marks import FOREIGN_BLOCKS
from app.dialects.json_bodies import is_set
from app.dialects.readable import IMAGE_MAGIC
from app.dialects.refused_fields import BLOCK, NESTED

_SEALED = b'"' + PREFIX.encode()
_CALL_ID = re.compile(r"[a-zA-Z0-9_-]++")
# The vendor refuses blank texts.
_BLANK = re.compile(rb'"(?:[ ]|\\[nrt])*+"')
_BLANK_TEXT = re.compile(rb'"text"\s*:\s*' + _BLANK.pattern)
# An image as clients write it, with the beginning of its data, and how that of each type begins.
_INLINE_IMAGE = re.compile(
    rb'"media_type"\s{0,4}:\s{0,4}"(image/[A-Za-z0-9.+-]{1,40})"\s{0,8},\s{0,8}"data"\s{0,4}:\s{0,4}"([^"]{4,12})'
)
_EMPTY_DATA = re.compile(rb'"data"\s{0,4}:\s{0,4}""')
_BASE64 = re.compile(rb'"type"\s{0,4}:\s{0,4}"base64"')
_LINKED = re.compile(rb'"type"\s{0,4}:\s{0,4}"url"')
_TYPED = re.compile(rb'"media_type"\s{0,4}:\s{0,4}"')
_PLACEHOLDERS = ("PCF", "PGh", "PD9", "PHN2", "eyJ", "data:")  # a page, an error or a data URL in its place
_MAGIC = (*IMAGE_MAGIC, *((start, "text") for start in _PLACEHOLDERS))
_CONTENT = re.compile(rb'$|null|"|\[\s{0,99}(?:\{|\])')
_REASONING = ("thinking", "redacted_thinking")
_MEDIA = frozenset(("image", "document"))
ABSENT = msgspec.Raw()
_ROLES = ("user", "assistant", "system")
# How a server that refuses the effort of a turn has it left out.
_EFFORT_OF_TURN = frozenset((f"{NESTED}output_config", "messages[].output_config"))


class _Head(msgspec.Struct):
    """The fields that decide whether a block may pass; its other fields are skipped, not decoded."""

    type: str = ""
    text: msgspec.Raw = ABSENT
    signature: str | None = None
    data: str | msgspec.UnsetType | None = msgspec.UNSET
    id: Any = None
    name: Any = None
    input: msgspec.Raw = ABSENT
    tool_use_id: Any = None
    cache_control: msgspec.Raw = ABSENT
    content: msgspec.Raw = ABSENT
    source: msgspec.Raw = ABSENT
    citations: msgspec.Raw = ABSENT


class TurnOutline(msgspec.Struct):
    """A turn, and what a library may have put beside its content."""

    role: str = ""
    content: str | list[_Head] | None = None
    images: Any = None
    attachments: Any = None
    experimental_attachments: Any = None


class Judge:
    """Judges blocks by what the upstream does with reasoning and media.

    Claude accepts only what it signed itself. Servers that sign nothing accept any reasoning, but our envelopes mean
    nothing to them.
    """

    def __init__(self, capabilities: Capabilities) -> None:
        self._required = capabilities.reasoning_required
        self._unsigned = self._required or capabilities.reasoning_replay != "none"
        self._image_types = capabilities.image_types
        self._image_urls = capabilities.image_urls
        self._only_words = not capabilities.tool_result_media
        self._signed = NAME in capabilities.proofs
        self._longest_name = capabilities.tool_name_limit
        # A system turn may be empty because all it does is set the effort.
        self._sets_effort = _EFFORT_OF_TURN.isdisjoint(capabilities.refused_fields)
        taken = (
            ("image", capabilities.images and capabilities.images_limit is None),
            ("document", capabilities.documents),
        )
        named = [name.removeprefix(BLOCK) for name in capabilities.refused_fields if name.startswith(BLOCK)]
        self._refused = frozenset([kind for kind, accepted in taken if not accepted] + named)
        self._refused_of_others = self._refused | _MEDIA  # they may stand in a user's turn only
        self._inside = re.compile("|".join(f'"{kind}"' for kind in named).encode()) if named else None

    def objects_to(self, turn: TurnOutline) -> bool:
        if turn.role not in _ROLES:
            return True
        blocks = turn.content
        if turn.images or turn.attachments or turn.experimental_attachments:
            return True
        if isinstance(blocks, str):
            return not blocks.strip()
        if not isinstance(blocks, list):
            return True
        if not blocks and not (turn.role == "system" and self._sets_effort):
            return True
        if turn.role == "assistant" and self._required and _lacks_reasoning(blocks):
            return True
        refused = self._refused if turn.role == "user" else self._refused_of_others
        return any(block.type in refused or not self._may_stay(block) for block in blocks)

    def _may_stay(self, block: _Head) -> bool:
        match block.type:
            case "text":
                return _BLANK.fullmatch(block.text) is None and _SEALED not in bytes(block.citations)
            case "thinking":
                sealed = is_sealed(block.signature or "")
                signed = self._signed and bool(block.signature)
                return not sealed and (self._unsigned or signed) and not is_set(block.cache_control)
            case "redacted_thinking":
                sealed = isinstance(block.data, str) and is_sealed(block.data)
                return not sealed and (self._required or self._signed) and not is_set(block.cache_control)
            case "tool_use":
                named = isinstance(block.name, str) and 0 < len(block.name) <= self._longest_name
                return named and bytes(memoryview(block.input)[:1]) == b"{"
            case "tool_result":
                return not self._holds_odd_result(block.content) and not _holds_empty(block)
            case "image" if not len(block.source) or self._holds_odd_image(block.source):
                return False
            case "document" if _BASE64.search(memoryview(block.source)) and b"application/pdf" not in bytes(
                block.source
            ):
                return False  # the vendor takes no other file this way
            case kind if kind in SERVER_CALLS or kind in CHANGES or kind.endswith(SERVER_RESULT_ENDING):
                return self._signed  # other servers do not know the vendor's own tools, nor changes of tools
            case kind:
                return bool(kind) and kind not in FOREIGN_BLOCKS

    def _holds_odd_result(self, content: msgspec.Raw) -> bool:
        if self._inside is not None and self._inside.search(memoryview(content)) is not None:
            return True
        if self._only_words and bytes(memoryview(content)[:1]) == b"[":
            return True
        return not is_content(content) or self._holds_odd_image(content)

    def _holds_odd_image(self, raw: msgspec.Raw) -> bool:
        """Whether an image is of a type that is not taken, or its bytes are those of another: the vendor refuses the
        request for one, and every later one of the session."""
        source = memoryview(raw)
        if _EMPTY_DATA.search(source) is not None or (
            _BASE64.search(source) is not None and _TYPED.search(source) is None
        ):
            return True
        if not self._image_urls and _LINKED.search(source) is not None:
            return True
        for found in _INLINE_IMAGE.finditer(source):
            declared, start = found[1].decode(), found[2].decode()
            seen = next((kind for magic, kind in _MAGIC if start.startswith(magic)), declared)
            if seen != declared or (self._image_types and declared not in self._image_types):
                return True
        return False


def are_paired(turns: Sequence[TurnOutline]) -> bool:
    """Whether every call has a valid unique id, and every result is where the vendor requires it: at the start of the
    turn after its call."""
    known: set[str] = set()
    awaited: list[Any] = []
    for turn in turns:
        if turn.role == "system":
            continue
        blocks = turn.content if isinstance(turn.content, list) else []
        answered = [block.tool_use_id for block in blocks if block.type == "tool_result"]
        if answered or awaited:
            leading = [block.tool_use_id for block in blocks[: len(answered)] if block.type == "tool_result"]
            if len(leading) != len(awaited) or sorted(map(str, leading)) != sorted(map(str, awaited)):
                return False
        awaited = [block.id for block in blocks if block.type == "tool_use"]
        if awaited and turn.role != "assistant":
            return False
        for call_id in awaited:
            if not isinstance(call_id, str) or call_id in known or _CALL_ID.fullmatch(call_id) is None:
                return False
            known.add(call_id)
    return not awaited


def is_content(raw: msgspec.Raw) -> bool:
    """Whether a value is absent, null, a text or a list of objects."""
    return _CONTENT.match(memoryview(raw)) is not None


def _holds_empty(block: _Head) -> bool:
    """Whether a tool result is a list that contains blank texts; a result given as a string may be empty."""
    return bytes(memoryview(block.content)[:1]) == b"[" and has_empty(block.content)


def has_empty(texts: msgspec.Raw) -> bool:
    return _BLANK_TEXT.search(memoryview(texts)) is not None


def _lacks_reasoning(content: Sequence[_Head]) -> bool:
    types = {block.type for block in content}
    return "tool_use" in types and "thinking" not in types


def lacks_lead(turns: Sequence[TurnOutline]) -> bool:
    """Whether the last turn of a tool loop does not begin with reasoning, as manual thinking requires."""
    for turn in reversed(turns):
        if turn.role == "assistant" and isinstance(turn.content, list) and turn.content:
            called = any(block.type == "tool_use" for block in turn.content)
            return called and turn.content[0].type not in _REASONING
    return False
