"""Specifies how compressed replies are undone, a piece at a time."""

from __future__ import annotations

import gzip
import zlib
from functools import partial

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from app.transport.content import PART, ContentDecoder, content_decoder, list_encodings

TEXT = 'data: {"text":"¿qué? 🐉"}\n\n'.encode() * 20


def deflate(data: bytes, window: int) -> bytes:
    compressor = zlib.compressobj(wbits=window)
    return compressor.compress(data) + compressor.flush()


PACK = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "Deflate": lambda data: deflate(data, -15),
    "zstd": zstandard.compress,
    "br": partial(brotli.compress, quality=5),
}
# The second name of an encoding stands for another shape of it.
ENCODED = {
    "gzip": gzip.compress(TEXT),
    "x-gzip": gzip.compress(TEXT[:100]) + gzip.compress(TEXT[100:]),
    "deflate": deflate(TEXT, 15),
    "Deflate": deflate(TEXT, -15),
    "br": brotli.compress(TEXT),
    "zstd": zstandard.ZstdCompressor().compress(TEXT),
    "Zstd": zstandard.compress(TEXT[:100]) + zstandard.compress(TEXT[100:]),
    "identity, gzip": gzip.compress(TEXT),
    "br, gzip": gzip.compress(brotli.compress(TEXT)),
}


def decoder_of(encoding: str) -> ContentDecoder:
    decoder = content_decoder(list_encodings(encoding))
    assert decoder is not None
    return decoder


def decode(decoder: ContentDecoder, data: bytes) -> bytes:
    return b"".join(decoder.decode(data))


@pytest.mark.parametrize("encoding", ENCODED)
@given(size=st.integers(1, 200))
def test_pieces_of_any_size_give_the_text(encoding: str, size: int) -> None:
    encoded = ENCODED[encoding]
    decoder = decoder_of(encoding)

    plain = b"".join(decode(decoder, encoded[start : start + size]) for start in range(0, len(encoded), size))
    decoder.finish()

    assert plain == TEXT


@pytest.mark.parametrize("encoding", ENCODED)
def test_an_early_end_is_noticed(encoding: str) -> None:
    decoder = decoder_of(encoding)
    decode(decoder, ENCODED[encoding][:-9])

    with pytest.raises(EOFError):
        decoder.finish()


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
def test_nothing_at_all_is_an_early_end(encoding: str) -> None:
    decoder = decoder_of(encoding)

    assert decode(decoder, b"") == b""
    with pytest.raises(EOFError):
        decoder.finish()


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
def test_other_bytes_are_refused(encoding: str) -> None:
    decoder = decoder_of(encoding)

    with pytest.raises(ValueError, match="not valid"):
        decode(decoder, b"\xff{'not': 'compressed'}" * 9)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "Deflate", "br", "zstd", "br, gzip", "gzip, zstd"])
def test_what_unpacks_to_very_much_does_so_in_parts(encoding: str) -> None:
    zeros = bytes(200 * PART)
    packed = zeros
    for name in list_encodings(encoding):
        packed = PACK["Deflate" if encoding == "Deflate" else name](packed)
    largest = total = 0

    for part in decoder_of(encoding).decode(packed):
        assert not any(part[:1] + part[-1:])
        largest, total = max(largest, len(part)), total + len(part)

    assert total == len(zeros)
    assert largest <= 64 * PART


@pytest.mark.parametrize("encoding", ["", "identity", " Identity ,", "rot13", "gzip, rot13", "gzip, gzip, gzip, gzip"])
def test_what_cannot_be_undone_stays(encoding: str) -> None:
    assert content_decoder(list_encodings(encoding)) is None


def test_a_flushed_piece_is_decoded_without_waiting_for_the_next() -> None:
    compressor = zlib.compressobj(wbits=31)
    piece = compressor.compress(b"data: 1\n\n") + compressor.flush(zlib.Z_SYNC_FLUSH)

    assert decode(decoder_of("gzip"), piece) == b"data: 1\n\n"
