"""Parses and renders the fields that servers and clients use for reasoning.

The text has several names. Its proof is in `reasoning_details` (OpenRouter) or `thinking_blocks` (LiteLLM), whose
entries a server wants back unchanged. A proof from another dialect is carried in one entry of ours, whose `index` is
the number of such entries before it plus the thought's place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from app.conversation.blocks import CALL_PROOF, Block, Proof, Reasoning
from app.conversation.envelope import is_sealed, seal, unseal
from app.conversation.thoughts import Thought
from app.dialects.openai_chat.vocabulary import NAME, SEALED_FORMAT, WireDetail
from app.json_values import any_decoder, decode_or_none, list_decoder, object_decoder

# For proofs of this dialect, the kind names the field of the originals.
DETAILS, BLOCKS = "reasoning", "thinking"
FIELDS = {DETAILS: "reasoning_details", BLOCKS: "thinking_blocks"}

_detail = msgspec.json.Decoder(WireDetail)


def read_reasoning(text: str, details: Sequence[msgspec.Raw] = (), blocks: Sequence[msgspec.Raw] = ()) -> list[Thought]:
    """The reasoning of a past assistant message, one block per proof; the first has all the text."""
    proofs: list[tuple[int, Proof]] = []
    for kind, entries in ((DETAILS, details), (BLOCKS, blocks)):
        sealed, native = _split_sealed(entries)
        proofs.extend(sealed)
        if native:
            proofs.append((0, Proof(NAME, kind, tuple(native))))
    text = text or text_of_entries([*details] or [*blocks])
    if not proofs:
        return [Thought(0, Reasoning(text))] if text else []
    return [Thought(place, Reasoning(text if nth == 0 else "", proof)) for nth, (place, proof) in enumerate(proofs)]


def write_proof(proof: Proof, nth: int = 0, place: int = 0) -> dict[str, Any]:
    """The fields of a message or a delta that carry `proof`, the `nth` of its message, to a client and back."""
    if proof.dialect == NAME and proof.kind in FIELDS:
        return {FIELDS[proof.kind]: [msgspec.Raw(original) for original in proof.originals]}
    entry = {"type": "reasoning.encrypted", "data": seal(proof), "format": SEALED_FORMAT, "index": nth + place}
    return {"reasoning_details": [entry]}


def call_proof(extra_content: bytes) -> Proof:
    """The signature of a tool call (Gemini), which is returned with the call in the history."""
    return Proof(NAME, CALL_PROOF, (extra_content,))


def belongs_to_call(proof: Proof) -> bool:
    return proof.dialect == NAME and proof.kind == CALL_PROOF


def write_call_proof(proof: Proof | None) -> dict[str, Any]:
    """The field of a call that holds its proof; empty if it has no such proof."""
    return {"extra_content": msgspec.Raw(proof.originals[0])} if proof is not None and belongs_to_call(proof) else {}


def text_of_entries(entries: Iterable[msgspec.Raw]) -> str:
    """The text in entries, for servers that put it nowhere else."""
    details = [_read_detail(entry) for entry in entries]
    return "".join([detail.text or detail.summary or detail.thinking or "" for detail in details])


def entries_of(raw: msgspec.Raw) -> list[msgspec.Raw]:
    """The entries of a field that should be a list of objects; empty for anything else."""
    return decode_or_none(raw, list_decoder) or []


def merge_entries(pieces: Sequence[bytes]) -> tuple[bytes, ...]:
    """Whole entries merged from a stream's fragments, in order.

    Fragments of one entry are consecutive and have the same type and index: their texts are joined, and the last value
    of every other field counts. An entry that came in one piece stays unchanged, byte for byte.
    """
    merged: list[tuple[dict[str, Any], bytes]] = []
    for piece in pieces:
        entry = decode_or_none(piece, object_decoder)
        if entry is None:
            continue
        if merged and _continues(merged[-1][0], entry):
            whole = _append(merged[-1][0], entry)
            merged[-1] = (whole, msgspec.json.encode(whole))
        else:
            merged.append((entry, piece))
    return tuple(raw for _, raw in merged)


def _split_sealed(entries: Sequence[msgspec.Raw]) -> tuple[list[tuple[int, Proof]], list[bytes]]:
    """Proofs that we sealed, with their places, and the entries that a server made. Damaged envelopes are dropped."""
    sealed: list[tuple[int, Proof]] = []
    native: list[bytes] = []
    nth = 0
    for entry in entries:
        detail = _read_detail(entry)
        envelope = next((text for text in (detail.data, detail.signature) if text and is_sealed(text)), None)
        if envelope is None:
            native.append(bytes(entry))
            continue
        if (proof := unseal(envelope)) is not None:
            sealed.append((_read_index(detail.index) - nth, proof))
        nth += 1
    return sealed, native


def _read_index(raw: msgspec.Raw) -> int:
    """An index; 0 for anything invalid, which a client may have put there."""
    digits = bytes(raw)
    return int(digits) if digits.isdigit() and len(digits) < 10 else 0


def _read_detail(entry: msgspec.Raw) -> WireDetail:
    return decode_or_none(entry, _detail) or WireDetail()


_TEXTS = ("text", "summary", "thinking")


def _continues(entry: dict[str, Any], more: dict[str, Any]) -> bool:
    """Whether an entry continues the previous one; a signature or encrypted data ends an entry."""
    same = entry.get("type") == more.get("type") and entry.get("index") == more.get("index")
    return same and not entry.get("data") and not entry.get("signature") and not more.get("data")


def _append(entry: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    joined = {name: _text(entry.get(name)) + _text(more[name]) for name in _TEXTS if name in more}
    return {**entry, **{name: value for name, value in more.items() if value is not None}, **joined}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def read_signed(proof: Proof) -> list[Block]:
    """A block per entry, as Claude made it; empty unless all are signed."""
    blocks: list[Block] = []
    for original in proof.originals:
        match decode_or_none(original, any_decoder):  # it may come from an envelope, which anybody can seal
            case {"type": "redacted_thinking", "data": str(data)}:
                wire, kind, text = {"type": "redacted_thinking", "data": data}, "redacted", ""
            case {"type": "thinking", "thinking": str(text), "signature": str(signature)} if signature:
                wire, kind = {"type": "thinking", "thinking": text, "signature": signature}, "thinking"
            case {"type": "reasoning.text", "text": str(text), "signature": str(signature), "format": str(made)} if (
                signature and made.startswith("anthropic")
            ):
                wire, kind = {"type": "thinking", "thinking": text, "signature": signature}, "thinking"
            case _:
                return []
        blocks.append(Reasoning(text, Proof("anthropic_messages", kind, (msgspec.json.encode(wire),))))
    return blocks
