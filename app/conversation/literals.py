"""This file is the handling of JSON string literals, the form in which text moves through a stream.

A literal is the bytes of one JSON string, quotes included, exactly as an upstream sent it. Most paths only move it
from one frame into another, so nothing is unescaped and escaped again, and a surrogate pair that an upstream split
over two deltas is whole again once the two are joined.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

import msgspec

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(str).decode

EMPTY = b'""'


def literal(text: str) -> bytes:
    """The literal of `text`. A lone surrogate, which UTF-8 cannot hold, is written as an escape."""
    try:
        return _encode(text)
    except UnicodeEncodeError:
        return json.dumps(text).encode("ascii")


def text_of(value: bytes) -> str:
    """The characters of a literal; lone surrogate escapes survive as lone surrogates."""
    try:
        return _decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return str(json.loads(value.decode("utf-8", "replace"), strict=False))


def join(values: Iterable[bytes]) -> bytes:
    """One literal of several, in order."""
    return b'"' + b"".join([value[1:-1] for value in values]) + b'"'
