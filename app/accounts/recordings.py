"""Recordings of requests with their content: few, for a short time, packed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import zstandard
from sqlalchemy import Connection, delete, func, insert, select

from app.accounts.engine import recording
from app.accounts.rows import pack_id, unpack_id

HOUR = 3600
# Rows that are thrown away at once.
BATCH = 50
# Bytes that one recording may unpack to.
MOST_UNPACKED = 64 << 20

_encode = msgspec.msgpack.Encoder().encode


def keep_recordings(
    connection: Connection, made: Sequence[tuple[Any, str]], now: float, hours: int, megabytes: int
) -> None:
    """Keeps recordings, each with its tenant, and throws away what is older than `hours`, or too much."""
    packer = zstandard.ZstdCompressor(level=3)
    for each, tenant in made:
        body = packer.compress(_encode(each))
        row = {
            "id": pack_id(each.id), "made": round(now * 1000), "tenant": tenant, "size": len(body), "body": body,
        }  # fmt: skip
        connection.execute(delete(recording).where(recording.c.id == row["id"]))
        connection.execute(insert(recording).values(row))
    connection.execute(delete(recording).where(recording.c.made < (now - hours * HOUR) * 1000))
    while (connection.execute(select(func.sum(recording.c.size))).scalar() or 0) > megabytes << 20:
        oldest = select(recording.c.id).order_by(recording.c.made).limit(BATCH)
        if not connection.execute(delete(recording).where(recording.c.id.in_(oldest.scalar_subquery()))).rowcount:
            return


def find_recording(connection: Connection, request_id: str) -> dict[str, Any] | None:
    """A recording as plain values; None where there is none."""
    found = connection.execute(select(recording.c.body).where(recording.c.id == pack_id(request_id))).scalar()
    if found is None:
        return None
    unpacked = zstandard.ZstdDecompressor().decompress(bytes(found), max_output_size=MOST_UNPACKED)
    told: dict[str, Any] = msgspec.msgpack.decode(unpacked)
    return told


def list_recordings(connection: Connection, tenant: str | None, limit: int = 100) -> list[dict[str, Any]]:
    """The ids of recordings with time and size, the newest first."""
    wanted = select(recording.c.id, recording.c.made, recording.c.size).order_by(recording.c.made.desc()).limit(limit)
    if tenant is not None:
        wanted = wanted.where(recording.c.tenant == tenant)
    return [{"id": unpack_id(row.id), "made": row.made / 1000, "size": row.size} for row in connection.execute(wanted)]


def forget_recordings(connection: Connection) -> int:
    """Throws all of them away; how many there were."""
    return connection.execute(delete(recording)).rowcount
