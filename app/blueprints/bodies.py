"""Reads request bodies: whole, decoded, and never beyond the limit."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Iterator
from typing import IO

from app.errors import InvalidRequest, TooLarge, UnsupportedEncoding
from app.transport.content import DECODERS, MOST_LAYERS, ContentDecoder, content_decoder, list_encodings

# What the bodies of these encodings begin with.
MAGIC = {"zstd": b"\x28\xb5\x2f\xfd", "gzip": b"\x1f\x8b"}


def read_body(stream: IO[bytes], length: int | None, encoding: str, limit: int) -> bytes:
    """The plain bytes of a body. `length` is the announced size on the wire, `limit` that of the decoded body.

    A client that lost its Content-Encoding header on the way is recognised by the first bytes of zstd or gzip.
    Raises TooLarge, UnsupportedEncoding, InvalidRequest.
    """
    if length is not None and length > limit:
        raise _too_large(limit)
    raw = stream.read(limit + 1) if length is None else stream.read(length)
    if len(raw) > limit:
        raise _too_large(limit)
    if length is not None and len(raw) < length:
        raise InvalidRequest(f"the request body ended after {len(raw)} of {length} bytes")
    names = list_encodings(encoding) if encoding else [name for name, magic in MAGIC.items() if raw.startswith(magic)]
    if names:
        decoder = content_decoder(names)
        if decoder is None:
            raise UnsupportedEncoding(
                f"Content-Encoding {encoding!r} is not one of {', '.join(DECODERS)}, or a list of up to {MOST_LAYERS}"
            )
        try:
            raw = _join(_unpack(raw, decoder), limit)
        except (ValueError, EOFError) as error:
            raise InvalidRequest(f"the request body {error}") from error
    # Windows' shells put a byte order mark before the text of a file.
    return raw.removeprefix(BOM_UTF8)


def _unpack(raw: bytes, decoder: ContentDecoder) -> Iterator[bytes]:
    yield from decoder.decode(raw)
    decoder.finish()


def _join(parts: Iterator[bytes], limit: int) -> bytes:
    whole = bytearray()
    for part in parts:
        whole += part
        if len(whole) > limit:
            raise _too_large(limit)
    return bytes(whole)


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the request body is larger than {limit // (1024 * 1024)} MB; see server.max_body_mb")
