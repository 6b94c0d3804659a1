"""Stores reasoning for clients that do not send it back.

Some models need the reasoning before a tool call back with the call's result, or answer worse without it; plain Chat
clients drop all fields that they do not know. It is stored in this worker's memory and, for other workers and after a
restart, in the ledger. Reasoning that is not (or no longer) stored is simply missing: nothing fails.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence

import msgspec

from app.conversation.blocks import Proof, Reasoning, Text, ToolCall, ToolResult
from app.conversation.literals import literal, text_of
from app.conversation.request import Request, Turn
from app.conversation.thoughts import Thought, interleave
from app.errors import LedgerUnavailable
from app.gateway.large_bodies.heavy_work import run_heavy
from app.ledger import REASONING_LIFETIME, Collection

# Maximum bytes that a worker keeps in memory.
MAX_BYTES = 16 * 1024 * 1024
# Seconds for which a miss in the ledger is remembered; not longer, because another worker may store it later.
MISS_LIFETIME = 300.0
# Seconds for which a failed ledger is not read: an answer without old reasoning is better than a late one.
REST = 10.0
# Bytes that take as long as to make the key of a short turn.
TURN = 200
# Bytes of an entry in addition to its text and proofs.
OVERHEAD = 500

Thoughts = tuple[Thought, ...]


class Owner(msgspec.Struct, frozen=True):
    """Whose reasoning it is: used only for this tenant at this upstream. Unless `lasting`, it never leaves the worker's
    memory. `proven`: this upstream has no use for reasoning without a proof."""

    tenant: str
    upstream: str
    lasting: bool = True
    proven: bool = False


class _Entry(msgspec.Struct, frozen=True):
    thoughts: Thoughts
    size: int
    until: float


class _KeptThought(msgspec.Struct, frozen=True, array_like=True):
    """`text` is a literal, because half a surrogate pair is not valid UTF-8."""

    place: int
    text: bytes
    proof: Proof | None


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    until: float
    thoughts: tuple[_KeptThought, ...]


_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(_Kept)


class ReasoningStore:
    """Reasoning by the conversation and the calls that it led to; the oldest is forgotten first.

    `collection` stores it for all workers; without one, only this worker's memory does. `clock` returns unix seconds.
    """

    def __init__(self, collection: Collection | None = None, clock: Callable[[], float] = time.time) -> None:
        self._collection = collection
        self._clock = clock
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._size = 0
        self._rests_until = 0.0

    def recall(self, request: Request, owner: Owner) -> Request:
        """The request with the stored reasoning added to turns with calls that lack it."""
        found = self.find(request, owner)
        if not found:
            return request
        turns = list(request.turns)
        for index, thoughts in found.items():
            others = [block for block in turns[index].blocks if not isinstance(block, Reasoning)]
            turns[index] = msgspec.structs.replace(turns[index], blocks=interleave(thoughts, others))
        return msgspec.structs.replace(request, turns=tuple(turns))

    def find(self, request: Request, owner: Owner) -> dict[int, Thoughts]:
        """The stored reasoning of turns that lack it, by the turn's index."""
        reads = self._collection is not None and owner.lasting
        if not (reads or self._entries):
            return {}
        keys = run_heavy(len(request.turns) * TURN, _keys_of_silent, request.turns, owner)
        now = self._clock()
        known = {key: entry for key in keys.values() if (entry := self._look_up(key, now)) is not None}
        unknown = [key for key in keys.values() if key not in known]
        if unknown and reads:
            known |= self._read(owner, unknown, now)
        return {index: known[key].thoughts for index, key in keys.items() if key in known and known[key].thoughts}

    def remember(self, key: bytes, thoughts: Thoughts, owner: Owner) -> None:
        """Stores reasoning. An empty result is remembered too, in memory only, so that it is not looked for."""
        until = self._clock() + REASONING_LIFETIME
        self._put(key, thoughts, until)
        if thoughts and owner.lasting and self._collection is not None:
            try:
                self._collection.put(owner.tenant, key.hex(), _pack(thoughts, until))
            except LedgerUnavailable:  # the ledger has logged it
                self._rests_until = self._clock() + REST

    def _look_up(self, key: bytes, now: float) -> _Entry | None:
        entry = self._entries.get(key)
        return entry if entry is not None and entry.until >= now else None

    def _read(self, owner: Owner, keys: Sequence[bytes], now: float) -> dict[bytes, _Entry]:
        """Entries for all keys from the ledger, empty ones for unknown keys; no entries if the ledger fails."""
        if self._collection is None or now < self._rests_until:
            return {}
        try:
            values = self._collection.get_many(owner.tenant, [key.hex() for key in keys])
        except LedgerUnavailable:
            self._rests_until = self._clock() + REST
            return {}
        entries = {}
        for key in keys:
            thoughts, until = _unpack(values.get(key.hex(), b""))
            known = until >= now
            entries[key] = self._put(key, thoughts if known else (), until if known else now + MISS_LIFETIME)
        return entries

    def _put(self, key: bytes, thoughts: Thoughts, until: float) -> _Entry:
        entry = _Entry(thoughts, OVERHEAD + sum(_size_of(thought.block) for thought in thoughts), until)
        self._forget(key)
        self._entries[key] = entry
        self._size += entry.size
        while self._size > MAX_BYTES:
            self._forget(next(iter(self._entries)))
        return entry

    def _forget(self, key: bytes) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._size -= entry.size


class Keys:
    """Makes the keys of one conversation's turns. The `first` turn distinguishes it from others."""

    def __init__(self, owner: Owner, first: Turn) -> None:
        self._begun = hashlib.sha256(f"{owner.tenant} {owner.upstream}".encode())
        _add(self._begun, _words_of(first))

    def key_of(self, before: Turn, calls: Sequence[ToolCall]) -> bytes:
        """The key of a turn with calls. The calls' ids alone are not unique: some servers number their calls from
        zero."""
        digest = self._begun.copy()
        _add(digest, _words_of(before))
        _add(digest, (word for call in calls for word in (call.id, call.name)))
        return digest.digest()


def keeps_reasoning(request: Request, owner: Owner) -> bool:
    """Whether the client has sent back any reasoning that is of use."""
    return any(not _is_silent(turn, owner) for turn in request.turns)


def _keys_of_silent(turns: Sequence[Turn], owner: Owner) -> dict[int, bytes]:
    """The keys of turns with calls but without reasoning, by index."""
    keys: Keys | None = None
    found: dict[int, bytes] = {}
    for index, turn in enumerate(turns):
        if index and turn.role == "assistant" and _is_silent(turn, owner):
            calls = [block for block in turn.blocks if isinstance(block, ToolCall)]
            if calls:
                keys = keys or Keys(owner, turns[0])
                found[index] = keys.key_of(turns[index - 1], calls)
    return found


def _is_silent(turn: Turn, owner: Owner) -> bool:
    return not any(isinstance(block, Reasoning) and (block.proof or not owner.proven) for block in turn.blocks)


def _add(digest: hashlib._Hash, words: Iterator[str]) -> None:
    for word in words:
        digest.update(b"\0" + word.encode("utf-8", "surrogatepass"))


def _words_of(turn: Turn) -> Iterator[str]:
    for block in turn.blocks:
        match block:
            case Text():
                yield block.text
            case ToolResult():
                yield block.call_id
                yield from (inner.text for inner in block.blocks if isinstance(inner, Text))
            case _:
                yield type(block).__name__


def _pack(thoughts: Thoughts, until: float) -> bytes:
    kept = [_KeptThought(thought.place, literal(thought.block.text), thought.block.proof) for thought in thoughts]
    return _encode(_Kept(until, tuple(kept)))


def _unpack(value: bytes) -> tuple[Thoughts, float]:
    """The thoughts, and until when they are valid; nothing if another version wrote them and they cannot be decoded."""
    try:
        kept = _decoder.decode(value)
    except msgspec.MsgspecError:
        return (), 0.0
    return tuple(Thought(one.place, Reasoning(text_of(one.text), one.proof)) for one in kept.thoughts), kept.until


def _size_of(block: Reasoning) -> int:
    proofs = block.proof.originals if block.proof is not None else ()
    return OVERHEAD + len(block.text) + sum(len(original) for original in proofs)
