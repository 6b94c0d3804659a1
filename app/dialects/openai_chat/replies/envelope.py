"""Chunks and whole replies that a server wraps in the `data` of its own envelope, such as Cline's API.

Source: router-for-me/CLIProxyAPI#4512.
"""

from __future__ import annotations

import msgspec

from app.json_values import decode_or_none


class _Inner(msgspec.Struct):
    choices: list[msgspec.Raw] | None = None


class _Envelope(msgspec.Struct):
    data: msgspec.Raw = msgspec.Raw()


_envelope_decoder = msgspec.json.Decoder(_Envelope)
_inner_decoder = msgspec.json.Decoder(_Inner)


def open_envelope(payload: bytes) -> bytes | None:
    """The content of an envelope; None if there is none, or it contains no part of an answer."""
    if b'"data"' not in payload or b'"choices"' not in payload:
        return None
    data = (decode_or_none(payload, _envelope_decoder) or _Envelope()).data
    inner = decode_or_none(data, _inner_decoder)
    return bytes(data) if inner is not None and inner.choices is not None else None
