"""Wraps a proof so that it survives a client of another dialect.

`gw1.` and base64url of a JSON object: p the dialect, m the model, k the kind, d the originals verbatim. Text with any
other prefix is native to its sender. The envelope is not secret: the client could read the same bytes from the
upstream. A forged one gains nothing that the client could not send to the upstream itself.
"""

from __future__ import annotations

import base64
import binascii

import msgspec

from app.conversation.blocks import DialectName, Proof

PREFIX = "gw1."


class _Envelope(msgspec.Struct):
    p: DialectName
    k: str
    d: list[msgspec.Raw]
    m: str | None = None


_decoder = msgspec.json.Decoder(_Envelope)


def seal(proof: Proof) -> str:
    """The opaque text that a client stores and sends back. The same proof always gives the same text."""
    envelope = _Envelope(p=proof.dialect, k=proof.kind, d=[msgspec.Raw(raw) for raw in proof.originals], m=proof.model)
    return PREFIX + base64.urlsafe_b64encode(msgspec.json.encode(envelope)).decode("ascii")


def unseal(text: str) -> Proof | None:
    """The proof in an envelope; None if the text is not one of ours or is damaged."""
    if not text.startswith(PREFIX):
        return None
    try:
        envelope = _decoder.decode(base64.urlsafe_b64decode(text[len(PREFIX) :]))
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        return None
    return Proof(
        dialect=envelope.p, kind=envelope.k, originals=tuple(bytes(raw) for raw in envelope.d), model=envelope.m
    )


def is_sealed(text: str) -> bool:
    return text.startswith(PREFIX)
