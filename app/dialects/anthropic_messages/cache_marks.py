"""The cache marks of a request that passes: no more than the vendor takes, and the rest of the bytes as they are."""

from __future__ import annotations

from typing import Any

import msgspec

from app.dialects.json_bodies import Fields, fields_decoder, list_decoder

MOST_MARKS = 4
MARK = b'"cache_control"'


def limit_marks(fields: Fields) -> bool:
    """Takes the earliest marks away, in the order in which the prefix is made of them; True if some had to go."""
    taker = _Taker()
    for name in ("tools", "system"):
        if name in fields:
            taker.count_all(fields[name])
    if "messages" in fields:
        taker.count_all(fields["messages"])
    taker.over += int(bytes(fields.get("cache_control", b"null")) != b"null") - MOST_MARKS
    if taker.over <= 0:
        return False
    for name in ("tools", "system", "messages"):
        if name in fields and taker.over > 0:
            fields[name] = taker.take(fields[name])
    return True


class _Taker:
    """Counts marks, and takes away as many as are over."""

    def __init__(self) -> None:
        self.over = 0

    def count_all(self, raw: msgspec.Raw) -> None:
        """Marks of blocks and tools, at most two lists deep: in messages, and in results of tools."""
        for holder in _entries(raw):
            if MARK in bytes(holder):
                fields = _fields(holder)
                self.over += int(_is_marked(fields))
                if "content" in fields:
                    self.count_all(fields["content"])

    def take(self, raw: msgspec.Raw) -> msgspec.Raw:
        entries: list[Any] = list(_entries(raw))
        for index, holder in enumerate(entries):
            if self.over > 0 and MARK in bytes(holder):
                entries[index] = self._take_from(holder)
        return msgspec.Raw(msgspec.json.encode(entries)) if entries else raw

    def _take_from(self, holder: msgspec.Raw) -> Any:
        fields = _fields(holder)
        changed: dict[str, Any] = dict(fields)
        if "content" in fields and MARK in bytes(fields["content"]):
            changed["content"] = self.take(fields["content"])
        if self.over > 0 and _is_marked(fields):
            del changed["cache_control"]
            self.over -= 1
        return changed


def _entries(raw: msgspec.Raw) -> list[msgspec.Raw]:
    try:
        return list_decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []


def _fields(raw: msgspec.Raw) -> Fields:
    try:
        return fields_decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}


def _is_marked(fields: Fields) -> bool:
    return bytes(fields.get("cache_control", b"null")) != b"null"
