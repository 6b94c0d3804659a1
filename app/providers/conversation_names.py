"""Names conversations whose clients do not."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator

import msgspec

# The largest body that is looked into. Larger ones are named by their first bytes.
_MAX_BODY = 8 * 1024 * 1024
_BEGINNING = 1000
_EMPTY = msgspec.Raw()


class _Beginning(msgspec.Struct):
    """The fields with which each turn of a conversation begins, in any dialect."""

    prompt_cache_key: msgspec.Raw = _EMPTY
    system: msgspec.Raw = _EMPTY
    instructions: msgspec.Raw = _EMPTY
    messages: msgspec.Raw = _EMPTY
    input: msgspec.Raw = _EMPTY


class _Turn(msgspec.Struct):
    role: msgspec.Raw = _EMPTY


_beginning = msgspec.json.Decoder(_Beginning)
_turns = msgspec.json.Decoder(list[msgspec.Raw])
_turn = msgspec.json.Decoder(_Turn)


def name_conversation(body: bytes) -> str:
    """The same name for each turn of a conversation: from its `prompt_cache_key` or, without one, from what all its
    turns begin with, the system text and all up to the user's first turn."""
    digest = hashlib.sha256()
    body = body if len(body) <= _MAX_BODY else body[:_BEGINNING]
    try:
        begun = _beginning.decode(body)
        for part in (begun.prompt_cache_key,) if begun.prompt_cache_key else _first_words(begun):
            digest.update(part)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        digest = hashlib.sha256(body)
    return str(uuid.UUID(bytes=digest.digest()[:16], version=4))


def _first_words(begun: _Beginning) -> Iterator[msgspec.Raw]:
    yield begun.system
    yield begun.instructions
    said = begun.messages or begun.input
    if not bytes(said).startswith(b"["):
        yield said
        return
    for turn in _turns.decode(said):
        yield turn
        if bytes(_turn.decode(turn).role) == b'"user"':
            return
