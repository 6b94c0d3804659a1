"""Cuts what one read brought into pieces, and lets other requests run in between."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from itertools import islice

from app.dialects.contract import StreamPassthrough
from app.dialects.json_bodies import repair_escapes
from app.fairness import give_way
from app.gateway.replies.reply_headers import clean_events

# A part of up to CALM bytes, or a larger one of up to MAX_LINES lines, is processed at once; any other in pieces of
# PIECE bytes, between which other requests run.
CALM = 8 * 1024
MAX_LINES = 1500
PIECE = 2 * 1024
# Bytes after which to see whether the events have become a run: a text or two, and what comes before it.
STEP = 512


def in_pieces(part: bytes) -> Iterator[bytes]:
    """Cuts the bytes of a stream into pieces if they hold many events, and lets other requests run in between: an event
    of ten bytes costs as much as one of a thousand."""
    if len(part) <= CALM or not _has_many_lines(part):
        yield part
        return
    for start in range(0, len(part), PIECE):
        yield part[start : start + PIECE]
        give_way()


def _has_many_lines(part: bytes) -> bool:
    """Whether a part has more than MAX_LINES lines, by LF and by CR. It may be a whole body, so no more lines than that
    are taken apart. To count LF takes longer, for Python then looks at each byte."""
    lines = len(list(islice(BytesIO(part), MAX_LINES + 1)))
    return lines + (part.count(b"\r") if b"\r" in part else 0) > MAX_LINES


def pass_on(stream: StreamPassthrough, run: bytes, part: bytes) -> Iterator[bytes]:
    """Yields the client's output for one read, in pieces between which other requests run. `run` is the output for the
    beginning of the read, which is already processed, and `part` the bytes after it."""
    fed, more, parts = 0, b"", [run] if run else []
    # After the first events, the rest may be a run of plain ones, which is cheap enough to need no pieces.
    while not more and fed < PIECE and len(part) > CALM and (end := part.find(b"\n\n", STEP) + 2) > 1:
        first = clean_events(stream.feed(repair_escapes(part[:end])))
        more, part = stream.run(part[end:])
        parts += (first, more)
        fed += end
    for piece in in_pieces(repair_escapes(part)):  # runs contain nothing to be repaired
        parts.append(clean_events(stream.feed(piece)))
        yield b"".join(parts)
        parts.clear()
