"""Parses a reply that arrived completely in one read, as most unary replies do.

llhttp makes one call for each line of a head. Here all lines are split at once. Anything unusual is left to
ReplyDecoder, which is strict, and so are event streams: they have many chunks, and seldom come whole.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from msgspec import Struct

_HEAD_END = b"\r\n\r\n"
_EVENT_STREAM = b"event-stream"
_LAST_CHUNK = b"\r\n0\r\n\r\n"
_STATUS = re.compile(r"HTTP/1\.1 ([2-5][0-9]{2})(?: .*)?")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})\r\n")
# Statuses of replies that never have a body, and fields that change how the rest is read.
_BODILESS = frozenset({204, 304})
_UNUSUAL = frozenset({"content-encoding", "proxy-connection", "trailer", "upgrade"})
_MAX_HEAD = 8 * 1024
# Maximum bytes of a head whose lines are remembered.
_MAX_REMEMBERED = 4096
_MAX_CHUNKS = 64


class WholeReply(Struct, frozen=True):
    """A reply that was read completely. The names of its headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def read_whole(data: bytes, max_head: int) -> WholeReply | None:
    """The reply, if `data` is exactly one complete reply. The connection may then serve another call. None if it is
    unusual, wrong, incomplete or has no body."""
    end = data.find(_HEAD_END, 0, min(max_head, _MAX_HEAD))
    if end < 0 or data.find(_EVENT_STREAM, 0, end) >= 0:
        return None
    lines = data[:end].decode("latin-1").split("\r\n")
    status = _read_status(lines[0])
    if status is None:
        return None
    del lines[0]
    try:
        headers = dict(map(_read_field if end <= _MAX_REMEMBERED else _read_field.__wrapped__, lines))
    except ValueError:
        return None
    if len(headers) < len(lines):  # a name is there twice
        return None
    if headers.get("connection", "keep-alive").lower() != "keep-alive":
        return None
    body = _read_body(data, end + len(_HEAD_END), headers)
    return WholeReply(status, headers, body) if body else None


def _read_body(data: bytes, start: int, headers: dict[str, str]) -> bytes | None:
    length, coding = headers.get("content-length"), headers.get("transfer-encoding")
    if length is None:
        return _join_chunks(data, start) if coding == "chunked" and data.endswith(_LAST_CHUNK) else None
    return data[start:] if coding is None and length == str(len(data) - start) else None


def _join_chunks(data: bytes, start: int) -> bytes | None:
    pieces: list[bytes] = []
    for _ in range(_MAX_CHUNKS):
        found = _CHUNK_SIZE.match(data, start)
        if found is None:
            return None
        begin, size = found.end(), int(found[1], 16)
        start = begin + size + 2
        if data[start - 2 : start] != b"\r\n":
            return None
        if not size:
            return b"".join(pieces) if start == len(data) else None
        pieces.append(data[begin : start - 2])
    return None


# Cached, since most of an upstream's lines are the same each time, and to check their characters costs most.
@lru_cache(maxsize=256)
def _read_status(line: str) -> int | None:
    found = _STATUS.fullmatch(line)
    status = int(found[1]) if found is not None and line.isprintable() else 0
    return status if status and status not in _BODILESS else None


@lru_cache(maxsize=512)
def _read_field(line: str) -> tuple[str, str]:
    """A field's name in lower case, and its value. Raises ValueError for one that is left to ReplyDecoder."""
    name, colon, value = line.partition(":")
    key = _read_name(name)
    # Refuses stray line ends and control characters anywhere.
    if key is None or not colon or not line.isprintable():
        raise ValueError("an unusual field")
    return key, value.strip(" ")


@lru_cache(maxsize=1024)
def _read_name(name: str) -> str | None:
    """A field's name in lower case. None for an invalid name, or one that is left to ReplyDecoder."""
    key = name.lower()
    return key if _TOKEN.fullmatch(name) is not None and key not in _UNUSUAL else None
