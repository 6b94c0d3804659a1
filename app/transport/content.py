"""Decodes content encodings incrementally, of requests and replies.

Upstreams are asked for plain bytes; some compress all the same. Few bytes may unpack to any number of them, so nothing
is unpacked further than its taker asks. Pure.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import brotli
import zstandard

# The plain bytes of one part, more or less.
PART = 256 * 1024
# What is left of the input is copied at the end of each gzip member and zstandard frame, of which twenty bytes can be
# one: as much input as this is looked at in one step, so that the whole stays linear.
_STEP = 2048
# One step gives all that its input holds, and a block that says "128 KB of the same byte" is four bytes long.
_ZSTD_STEP = 64
# Nobody packs a packed body; each layer may cost its reader as much as the body itself.
MOST_LAYERS = 3


class ContentDecoder(Protocol):
    """Takes the encoded bytes in pieces cut anywhere."""

    def decode(self, data: bytes) -> Iterator[bytes]:
        """What `data` adds to the plain bytes, in parts, to be taken to the end. Raises ValueError."""

    def finish(self) -> None:
        """Raises EOFError if the encoded bytes ended too early."""


def list_encodings(header: str) -> list[str]:
    """The encodings that a `content-encoding` header lists, in the order they were applied (RFC 9110 section 8.4)."""
    return [name for part in header.lower().split(",") if (name := part.strip()) not in ("", "identity")]


def content_decoder(encodings: Sequence[str]) -> ContentDecoder | None:
    """The decoder for a list of encodings; None if there is nothing to undo or no way to undo it."""
    if not 0 < len(encodings) <= MOST_LAYERS or any(name not in DECODERS for name in encodings):
        return None
    layers = [DECODERS[name]() for name in reversed(encodings)]
    return layers[0] if len(layers) == 1 else _Layers(layers)


class _Zlib:
    """One member may follow another (RFC 1952 section 2.2); `begin` makes the inflater for one from its first bytes."""

    def __init__(self, name: str, begin: Callable[[bytes], Any]) -> None:
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
                self._inflater = self._begin(data)
            inflater = self._inflater
            full = True
            # What is left inside may be more than what is left of the input.
            while full and not inflater.eof:
                part = self._inflate(data)
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
        self._decompressor = brotli.Decompressor()

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
        except brotli.error as error:
            raise _other_bytes("brotli") from error


class _Zstandard:
    """One frame may follow another (RFC 8878 section 3)."""

    def __init__(self) -> None:
        self._inflater = zstandard.ZstdDecompressor().decompressobj()

    def decode(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), _ZSTD_STEP):
            step = data[start : start + _ZSTD_STEP]
            while step:
                if self._inflater.eof:
                    self._inflater = zstandard.ZstdDecompressor().decompressobj()
                try:
                    yield self._inflater.decompress(step)
                except zstandard.ZstdError as error:
                    raise _other_bytes("zstandard") from error
                step = self._inflater.unused_data

    def finish(self) -> None:
        if not self._inflater.eof:
            raise _early_end("zstandard")


class _Layers:
    """The last encoding that was applied is the first to be undone."""

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
    """Gzip or zlib, told apart by the header."""
    return zlib.decompressobj(zlib.MAX_WBITS | 32)


def _begin_deflate(data: bytes) -> Any:
    """`deflate` means zlib (RFC 9110 section 8.4.1.2), but some send it without the zlib header."""
    return zlib.decompressobj(zlib.MAX_WBITS if data[0] & 0x0F == zlib.DEFLATED else -zlib.MAX_WBITS)


DECODERS: dict[str, Callable[[], ContentDecoder]] = {
    "gzip": lambda: _Zlib("gzip", _begin_gzip),
    "x-gzip": lambda: _Zlib("gzip", _begin_gzip),
    "deflate": lambda: _Zlib("deflate", _begin_deflate),
    "br": _Brotli,
    "zstd": _Zstandard,
}


def _other_bytes(name: str) -> ValueError:
    return ValueError(f"is not the {name} that it claims to be")


def _early_end(name: str) -> EOFError:
    return EOFError(f"ended in the middle of its {name}")
