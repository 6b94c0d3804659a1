"""This file specifies how compressed replies are undone, a piece at a time."""

from __future__ import annotations

import gzip
import zlib

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from app.errors import UpstreamCut, UpstreamMalformed
from app.transport.content import content_decoder

TEXT = 'data: {"text":"¿qué? 🐉"}\n\n'.encode() * 20


def deflate(data: bytes, window: int) -> bytes:
    compressor = zlib.compressobj(wbits=window)
    return compressor.compress(data) + compressor.flush()


ENCODED = {
    "gzip": gzip.compress(TEXT),
    "x-gzip": gzip.compress(TEXT[:100]) + gzip.compress(TEXT[100:]),
    "deflate": deflate(TEXT, 15),
    "Deflate": deflate(TEXT, -15),
    "br": brotli.compress(TEXT),
    "zstd": zstandard.ZstdCompressor().compress(TEXT),
    "identity, gzip": gzip.compress(TEXT),
    "br, gzip": gzip.compress(brotli.compress(TEXT)),
}


@pytest.mark.parametrize("encoding", ENCODED)
@given(size=st.integers(1, 200))
def test_pieces_of_any_size_give_the_text(encoding: str, size: int) -> None:
    encoded = ENCODED[encoding]
    decoder = content_decoder(encoding)
    assert decoder is not None

    plain = b"".join(decoder.decode(encoded[start : start + size]) for start in range(0, len(encoded), size))
    decoder.finish()

    assert plain == TEXT


@pytest.mark.parametrize("encoding", ENCODED)
def test_an_early_end_is_a_cut(encoding: str) -> None:
    decoder = content_decoder(encoding)
    assert decoder is not None
    decoder.decode(ENCODED[encoding][:-9])

    with pytest.raises(UpstreamCut):
        decoder.finish()


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
def test_other_bytes_are_malformed(encoding: str) -> None:
    decoder = content_decoder(encoding)
    assert decoder is not None

    with pytest.raises(UpstreamMalformed, match="not the"):
        decoder.decode(b"\xff{'not': 'compressed'}" * 9)


@pytest.mark.parametrize("encoding", ["", "identity", " Identity ,", "rot13", "gzip, rot13"])
def test_what_cannot_be_undone_stays(encoding: str) -> None:
    assert content_decoder(encoding) is None


def test_a_flushed_piece_is_decoded_without_waiting_for_the_next() -> None:
    compressor = zlib.compressobj(wbits=31)
    piece = compressor.compress(b"data: 1\n\n") + compressor.flush(zlib.Z_SYNC_FLUSH)
    decoder = content_decoder("gzip")
    assert decoder is not None

    assert decoder.decode(piece) == b"data: 1\n\n"
