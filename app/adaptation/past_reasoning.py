"""What becomes of the reasoning in past turns: kept with its proof, kept as text, or dropped.

A proof goes only to the dialect it came from, and reasoning never becomes visible text. A turn keeps all of its
reasoning or none: half of it would be refused just like a forged one.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from app.adaptation.notes import Notes
from app.conversation.blocks import CALL_PROOF, Block, Proof, Reasoning, ToolCall
from app.conversation.capabilities import Capabilities
from app.conversation.request import Request, Turn


def adapt_replay(request: Request, capabilities: Capabilities, notes: Notes) -> Request:
    turns = tuple(
        _adapt_turn(turn, capabilities, notes) if turn.role == "assistant" else turn for turn in request.turns
    )
    return replace(request, turns=turns)


def _adapt_turn(turn: Turn, capabilities: Capabilities, notes: Notes) -> Turn:
    if "anthropic_messages" in capabilities.proofs:
        turn = _recognise_claudes(turn)
    turn = _sign_calls(turn, capabilities)
    past = [block for block in turn.blocks if isinstance(block, Reasoning)]
    if not past and not capabilities.reasoning_required and not any(map(_has_proof, turn.blocks)):
        return turn
    whole = all(capabilities.understands(block.proof) for block in past)
    as_text = capabilities.reasoning_replay != "none"
    blocks: list[Block] = []
    for block in turn.blocks:
        match block:
            case Reasoning() if whole or (as_text and capabilities.understands(block.proof)):
                blocks.append(block)
            case Reasoning():
                if as_text and block.text:
                    blocks.append(Reasoning(block.text))
            case ToolCall() if block.proof is not None and not capabilities.understands(block.proof):
                blocks.append(replace(block, proof=None))
            case _:
                blocks.append(block)
    if len(blocks) < len(turn.blocks):
        notes.lose("ignorable", turn.path, "past reasoning is of use only to the vendor it came from")
    if capabilities.reasoning_required and _is_silent_caller(blocks):
        blocks.insert(0, Reasoning(""))
    return replace(turn, blocks=tuple(blocks))


def _recognise_claudes(turn: Turn) -> Turn:
    """The turn with thinking that Claude signed as Claude's own, though a client of Chat says it in other fields."""
    if not any(isinstance(block, Reasoning) and _is_of_chat(block.proof) for block in turn.blocks):
        return turn
    blocks: list[Block] = []
    for block in turn.blocks:
        signed = _signed_entries(block.proof) if isinstance(block, Reasoning) and _is_of_chat(block.proof) else []
        blocks += signed or [block]
    return replace(turn, blocks=tuple(blocks))


def _is_of_chat(proof: Proof | None) -> bool:
    return proof is not None and proof.dialect == "openai_chat"


def _signed_entries(proof: Proof | None) -> list[Block]:
    """A block for each entry, as Claude made it; none unless all are signed."""
    blocks: list[Block] = []
    for original in proof.originals if proof is not None else ():
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


def _sign_calls(turn: Turn, capabilities: Capabilities) -> Turn:
    """The turn with proofs of calls at their calls. The first call has one in any case where one is demanded."""
    unsigned: Proof | None = None
    if capabilities.unsigned_call:
        unsigned = Proof(capabilities.dialect, CALL_PROOF, (msgspec.json.encode(capabilities.unsigned_call),))
    blocks: list[Block] = []
    for block in turn.blocks:
        match block:
            case Reasoning(proof=Proof(kind=kind) as proof) if kind == CALL_PROOF:
                unsigned = proof
            case ToolCall():
                blocks.append(replace(block, proof=unsigned) if unsigned and block.proof is None else block)
                unsigned = None
            case _:
                blocks.append(block)
    return replace(turn, blocks=tuple(blocks))


def _has_proof(block: Block) -> bool:
    return isinstance(block, ToolCall) and block.proof is not None


def _is_silent_caller(blocks: list[Block]) -> bool:
    """Whether these call tools without a thought."""
    calls = any(isinstance(block, ToolCall) for block in blocks)
    return calls and not any(isinstance(block, Reasoning) for block in blocks)
