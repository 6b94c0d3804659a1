"""Parses and renders the fields that servers and clients use for reasoning.

The text goes by several names. What proves it stands in `reasoning_details` (OpenRouter) or `thinking_blocks`
(LiteLLM), whose entries a server wants back unchanged. A proof from another dialect travels in one entry of ours, whose
`index` counts the entries before it and tells the thought's place beside.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from app.conversation.blocks import CALL_PROOF, Block, Proof, Reasoning
from app.conversation.envelope import is_sealed, seal, unseal
from app.conversation.thoughts import Thought
from app.dialects.openai_chat.vocabulary import NAME, SEALED_FORMAT, WireDetail

# The kind of a proof of this dialect names the field that its originals belong to.
DETAILS, BLOCKS = "reasoning", "thinking"
FIELDS = {DETAILS: "reasoning_details", BLOCKS: "thinking_blocks"}

_detail = msgspec.json.Decoder(WireDetail)
_raws = msgspec.json.Decoder(list[msgspec.Raw])
_object = msgspec.json.Decoder(dict[str, Any])


def read_reasoning(text: str, details: Sequence[msgspec.Raw] = (), blocks: Sequence[msgspec.Raw] = ()) -> list[Thought]:
    """The reasoning of a past assistant message, one block for each proof; the first has all the text."""
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
    """What signs a tool call (Gemini); it comes back with the call in the history."""
    return Proof(NAME, CALL_PROOF, (extra_content,))


def is_of_call(proof: Proof) -> bool:
    return proof.dialect == NAME and proof.kind == CALL_PROOF


def write_call_proof(proof: Proof | None) -> dict[str, Any]:
    """The field of a call that holds its proof; none where it has no such one."""
    return {"extra_content": msgspec.Raw(proof.originals[0])} if proof is not None and is_of_call(proof) else {}


def text_of_entries(entries: Iterable[msgspec.Raw]) -> str:
    """The text of entries, for servers that put it nowhere else."""
    details = [_read_detail(entry) for entry in entries]
    return "".join([detail.text or detail.summary or detail.thinking or "" for detail in details])


def entries_of(raw: msgspec.Raw) -> list[msgspec.Raw]:
    """The entries of a field that should be a list of objects; anything else has none."""
    try:
        return _raws.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return []


def merge_entries(pieces: Sequence[bytes]) -> tuple[bytes, ...]:
    """Whole entries of the fragments that a stream brought, in order.

    Fragments of one entry follow each other with the same type and index: their texts are joined, of the other fields
    the last one counts. What came in one piece stays as it is, byte for byte.
    """
    merged: list[tuple[dict[str, Any], bytes]] = []
    for piece in pieces:
        try:
            entry = _object.decode(piece)
        except msgspec.DecodeError:
            continue
        if merged and _continues(merged[-1][0], entry):
            whole = _append(merged[-1][0], entry)
            merged[-1] = (whole, msgspec.json.encode(whole))
        else:
            merged.append((entry, piece))
    return tuple(raw for _, raw in merged)


def _split_sealed(entries: Sequence[msgspec.Raw]) -> tuple[list[tuple[int, Proof]], list[bytes]]:
    """Proofs that we sealed, with their places, and the entries that a server made. A damaged envelope is nobody's."""
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
    """An index that is one; anything else, which a client may have made of it, is the first."""
    digits = bytes(raw)
    return int(digits) if digits.isdigit() and len(digits) < 10 else 0


def _read_detail(entry: msgspec.Raw) -> WireDetail:
    try:
        return _detail.decode(entry)
    except msgspec.DecodeError:
        return WireDetail()


_TEXTS = ("text", "summary", "thinking")


def _continues(entry: dict[str, Any], more: dict[str, Any]) -> bool:
    """A signature or encrypted data ends an entry: what follows it is another one."""
    same = entry.get("type") == more.get("type") and entry.get("index") == more.get("index")
    return same and not entry.get("data") and not entry.get("signature") and not more.get("data")


def _append(entry: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    joined = {name: _text(entry.get(name)) + _text(more[name]) for name in _TEXTS if name in more}
    return {**entry, **{name: value for name, value in more.items() if value is not None}, **joined}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def read_signed(proof: Proof) -> list[Block]:
    """A block for each entry, as Claude made it; none unless all are signed."""
    blocks: list[Block] = []
    for original in proof.originals:
        match _decode_or_none(original):
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


def _decode_or_none(original: bytes) -> Any:
    """An entry may come out of an envelope, and anybody can seal one."""
    try:
        return msgspec.json.decode(original)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
