"""Decodes content encodings of requests and replies incrementally.

Upstreams are asked for plain bytes, but some compress anyway. A few bytes may unpack to any number, so nothing is
unpacked before its consumer asks for it. Pure. The libraries for brotli and zstandard are loaded when they are needed:
with them, a worker would take half a megabyte more.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

# The approximate number of plain bytes in one part.
PART = 256 * 1024
# Bytes of input per step. The rest of a step's input is copied at the end of each gzip member or zstandard frame, which
# may be as short as twenty bytes. Small steps keep the total cost linear.
_STEP = 2048
# The same for zstandard, which returns everything that a step's input holds: four bytes can be a block of 128 KB.
_ZSTD_STEP = 64
# Beginning a gzip member or zstandard frame costs as much as unpacking MEMBER bytes. Nearly empty ones may be FEW.
MEMBER = 64
FEW = 1000
# The most encodings of one body. Nobody needs more, and each layer may cost as much as the body itself.
MAX_LAYERS = 3


class ContentDecoder(Protocol):
    """Decodes bytes that arrive in pieces cut anywhere."""

    def decode(self, data: bytes) -> Iterator[bytes]:
        """The plain bytes in `data`, in parts. The iterator must be exhausted. Raises ValueError."""

    def finish(self) -> None:
        """Ends the input. Raises EOFError if the encoded bytes are incomplete."""


def list_encodings(header: str) -> list[str]:
    """The encodings in a `content-encoding` header, in the order they were applied (RFC 9110 section 8.4)."""
    return [name for part in header.lower().split(",") if (name := part.strip()) not in ("", "identity")]


def content_decoder(encodings: Sequence[str]) -> ContentDecoder | None:
    """The decoder for a list of encodings. None if the list is empty, too long, or has an unknown encoding."""
    if not 0 < len(encodings) <= MAX_LAYERS or any(name not in DECODERS for name in encodings):
        return None
    layers = [DECODERS[name]() for name in reversed(encodings)]
    return layers[0] if len(layers) == 1 else _Layers(layers)


class _Members:
    """Counts the members or frames of a body, so that nobody sends a million empty ones."""

    def __init__(self) -> None:
        self._credit = FEW * MEMBER

    def _begin_next(self) -> None:
        self._credit -= MEMBER
        if self._credit < 0:
            raise ValueError("consists of too many parts with next to nothing in them")


class _Zlib(_Members):
    """Decodes gzip or deflate. Several members may follow each other (RFC 1952 section 2.2). `begin` creates the
    inflater for a member from its first bytes."""

    def __init__(self, name: str, begin: Callable[[bytes], Any]) -> None:
        super().__init__()
        self._name = name
        self._begin = begin
        self._inflater: Any = None

    def decode(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), _STEP):
            yield from self._decode_step(data[start : start + _STEP])

    def finish(self) -> None:
        if self._inflater is None or not self._inflater.eof:
            raise _early_end(self._name)

    def _decode_step(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._inflater is None or self._inflater.eof:
                self._begin_next()
                self._inflater = self._begin(data)
            inflater = self._inflater
            full = True
            # The inflater may still hold output when the input is used up.
            while full and not inflater.eof:
                part = self._inflate(data)
                self._credit += len(part)
                yield part
                data = inflater.unconsumed_tail
                full = len(part) == PART
            data = inflater.unused_data

    def _inflate(self, data: bytes) -> bytes:
        try:
            return bytes(self._inflater.decompress(data, PART))
        except zlib.error as error:
            raise _other_bytes(self._name) from error


class _Brotli:
    def __init__(self) -> None:
        import brotli

        self._decompressor = brotli.Decompressor()
        self._error = brotli.error

    def decode(self, data: bytes) -> Iterator[bytes]:
        while not self._decompressor.is_finished() and (part := self._process(data)):
            yield part
            data = b""

    def finish(self) -> None:
        if not self._decompressor.is_finished():
            raise _early_end("brotli")

    def _process(self, data: bytes) -> bytes:
        try:
            return bytes(self._decompressor.process(data, output_buffer_limit=PART))
        except self._error as error:
            raise _other_bytes("brotli") from error


class _Zstandard(_Members):
    """Decodes zstandard. Several frames may follow each other (RFC 8878 section 3)."""

    def __init__(self) -> None:
        import zstandard

        super().__init__()
        self._begin = zstandard.ZstdDecompressor().decompressobj
        self._error = zstandard.ZstdError
        self._inflater = self._begin()

    def decode(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), _ZSTD_STEP):
            step = data[start : start + _ZSTD_STEP]
            while step:
                if self._inflater.eof:
                    self._begin_next()
                    self._inflater = self._begin()
                try:
                    part = self._inflater.decompress(step)
                except self._error as error:
                    raise _other_bytes("zstandard") from error
                self._credit += len(part)
                yield part
                step = self._inflater.unused_data

    def finish(self) -> None:
        if not self._inflater.eof:
            raise _early_end("zstandard")


class _Layers:
    """Decodes several encodings, beginning with the one applied last."""

    def __init__(self, decoders: list[ContentDecoder]) -> None:
        self._decoders = decoders

    def decode(self, data: bytes) -> Iterator[bytes]:
        parts: Iterable[bytes] = (data,)
        for decoder in self._decoders:
            parts = _decode_each(decoder, parts)
        return iter(parts)

    def finish(self) -> None:
        for decoder in self._decoders:
            decoder.finish()


def _decode_each(decoder: ContentDecoder, parts: Iterable[bytes]) -> Iterator[bytes]:
    for part in parts:
        yield from decoder.decode(part)


def _begin_gzip(_: bytes) -> Any:
    """An inflater for gzip or zlib, which it distinguishes by the header."""
    return zlib.decompressobj(zlib.MAX_WBITS | 32)


def _begin_deflate(data: bytes) -> Any:
    """An inflater for `deflate`. It means zlib (RFC 9110 section 8.4.1.2), but some omit zlib's header."""
    return zlib.decompressobj(zlib.MAX_WBITS if data[0] & 0x0F == zlib.DEFLATED else -zlib.MAX_WBITS)


DECODERS: dict[str, Callable[[], ContentDecoder]] = {
    "gzip": lambda: _Zlib("gzip", _begin_gzip),
    "x-gzip": lambda: _Zlib("gzip", _begin_gzip),
    "deflate": lambda: _Zlib("deflate", _begin_deflate),
    "br": _Brotli,
    "zstd": _Zstandard,
}


def _other_bytes(name: str) -> ValueError:
    return ValueError(f"is not valid {name}")


def _early_end(name: str) -> EOFError:
    return EOFError(f"ended in the middle of its {name}")
