"""This file undoes content encodings, a piece at a time.

Upstreams are asked for plain bytes; some compress all the same. Pure.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Protocol

import brotli
import zstandard

from app.errors import UpstreamCut, UpstreamMalformed


class ContentDecoder(Protocol):
    """Takes the encoded bytes in pieces cut anywhere."""

    def decode(self, data: bytes) -> bytes:
        """What `data` adds to the plain bytes; may be empty. Raises UpstreamMalformed."""

    def finish(self) -> None:
        """Raises UpstreamCut if the encoded bytes ended too early."""


def content_decoder(encoding: str) -> ContentDecoder | None:
    """The decoder for a `content-encoding` header; None if there is nothing to undo or no way to undo it.

    The header lists several encodings in the order they were applied (RFC 9110 section 8.4).
    """
    names = [name for part in encoding.lower().split(",") if (name := part.strip()) not in ("", "identity")]
    if not names or any(name not in _DECODERS for name in names):
        return None
    chain = [_DECODERS[name]() for name in reversed(names)]
    return chain[0] if len(chain) == 1 else _Chain(chain)


class _Gzip:
    """Gzip or zlib, told apart by the header; one member may follow another (RFC 1952 section 2.2)."""

    _ANY_HEADER = zlib.MAX_WBITS | 32

    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(self._ANY_HEADER)

    def decode(self, data: bytes) -> bytes:
        plain = b""
        try:
            while data:
                if self._inflater.eof:
                    self._inflater = zlib.decompressobj(self._ANY_HEADER)
                plain += self._inflater.decompress(data)
                data = self._inflater.unused_data
        except zlib.error as error:
            raise UpstreamMalformed("the upstream's reply is not the gzip it claims to be") from error
        return plain

    def finish(self) -> None:
        if not self._inflater.eof:
            raise _cut()


class _Deflate(_Gzip):
    """`deflate` means zlib (RFC 9110 section 8.4.1.2), but some servers send it without the zlib header."""

    def __init__(self) -> None:
        super().__init__()
        self._began = False

    def decode(self, data: bytes) -> bytes:
        if data and not self._began:
            self._began = True
            if data[0] & 0x0F != zlib.DEFLATED:
                self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        return super().decode(data)


class _Brotli:
    def __init__(self) -> None:
        self._decompressor = brotli.Decompressor()

    def decode(self, data: bytes) -> bytes:
        try:
            return bytes(self._decompressor.process(data))
        except brotli.error as error:
            raise UpstreamMalformed("the upstream's reply is not the brotli it claims to be") from error

    def finish(self) -> None:
        if not self._decompressor.is_finished():
            raise _cut()


class _Zstandard:
    def __init__(self) -> None:
        self._inflater = zstandard.ZstdDecompressor().decompressobj()

    def decode(self, data: bytes) -> bytes:
        try:
            return self._inflater.decompress(data)
        except zstandard.ZstdError as error:
            raise UpstreamMalformed("the upstream's reply is not the zstandard it claims to be") from error

    def finish(self) -> None:
        if not self._inflater.eof:
            raise _cut()


class _Chain:
    def __init__(self, decoders: list[ContentDecoder]) -> None:
        self._decoders = decoders

    def decode(self, data: bytes) -> bytes:
        for decoder in self._decoders:
            data = decoder.decode(data)
        return data

    def finish(self) -> None:
        for decoder in self._decoders:
            decoder.finish()


_DECODERS: dict[str, Callable[[], ContentDecoder]] = {
    "gzip": _Gzip,
    "x-gzip": _Gzip,
    "deflate": _Deflate,
    "br": _Brotli,
    "zstd": _Zstandard,
}


def _cut() -> UpstreamCut:
    return UpstreamCut("the upstream's compressed reply broke off", began=True)
