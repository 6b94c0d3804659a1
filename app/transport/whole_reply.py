"""Parses a reply that arrived completely in one read, as most unary replies do.

llhttp makes one call for each line of a head. Here all lines are split at once, and only those are read that differ
from the upstream's last head: its fields are the same each time, and so are most of their values. Anything unusual is
left to ReplyDecoder, which is strict, and so are event streams: they have many chunks, and seldom come whole.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from itertools import compress
from operator import ne

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
# Fields that must not be there twice. Others may: nearly all of Cloudflare's replies set two cookies.
_FRAMING = frozenset({"connection", "content-length", "transfer-encoding"})
_MAX_HEAD = 8 * 1024
# Maximum bytes of a head whose lines are remembered.
_MAX_REMEMBERED = 4096
_MAX_CHUNKS = 64


class WholeReply(Struct, frozen=True):
    """A reply that was read completely. The names of its headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class WholeReplyReader:
    """Reads the replies of one upstream."""

    __slots__ = ("_last", "_max_head")

    def __init__(self, max_head: int) -> None:
        """`max_head` is in bytes."""
        self._max_head = min(max_head, _MAX_HEAD)
        self._last = _Fields([], [], [], {}, {})

    def read(self, data: bytes) -> WholeReply | None:
        """The reply, if `data` is exactly one complete reply. The connection may then serve another call. None if it is
        unusual, wrong, incomplete or has no body."""
        end = data.find(_HEAD_END, 0, self._max_head)
        if end < 0 or data.find(_EVENT_STREAM, 0, end) >= 0:
            return None
        lines = data[:end].decode("latin-1").split("\r\n")
        status = _read_status(lines.pop(0))
        fields = self._last.read_alike(lines) or _read_fields(lines)
        if status is None or fields is None:
            return None
        if end <= _MAX_REMEMBERED:
            self._last = fields
        headers = fields.headers
        if headers.get("connection", "keep-alive").lower() != "keep-alive":
            return None
        body = _read_body(data, end + len(_HEAD_END), headers)
        return WholeReply(status, headers, body) if body else None


class _Fields(Struct, frozen=True):
    """The fields of a head: their lines, the beginnings of these up to the value, and their names in lower case.
    `repeated` maps those that are there several times to their places."""

    lines: list[str]
    beginnings: list[str]
    names: list[str]
    headers: dict[str, str]
    repeated: dict[str, list[int]]

    def read_alike(self, lines: list[str]) -> _Fields | None:
        """Those of a head with the same names in the same order. None for any other."""
        if len(lines) != len(self.lines):
            return None
        headers = self.headers.copy()
        for place in compress(range(len(lines)), map(ne, lines, self.lines)):
            line = lines[place]
            value = line.removeprefix(self.beginnings[place])
            if value is line or not value.isprintable():
                return None
            headers[self.names[place]] = value.strip(" ")
        for name, places in self.repeated.items():
            values = [lines[place].removeprefix(self.beginnings[place]).strip(" ") for place in places]
            headers[name] = ", ".join(values)
        return _Fields(lines, self.beginnings, self.names, headers, self.repeated)


def _read_fields(lines: list[str]) -> _Fields | None:
    """None for a head that is left to ReplyDecoder."""
    beginnings: list[str] = []
    names: list[str] = []
    values: list[str] = []
    places: dict[str, list[int]] = {}
    for place, line in enumerate(lines):
        name, colon, rest = line.partition(":")
        key, value = _read_name(name), rest.lstrip(" ")
        # Refuses stray line ends and control characters anywhere.
        if key is None or not colon or not value.isprintable():
            return None
        beginnings.append(line[: len(line) - len(value)])
        names.append(key)
        values.append(value.rstrip(" "))
        places.setdefault(key, []).append(place)
    repeated = {name: found for name, found in places.items() if len(found) > 1}
    if not _FRAMING.isdisjoint(repeated):
        return None
    headers = {name: ", ".join([values[place] for place in found]) for name, found in places.items()}
    return _Fields(lines, beginnings, names, headers, repeated)


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


# Cached, since both are the same nearly always.
@lru_cache(maxsize=256)
def _read_status(line: str) -> int | None:
    found = _STATUS.fullmatch(line)
    status = int(found[1]) if found is not None and line.isprintable() else 0
    return status if status and status not in _BODILESS else None


@lru_cache(maxsize=1024)
def _read_name(name: str) -> str | None:
    """A field's name in lower case. None for an invalid name, or one that is left to ReplyDecoder."""
    key = name.lower()
    return key if _TOKEN.fullmatch(name) is not None and key not in _UNUSUAL else None
