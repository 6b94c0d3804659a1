"""Stores recorded requests with their content: only a few, compressed, and for a short time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import zstandard

from app.accounts.rows import pack_id, unpack_id
from app.sql import Connection

HOUR = 3600
# Rows that are deleted at once.
BATCH = 50
# The most bytes that a recording may unpack to.
MAX_UNPACKED = 64 << 20
# The most recordings that a page lists.
MAX_LISTED = 100

_encode = msgspec.msgpack.Encoder().encode


def keep_recordings(
    connection: Connection, made: Sequence[tuple[Any, str]], now: float, hours: int, megabytes: int
) -> None:
    """Stores recordings, each with its tenant. Deletes those older than `hours`, and the oldest beyond `megabytes`."""
    packer = zstandard.ZstdCompressor(level=3)
    for each, tenant in made:
        body = packer.compress(_encode(each))
        marked = pack_id(each.id)
        connection.execute("DELETE FROM recording WHERE id = ?", (marked,))
        row = (marked, round(now * 1000), tenant, len(body), body)
        connection.execute("INSERT INTO recording (id, made, tenant, size, body) VALUES (?, ?, ?, ?, ?)", row)
    connection.execute("DELETE FROM recording WHERE made < ?", ((now - hours * HOUR) * 1000,))
    while (connection.value("SELECT sum(size) FROM recording") or 0) > megabytes << 20:
        oldest = f"SELECT id FROM recording ORDER BY made LIMIT {BATCH}"
        if not connection.execute(f"DELETE FROM recording WHERE id IN ({oldest})").rowcount:
            return


def find_recording(connection: Connection, request_id: str) -> dict[str, Any] | None:
    """A recording as plain values, or None if there is none."""
    found = connection.value("SELECT body FROM recording WHERE id = ?", (pack_id(request_id),))
    if found is None:
        return None
    unpacked = zstandard.ZstdDecompressor().decompress(bytes(found), max_output_size=MAX_UNPACKED)
    message: dict[str, Any] = msgspec.msgpack.decode(unpacked)
    return message


def list_recordings(connection: Connection, tenant: str | None) -> list[dict[str, Any]]:
    """The ids of recordings of one tenant or of all, with time and size, newest first."""
    theirs, values = ("", ()) if tenant is None else ("WHERE tenant = ? ", (tenant,))
    newest = f"SELECT id, made, size FROM recording {theirs}ORDER BY made DESC LIMIT {MAX_LISTED}"
    rows = connection.tuples(newest, values)
    return [{"id": unpack_id(marked), "made": made / 1000, "size": size} for marked, made, size in rows]


def forget_recordings(connection: Connection) -> int:
    """Deletes all recordings. Returns how many there were."""
    return int(connection.execute("DELETE FROM recording").rowcount)
