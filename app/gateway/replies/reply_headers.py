"""Selects the upstream's reply headers that a client may see."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any
from urllib.parse import quote

import msgspec

from app.dialects.json_bodies import repair_text
from app.gateway.failures.retry_after import settle_retry_after
from app.headers import FoundByNames
from app.known_secrets import known_secrets

# Every client can use the time to retry; the other headers belong to one dialect.
WAITS = ("retry-after", "retry-after-ms")
ALWAYS = (*WAITS, "x-should-retry")
LIMIT_PREFIXES = ("anthropic-ratelimit-", "x-ratelimit-")
SAME_DIALECT_PREFIXES = (*LIMIT_PREFIXES, "anthropic-priority-", "x-codex-")
SAME_DIALECT = ("anthropic-organization-id", "openai-processing-ms", "openai-version", "openai-model")


class _ErrorObject(msgspec.Struct):
    message: str
    type: str


class _Envelope(msgspec.Struct):
    error: _ErrorObject
    type: Any = None


_envelope = msgspec.json.Decoder(_Envelope)


# The word, unless it names a member that is null, as in each Responses object.
_MENTION = re.compile(rb'error(?!" ?: ?null)')
_MAX_PLACES = 8
# Maximum bytes before and after the word that belong to the pattern.
_AROUND = 48
# An error in JSON, as a member or as an event. In a string that quotes one there are backslashes, so it cannot match.
_ERROR = re.compile(
    rb'"errors?"\s{0,4}:\s{0,4}[{"\[]|"(?:type|object|status)"\s{0,4}:\s{0,4}"[\w.]{0,24}error|event: {0,1}error'
)


def relayed_headers(headers: Mapping[str, str], *, same_dialect: bool) -> dict[str, str]:
    """The upstream's headers that a client gets, with secrets masked. Never cookies, CORS, hop-by-hop or unknown
    headers."""
    kept = (_of_same_dialect if same_dialect else _of_any_dialect)[tuple(headers)]
    if not kept:
        return {}
    relayed = {name: headers[name] for name in kept}
    if len("".join(relayed.values())) > _MAX_VALUES:
        relayed = {name: value for name, value in relayed.items() if len(value) <= _MAX_NAME}
    if "retry-after" in relayed or "retry-after-ms" in relayed:
        settle_retry_after(relayed, time.time())
    return known_secrets.mask_headers(relayed)


# Maximum characters of a relayed name.
_MAX_NAME = 100
# The most relayed headers, and characters of all their values; if there are more, long values are left out. Some
# clients read no more than 100 headers, or 16 KB of them.
_MAX_RELAYED = 50
_MAX_VALUES = 4096


# Characters that need no escaping in a header.
_PLAIN = "".join(map(chr, range(0x21, 0x7F)))


def _find_relayed(names: tuple[str, ...], *, same_dialect: bool) -> list[str]:
    """The names of a head that a client gets."""
    of_dialect = SAME_DIALECT if same_dialect else ()
    prefixes = SAME_DIALECT_PREFIXES if same_dialect else ()
    known = (name for name in names if name in ALWAYS or name in of_dialect or name.startswith(prefixes))
    short = [name for name in known if len(name) <= _MAX_NAME]
    return sorted(short, key=lambda name: name not in ALWAYS)[:_MAX_RELAYED]


_of_same_dialect = FoundByNames(partial(_find_relayed, same_dialect=True))
_of_any_dialect = FoundByNames(partial(_find_relayed, same_dialect=False))


@lru_cache(maxsize=1024)
def name_upstream(label: str) -> str:
    """An upstream's label escaped for a header, since a client may have chosen the model's name in it."""
    return quote(label, safe=_PLAIN)


def with_own_limits(headers: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """Replaces the upstream's limit headers by those of the client's own limits: a client that saw both could follow
    neither."""
    if not own:
        return dict(headers)
    merged = {**headers, **own}
    for name in _limits_in[tuple(headers)]:
        if name not in own:
            del merged[name]
    return merged


# The names of limits in a head.
_limits_in = FoundByNames(lambda names: [name for name in names if name.startswith(LIMIT_PREFIXES)])


def clean_error(body: bytes, *, is_typed: bool) -> bool:
    """Whether clients can read an error body unchanged. Both dialect families have an envelope `{"error": …}`; with
    `is_typed` it also has `"type": "error"`, as in Anthropic's and unlike OpenAI's."""
    try:
        envelope = _envelope.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return is_typed is (envelope.type == "error")


def clean_events(out: bytes) -> bytes:
    """Whole events as a client may have them: in UTF-8, which strict clients decode, and with secrets masked in errors.

    Small servers cut a character between two tokens; U+FFFD takes the place of its halves, as in translated streams."""
    return mask_errors(out if out.isascii() else repair_text(out))


def mask_errors(out: bytes) -> bytes:
    """Masks secrets in bytes for a client if they contain an error. All other bytes are the model's and pass."""
    start = out.find(b"error")  # takes half the time of a pattern
    if start < 0 or not _mentions_error(out, start):
        return out
    return known_secrets.mask_bytes(out)


def _mentions_error(out: bytes, start: int) -> bool:
    """Whether `_ERROR` matches, whose search takes ten times as long as that for the word at `start`. So the first few
    places of the word are checked one by one before the rest."""
    for count, found in enumerate(_MENTION.finditer(out, start)):
        start, end = found.span()
        if count >= _MAX_PLACES:
            return _ERROR.search(out, max(0, start - _AROUND)) is not None
        if _ERROR.search(out, max(0, start - _AROUND), end + _AROUND) is not None:
            return True
    return False
