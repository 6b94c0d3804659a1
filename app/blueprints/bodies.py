"""Reads request bodies: whole, decoded and within the size limit."""

from __future__ import annotations

import io
from codecs import BOM_UTF8
from collections.abc import Iterator, Sequence
from typing import IO

from app.errors import DragomanError, InvalidRequest, TooLarge, UnsupportedEncoding
from app.fairness import give_way
from app.gateway.large_bodies.body_budget import Hold
from app.gateway.large_bodies.heavy_work import run_heavy
from app.json_values import MAX_VALUES, has_too_many_values
from app.json_values import SMALL as VALUES_UNSEEN
from app.transport.content import DECODERS, MAX_LAYERS, ContentDecoder, content_decoder, list_encodings

# The first bytes of bodies in these encodings.
MAGIC = {"zstd": b"\x28\xb5\x2f\xfd", "gzip": b"\x1f\x8b"}


# The most characters of a header that an error message quotes.
MAX_QUOTED = 64
# A body up to this size is read at once, and does not count towards the budget.
SMALL = 64 * 1024
# Bytes that are read or unpacked before other requests get their turn.
STEP = 256 * 1024
# A compressed body may unpack to the larger of this many bytes and this many times its size. The text of a whole
# context window is smaller, and larger bodies contain images, which hardly compress.
MAX_UNPACKED = 8 * 1024 * 1024
MAX_TIMES = 20


def read_body(stream: IO[bytes], length: int | None, encoding: str, limit: int, hold: Hold | None = None) -> bytes:
    """The decoded bytes of a body. `length` is the announced size on the wire, `limit` the most decoded bytes. Bodies
    that are not small are charged to `hold`.

    zstd and gzip are recognised by their first bytes if the Content-Encoding header got lost on the way. Raises
    TooLarge, UnsupportedEncoding, InvalidRequest, NoRoom.
    """
    if length is not None and length > limit:
        raise too_large(limit)
    try:
        if length is not None and length <= SMALL:
            raw = stream.read(length)
        else:
            raw = _gather(_read_pieces(stream, length), limit, hold, length)
    except DragomanError:
        raise
    except Exception as error:
        # Whatever the HTTP server raises for malformed chunks, trailers and lengths.
        raise InvalidRequest(
            f"cannot read the request body ({type(error).__name__}); check its length or chunks"
        ) from error
    if length is not None and len(raw) < length:
        raise InvalidRequest(f"the request body ended after {len(raw)} of {length} bytes")
    if not encoding and raw[:1] == b"{" and len(raw) <= VALUES_UNSEEN:
        return raw
    names = list_encodings(encoding) if encoding else [name for name, magic in MAGIC.items() if raw.startswith(magic)]
    if names:
        raw = _unpack_body(raw, names, encoding, limit, hold)
    if len(raw) > VALUES_UNSEEN and run_heavy(len(raw), has_too_many_values, raw):
        raise TooLarge(f"the request body contains more than {MAX_VALUES:,} values")
    # Windows shells put a byte order mark at the beginning of a file.
    return raw.removeprefix(BOM_UTF8)


def _unpack_body(raw: bytes, names: Sequence[str], encoding: str, limit: int, hold: Hold | None) -> bytes:
    decoder = content_decoder(names)
    if decoder is None:
        known = ", ".join(DECODERS)
        message = f"Content-Encoding {encoding[:MAX_QUOTED]!r} is not one of {known}, or a list of up to {MAX_LAYERS}"
        raise UnsupportedEncoding(message)
    maximum = max(MAX_UNPACKED, MAX_TIMES * len(raw))
    try:
        return _gather(_unpack(raw, decoder), min(limit, maximum), hold, packed=maximum < limit)
    except (ValueError, EOFError) as error:
        raise InvalidRequest(f"the request body {error}") from error


def read_length(header: str | None) -> int | None:
    """The announced size of a body, or None. Raises InvalidRequest."""
    if not header:
        return None
    if not (header.isascii() and header.isdecimal() and len(header) < 20):
        raise InvalidRequest("Content-Length must be a number of bytes")
    return int(header)


def check_transfer(header: str) -> None:
    """Raises InvalidRequest for a transfer coding that is not decoded here: its bytes would be taken for the body."""
    if header.strip().lower() != "chunked":
        raise InvalidRequest(f"Transfer-Encoding {header[:MAX_QUOTED]!r} is not supported; use chunked")


def _read_pieces(stream: IO[bytes], length: int | None) -> Iterator[bytes]:
    left = length
    while left is None or left > 0:
        piece = stream.read(STEP if left is None else min(STEP, left))
        if not piece:
            return
        if left is not None:
            left -= len(piece)
        yield piece


def _unpack(raw: bytes, decoder: ContentDecoder) -> Iterator[bytes]:
    yield from decoder.decode(raw)
    decoder.finish()


def _gather(
    pieces: Iterator[bytes], limit: int, hold: Hold | None, announced: int | None = None, *, packed: bool = False
) -> bytes:
    """Joins all pieces with as little copying as possible. An announced size is charged to `hold` at once: otherwise
    clients that come together could all be refused halfway. `packed` says that `limit` is the one for compressed
    bodies. Raises TooLarge, NoRoom."""
    whole = io.BytesIO()
    size = rested = 0
    if hold is not None and announced is not None:
        hold.take(announced)
    for piece in pieces:
        size += len(piece)
        if size > limit:
            raise _unpacks_too_far(limit) if packed else too_large(limit)
        if hold is not None and announced is None:
            hold.take(len(piece))
        whole.write(piece)
        if size - rested >= STEP:
            rested = size
            give_way()
    return whole.getvalue()


def too_large(limit: int) -> TooLarge:
    """The refusal of a body of more than `limit` bytes."""
    return TooLarge(f"the request body is larger than {limit // (1024 * 1024)} MB; see server.max_body_mb")


def _unpacks_too_far(limit: int) -> TooLarge:
    return TooLarge(
        f"the request body unpacks to more than {limit // (1024 * 1024)} MB, which is more than {MAX_TIMES} times its "
        "size; send it uncompressed"
    )
