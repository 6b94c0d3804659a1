"""Request bodies: every encoding, and never more than the limit."""

from __future__ import annotations

import gzip
import io
import tracemalloc
import zlib
from functools import partial

import brotli
import pytest
import zstandard

from app.blueprints.bodies import read_body
from app.errors import InvalidRequest, TooLarge, UnsupportedEncoding

PLAIN = b'{"model":"m","text":"' + b"word " * 5000 + b'"}'
LIMIT = 1024 * 1024


def read(raw: bytes, encoding: str = "", limit: int = LIMIT) -> bytes:
    return read_body(io.BytesIO(raw), len(raw), encoding, limit)


def bare_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


PACK = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstandard.compress,
    "br": partial(brotli.compress, quality=5),
}
PACKED = {
    "gzip": gzip.compress(PLAIN),
    "gzip, gzip": gzip.compress(gzip.compress(PLAIN)),
    "identity, br, GZIP": gzip.compress(brotli.compress(PLAIN)),
    "deflate": zlib.compress(PLAIN),
    "zstd": zstandard.compress(PLAIN),
    "br": brotli.compress(PLAIN),
}


@pytest.mark.parametrize("encoding", list(PACKED))
def test_a_packed_body_is_read_as_the_plain_one(encoding: str) -> None:
    assert read(PACKED[encoding], encoding) == PLAIN


def test_a_byte_order_mark_before_the_text_is_no_part_of_it() -> None:
    marked = b"\xef\xbb\xbf" + PLAIN

    assert read(marked) == PLAIN
    assert read(gzip.compress(marked), "gzip") == PLAIN


def test_deflate_without_its_header_is_read_too() -> None:
    assert read(bare_deflate(PLAIN), "deflate") == PLAIN


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_packed_body_that_lost_its_header_is_recognised(encoding: str) -> None:
    assert read(PACKED[encoding]) == PLAIN


def test_an_unknown_encoding_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedEncoding, match="'foo'"):
        read(PLAIN, "foo")


def test_members_and_frames_that_follow_one_another_are_one_body() -> None:
    assert read(gzip.compress(PLAIN[:99]) + gzip.compress(PLAIN[99:]), "gzip") == PLAIN
    assert read(zstandard.compress(PLAIN[:99]) + zstandard.compress(PLAIN[99:]), "zstd") == PLAIN


@pytest.mark.parametrize("encoding", list(PACKED))
def test_a_packed_body_that_breaks_off_is_refused(encoding: str) -> None:
    with pytest.raises(InvalidRequest, match="the request body ended in the middle of its"):
        read(PACKED[encoding][: len(PACKED[encoding]) // 2], encoding)


@pytest.mark.parametrize("encoding", list(PACK))
def test_a_bomb_is_refused_before_it_is_unpacked(encoding: str) -> None:
    zeros = bytes(64 * LIMIT)
    bomb = PACK[encoding](zeros)
    del zeros
    tracemalloc.start()

    with pytest.raises(TooLarge, match="1 MB"):
        read(bomb, encoding)
    maximum = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert maximum < 40 * LIMIT


def test_a_body_beyond_the_limit_is_not_even_read() -> None:
    stream = io.BytesIO(b"x")

    with pytest.raises(TooLarge):
        read_body(stream, LIMIT + 1, "", LIMIT)

    assert stream.tell() == 0


def test_a_body_of_unknown_length_is_read_to_the_limit_only() -> None:
    with pytest.raises(TooLarge):
        read_body(io.BytesIO(bytes(LIMIT + 2)), None, "", LIMIT)


def test_a_body_shorter_than_announced_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="ended after 2 of 9 bytes"):
        read_body(io.BytesIO(b"{}"), 9, "", LIMIT)
