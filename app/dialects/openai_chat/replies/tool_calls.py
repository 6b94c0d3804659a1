"""Assigns stream fragments to tool calls.

The contract is simple: `index` identifies the call, and its first fragment has id and name. Servers omit the index,
give all calls the same one, omit ids, repeat names, number ids, or send whole calls; each rule below names its reason.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import msgspec

from app.conversation.literals import (
    EMPTY,
    NOTHING,
    ObjectEnd,
    Resent,
    as_object,
    begins_object,
    is_blank,
    is_object,
    join,
    literal,
    one_object,
    text_of,
)
from app.dialects.openai_chat.vocabulary import CallFragment
from app.errors import UpstreamMalformed
from app.json_values import MAX_INDEX

# Maximum calls in one answer. No model makes this many, and each fragment is compared with the calls still without a
# name.
MAX_CALLS = 1024
# Maximum characters of a name that comes in pieces.
MAX_NAME = 10_000


class Call:
    """One call as far as it is known. `position` counts calls 0, 1, 2 … in the order of their first fragments.

    `id` is what clients see: the server's id, or a generated one; `pieces` are the literals of the arguments so far.
    Arguments that do not begin like an object are `held` until all have arrived. `empty`: they began with an empty
    object, after which more may come.
    """

    __slots__ = (
        "block", "custom", "empty", "end", "extra", "held", "id", "name", "pieces", "position", "resent", "wire_id",
    )  # fmt: skip

    def __init__(self, position: int, wire_id: str | None) -> None:
        self.position = position
        self.wire_id = wire_id
        self.id = ""
        self.name = ""
        self.custom = False
        self.held = False
        self.empty = False
        self.resent = Resent()
        self.pieces: list[bytes] = []
        self.end = ObjectEnd()
        self.extra: bytes | None = None
        self.block: int | None = None

    def lengthen_name(self, more: str) -> None:
        self.name += more
        if len(self.name) > MAX_NAME:
            raise UpstreamMalformed(f"the upstream's answer names a tool by more than {MAX_NAME:,} characters")

    def is_complete(self) -> bool:
        """Whether the arguments so far are a whole JSON object."""
        return self.end.is_reached(self.pieces) if self.pieces else self.empty

    def is_cut(self) -> bool:
        """Whether the arguments have begun and have no end."""
        return bool(self.pieces) and not self.custom and not self.is_complete()

    def rest_of(self, added: bytes) -> bytes:
        """The new part of a piece."""
        return added if self.custom else self.resent.rest_of(self.pieces, added)

    def settle(self) -> bool:
        """Accepts an empty object as all of the arguments, if nothing else has arrived."""
        if not self.empty or self.pieces:
            return False
        self.pieces.append(NOTHING)
        return True

    def held_arguments(self) -> bytes:
        """The literal of an object that replaces the held arguments."""
        return literal(as_object(text_of(join(self.pieces)))[0])


class CallBinder:
    """Binds fragments to calls. `response_id` makes generated ids differ between replies."""

    def __init__(self, response_id: str = "") -> None:
        self.response_id = response_id
        self.calls: list[Call] = []
        self.taken: dict[str, None] = {}  # ids that clients have seen; an empty set takes three times the memory
        self._by_index: dict[int, Call] = {}
        self._by_wire_id: dict[str, Call] = {}

    def bind(self, fragment: CallFragment) -> tuple[Call, bytes]:
        """The call of a fragment, and the literal that it adds to the arguments (possibly empty)."""
        piece = fragment.function or fragment.custom
        name = (piece.name if piece else None) or ""
        wire_id = str(fragment.id) if fragment.id not in (None, "") else None
        added = _arguments_of(fragment)
        if b"}{" in added:
            added = literal(one_object(text_of(added)))
        call = self._find(_index_of(fragment), wire_id, name, added)
        if not call.name and name:
            call.name = name
            call.custom = fragment.custom is not None or fragment.type == "custom"
        elif name != call.name and not call.pieces:
            call.lengthen_name(name)
        if not call.id and (call.wire_id or call.name):
            taken = call.wire_id in self.taken
            call.id = call.wire_id if call.wire_id and not taken else self._mint(call.position)
            self.taken[call.id] = None
        if not call.pieces and not call.custom and is_blank(added):
            added = EMPTY  # white space before an object is meaningless, and alone it is no object
        if not call.pieces and added == NOTHING and not call.custom:
            added, call.empty = EMPTY, True  # LiteLLM and others send this before the actual arguments
        else:
            added = call.rest_of(added)
        if added != EMPTY:
            if not call.pieces and not call.custom:
                call.held = not begins_object(added)
                added = cut_off(added)
            call.pieces.append(added)
        if len(fragment.extra_content) > 4:
            call.extra = bytes(fragment.extra_content)
        return call, added

    def _find(self, index: int | None, wire_id: str | None, name: str, added: bytes) -> Call:
        known = self._by_index.get(index) if index is not None else self._find_without_index(wire_id, name)
        if known is None and wire_id is None and not name:
            known = self._find_unfinished(added)
        if known is None or self._starts_anew(known, wire_id, name, added):
            if len(self.calls) >= MAX_CALLS:
                raise UpstreamMalformed(f"the upstream's answer calls more than {MAX_CALLS} tools")
            known = Call(len(self.calls), wire_id)
            self.calls.append(known)
        elif known.wire_id is None and not known.id:
            known.wire_id = wire_id
        if wire_id is not None:
            self._by_wire_id.setdefault(wire_id, known)
        if index is not None:
            self._by_index[index] = known
        return known

    def _find_without_index(self, wire_id: str | None, name: str) -> Call | None:
        """The call by id, else the last one. Gemini and some Ollama versions send no index."""
        if wire_id is not None:
            same = self._by_wire_id.get(wire_id)
            if same is not None or name:
                return same
        return self.calls[-1] if self.calls else None

    def _find_unfinished(self, added: bytes) -> Call | None:
        """The last call, if it is unfinished, for arguments under a new index without a name: its beginning came
        without an index, or the server counts fragments as calls, like OmniRoute."""
        last = self.calls[-1] if self.calls else None
        if last is None or last not in self._by_index.values():
            return last
        return last if added != EMPTY and last.name and not last.is_complete() else None

    def _starts_anew(self, known: Call, wire_id: str | None, name: str, added: bytes) -> bool:
        """Whether a fragment opens another call under an index that is already in use.

        Ollama gives every call index 0, so another id together with a name is another call, unless the name is the same
        and the arguments are not complete; an id without a name is one that vLLM generated for the fragment. Without
        ids, a name after complete arguments opens a call, and so does a different name, unless no arguments have come
        yet: then it is the rest of a split name.
        """
        if not name:
            return False
        if wire_id is not None and known.wire_id is not None and name == known.name:
            ended = begins_object(added) or (added == EMPTY and known.is_complete())
            return wire_id != known.wire_id and (ended if known.pieces else known.empty or added == EMPTY)
        if wire_id is not None:
            return known.wire_id is not None and wire_id != known.wire_id
        if known.name and name != known.name:
            return bool(known.pieces) or added != EMPTY
        return added != EMPTY and known.is_complete()

    def _mint(self, position: int) -> str:
        digest = hashlib.sha256(f"{self.response_id}:{position}".encode("utf-8", "replace")).hexdigest()
        return f"call_{digest[:24]}"


def join_entries(entries: Sequence[CallFragment]) -> list[CallFragment]:
    """The calls of a whole reply. An entry without an id that does not begin a call continues the previous one: some
    gateways leave the fragments of a stream as separate entries (diegosouzapw/OmniRoute#653)."""
    calls: list[CallFragment] = []
    texts: list[list[bytes]] = []  # the pieces of each call's arguments
    for entry in entries:
        added = _arguments_of(entry)
        if calls and _is_continuation(calls[-1], entry, begun=bool(texts[-1])):
            _continue(calls[-1], entry)
            if texts[-1] == [NOTHING] and added != EMPTY:
                texts[-1].clear()  # a whole object replaces an empty one
        else:
            calls.append(entry)
            texts.append([])
        if added != EMPTY:
            texts[-1].append(added)
    for call, pieces in zip(calls, texts, strict=True):
        if call.function is not None and pieces:
            call.function.arguments = msgspec.Raw(join(pieces))
    return calls


def _is_continuation(call: CallFragment, entry: CallFragment, *, begun: bool) -> bool:
    head, piece = call.function, entry.function
    if head is None or piece is None or entry.id not in (None, ""):
        return False
    if not piece.name or not head.name:
        return True
    return call.id not in (None, "") and piece.name == head.name and not begun


def _continue(call: CallFragment, entry: CallFragment) -> None:
    """Appends all of an entry but its arguments to the call that it continues."""
    if call.function is not None and entry.function is not None:
        call.function.name = call.function.name or entry.function.name
    if len(entry.extra_content):
        call.extra_content = entry.extra_content


def are_clean(fragments: Sequence[CallFragment], binder: CallBinder) -> bool:
    """Whether fragments conform to the contract, after those that `binder` knows."""
    begun, touched = len(binder.calls), set[object]()
    ids = set[str]()
    for fragment in fragments:
        index = fragment.index
        if not isinstance(index, int) or index in touched or fragment.is_flat:
            return False
        touched.add(index)
        if index == begun:
            if fragment.id in ids or fragment.id in binder.taken or not _opens_call(fragment):
                return False
            ids.add(str(fragment.id))
            begun += 1
        elif not 0 <= index < len(binder.calls) or not _continues(fragment, binder.calls[index]):
            return False
    return True


def _opens_call(fragment: CallFragment) -> bool:
    """Whether the first fragment of a call has an id, a kind and a name."""
    piece = fragment.function or fragment.custom
    kind = "function" if fragment.custom is None else "custom"
    named = piece is not None and bool(piece.name) and isinstance(fragment.id, str) and fragment.id != ""
    return named and fragment.type == kind and _has_clean_arguments(fragment, first=True)


def _continues(fragment: CallFragment, call: Call) -> bool:
    """Whether a later fragment has only arguments, or the rest of a split name, because the vendor's SDK appends any
    repeated text."""
    piece = fragment.function or fragment.custom
    if piece is None or fragment.id is not None or fragment.type is not None:
        return False
    added = _arguments_of(fragment)
    if added != EMPTY and (call.empty or call.rest_of(added) != added):
        return False
    cut = piece.name and piece.name != call.name and not call.pieces and not has_arguments(fragment)
    if piece.name is not None and not cut:
        return False
    return _has_clean_arguments(fragment, first=not call.pieces)


def opens_empty(fragment: CallFragment, binder: CallBinder) -> bool:
    """Whether arguments begin with an empty object, after which more may come."""
    if _arguments_of(fragment) != NOTHING:
        return False
    index = fragment.index
    known = binder.calls[index] if isinstance(index, int) and 0 <= index < len(binder.calls) else None
    return known is None or not known.pieces


def _has_clean_arguments(fragment: CallFragment, *, first: bool) -> bool:
    added = _arguments_of(fragment)
    piece = fragment.function or fragment.custom
    if piece is None or len(piece.parameters) or (bytes(piece.arguments) or bytes(piece.input)) not in (b"", added):
        return False
    return (
        not first or added == EMPTY or fragment.custom is not None or (begins_object(added) and cut_off(added) == added)
    )


def has_arguments(fragment: CallFragment) -> bool:
    return _arguments_of(fragment) != EMPTY


def cut_off(piece: bytes) -> bytes:
    """A piece without anything after a whole object in it: some servers end calls with an extra brace, or with a mark
    of the model's template."""
    if not (piece.startswith(b'"{') and b"}" in piece):
        return piece
    text = text_of(piece)
    if is_object(text):
        return piece
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return piece
    return literal(text[:end])


def _index_of(fragment: CallFragment) -> int | None:
    try:
        index = int(fragment.index) if fragment.index is not None else None
    except (ValueError, OverflowError):
        return None
    return index if index is None or abs(index) <= MAX_INDEX else None


def _arguments_of(fragment: CallFragment) -> bytes:
    """The literal of a fragment's arguments. Complete arguments may come as an object instead of text."""
    if fragment.function is not None and (given := fragment.function.arguments or fragment.function.parameters):
        raw = bytes(given)
    elif fragment.custom is not None:
        raw = bytes(fragment.custom.input)
    else:
        return EMPTY
    if raw.startswith(b'"'):
        return raw if raw != b'"null"' else EMPTY
    return EMPTY if raw in (b"", b"null") else literal(raw.decode("utf-8", "replace"))
