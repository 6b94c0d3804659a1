"""Decides what happens to reasoning in past turns: kept with its proof, kept as text, or dropped.

A proof goes only to the dialect it came from, and reasoning never becomes visible text. A turn keeps all of its
reasoning or none, because a part of it would be refused just like a forged one.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from app.adaptation import features as has
from app.adaptation.features import Features
from app.adaptation.notes import Notes
from app.conversation.blocks import CALL_PROOF, Block, Proof, Reasoning, ToolCall
from app.conversation.capabilities import Capabilities
from app.conversation.request import Request, Turn
from app.dialects.registry import traits_of


def wakes_replay(can: Capabilities) -> Features:
    marked = bool(can.reasoning_required or can.unsigned_call)
    return has.PAST_REASONING | has.PROOFS | (has.CALLS if marked else has.NONE)


def adapt_replay(request: Request, capabilities: Capabilities, notes: Notes) -> Request:
    turns = tuple(
        _adapt_turn(turn, capabilities, notes) if turn.role == "assistant" else turn for turn in request.turns
    )
    if traits_of(capabilities.dialect).unique_items:
        turns = _without_repeated(turns, notes)
    return replace(request, turns=turns)


def _without_repeated(turns: tuple[Turn, ...], notes: Notes) -> tuple[Turn, ...]:
    """The turns without reasoning that an earlier one has: an edited or resumed history may hold an answer twice."""
    seen: set[tuple[bytes, ...]] = set()
    kept: list[Turn] = []
    for turn in turns:
        blocks: list[Block] = []
        for block in turn.blocks:
            proof = block.proof.originals if isinstance(block, Reasoning) and block.proof is not None else ()
            if proof in seen:
                notes.lose("ignorable", turn.path, "reasoning that the history repeats is sent once")
                continue
            if proof:
                seen.add(proof)
            blocks.append(block)
        kept.append(turn if len(blocks) == len(turn.blocks) else replace(turn, blocks=tuple(blocks)))
    return tuple(kept)


def _adapt_turn(turn: Turn, capabilities: Capabilities, notes: Notes) -> Turn:
    turn = _recognise_proofs(turn, capabilities)
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
        notes.lose("ignorable", turn.path, "past reasoning is useful only to the vendor that produced it")
    if capabilities.reasoning_required and _is_silent_caller(blocks):
        blocks.insert(0, Reasoning(""))
    return replace(turn, blocks=tuple(blocks))


def _recognise_proofs(turn: Turn, capabilities: Capabilities) -> Turn:
    """The turn with reasoning recognised that the upstream's vendor signed but the client stores under another
    dialect."""
    if not any(isinstance(block, Reasoning) and block.proof is not None for block in turn.blocks):
        return turn
    blocks: list[Block] = []
    for block in turn.blocks:
        signed = _read_foreign(block.proof, capabilities) if isinstance(block, Reasoning) else []
        blocks += signed or [block]
    return replace(turn, blocks=tuple(blocks))


def _read_foreign(proof: Proof | None, capabilities: Capabilities) -> list[Block]:
    """The blocks that a proof represents in a dialect whose proofs the upstream understands; empty if there is no such
    dialect."""
    if proof is None:
        return []
    for dialect, read in traits_of(proof.dialect).foreign_proofs.items():
        if dialect in capabilities.proofs and (blocks := read(proof)):
            return blocks
    return []


def _sign_calls(turn: Turn, capabilities: Capabilities) -> Turn:
    """The turn with proofs of calls attached to their calls. Where proofs are required, the first call gets a
    placeholder if it has none."""
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
    """Whether these blocks call tools without any reasoning."""
    calls = any(isinstance(block, ToolCall) for block in blocks)
    return calls and not any(isinstance(block, Reasoning) for block in blocks)
