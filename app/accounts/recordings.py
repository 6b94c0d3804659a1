"""Stores recorded requests with their content: only a few, compressed, and for a short time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from app.accounts.queries import find_texts
from app.accounts.rows import pack_id, unpack_id
from app.sql import Connection

HOUR = 3600
# Rows that are deleted at once.
BATCH = 50
# The most bytes that a recording may unpack to.
MAX_UNPACKED = 64 << 20
# The most recordings that a page lists.
MAX_LISTED = 100
# What a request's row holds as numbers of names.
_NAMED = ("agent", "model", "error")

_encode = msgspec.msgpack.Encoder().encode


def keep_recordings(
    connection: Connection, made: Sequence[tuple[Any, str]], now: float, hours: int, megabytes: int
) -> None:
    """Stores recordings, each with its tenant. Deletes those older than `hours`, and the oldest beyond `megabytes`."""
    import zstandard  # few workers record

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
    import zstandard

    unpacked = zstandard.ZstdDecompressor().decompress(bytes(found), max_output_size=MAX_UNPACKED)
    message: dict[str, Any] = msgspec.msgpack.decode(unpacked)
    return message


def list_recordings(connection: Connection, tenant: str | None) -> list[dict[str, Any]]:
    """The recordings of one tenant or of all, newest first: id, time and size, and the client, model, status and
    failure of the request, which are empty if its row is gone."""
    theirs, values = ("", ()) if tenant is None else ("WHERE recording.tenant = ? ", (tenant,))
    rows = connection.rows(
        f"SELECT recording.id, made, size, agent, model, error, status FROM recording LEFT JOIN request "
        f"ON request.id = recording.id {theirs}ORDER BY made DESC LIMIT {MAX_LISTED}",
        values,
    )
    texts = find_texts(connection, {row[column] for row in rows for column in _NAMED if row[column] is not None})
    for row in rows:
        row.update(id=unpack_id(row["id"]), made=row["made"] / 1000)
        row.update({column: texts.get(row[column], "") for column in _NAMED})
    return rows


def forget_recordings(connection: Connection) -> int:
    """Deletes all recordings. Returns how many there were."""
    return int(connection.execute("DELETE FROM recording").rowcount)
