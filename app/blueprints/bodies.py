"""This file reads request bodies: whole, decoded, and never beyond the limit."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import IO

import brotli
import zstandard

from app.errors import InvalidRequest, TooLarge, UnsupportedEncoding

CHUNK = 256 * 1024
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
GZIP_MAGIC = b"\x1f\x8b"
# Windows' shells put one before the text of a file.
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


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
    name = encoding.strip().lower()
    if name in ("", "identity"):
        name = "zstd" if raw.startswith(ZSTD_MAGIC) else "gzip" if raw.startswith(GZIP_MAGIC) else ""
    if not name:
        return raw.removeprefix(BYTE_ORDER_MARK)
    decode = DECODERS.get(name)
    if decode is None:
        raise UnsupportedEncoding(f"Content-Encoding {name!r} is not one of {', '.join(DECODERS)}")
    try:
        return _join(decode(raw), limit).removeprefix(BYTE_ORDER_MARK)
    except (zlib.error, zstandard.ZstdError, brotli.error, EOFError) as error:
        raise InvalidRequest(f"the request body is not valid {name}: {error}") from error


def _join(parts: Iterator[bytes], limit: int) -> bytes:
    whole = bytearray()
    for part in parts:
        whole += part
        if len(whole) > limit:
            raise _too_large(limit)
    return bytes(whole)


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the request body is larger than {limit // (1024 * 1024)} MB; see server.max_body_mb")


def _decode_gzip(raw: bytes) -> Iterator[bytes]:
    return _inflate(raw, 16 + zlib.MAX_WBITS)


def _decode_deflate(raw: bytes) -> Iterator[bytes]:
    """With the zlib header that the specification wants, or bare as some clients send it."""
    zlib_header = len(raw) > 1 and raw[0] & 0x0F == 8 and int.from_bytes(raw[:2], "big") % 31 == 0
    return _inflate(raw, zlib.MAX_WBITS if zlib_header else -zlib.MAX_WBITS)


def _inflate(raw: bytes, window: int) -> Iterator[bytes]:
    decoder = zlib.decompressobj(window)
    yield decoder.decompress(raw, CHUNK)
    while decoder.unconsumed_tail:
        yield decoder.decompress(decoder.unconsumed_tail, CHUNK)
    if not decoder.eof:
        raise EOFError("it ends too early")


def _decode_zstd(raw: bytes) -> Iterator[bytes]:
    decoder = zstandard.ZstdDecompressor().decompressobj()
    for start in range(0, len(raw), _ZSTD_STEP):
        yield decoder.decompress(raw[start : start + _ZSTD_STEP])
    if not decoder.eof:
        raise EOFError("it ends too early")


def _decode_brotli(raw: bytes) -> Iterator[bytes]:
    decoder = brotli.Decompressor()
    for start in range(0, len(raw), _BROTLI_STEP):
        yield decoder.process(raw[start : start + _BROTLI_STEP])
    if not decoder.is_finished():
        raise EOFError("it ends too early")


# One step of these decoders gives all that its input holds, so the steps are small: a block of zstd that says
# "128 KB of the same byte" is four bytes long.
_ZSTD_STEP = 4 * 1024
_BROTLI_STEP = 1024

DECODERS: dict[str, Callable[[bytes], Iterator[bytes]]] = {
    "gzip": _decode_gzip,
    "x-gzip": _decode_gzip,
    "deflate": _decode_deflate,
    "zstd": _decode_zstd,
    "br": _decode_brotli,
}
