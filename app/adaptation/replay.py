"""This file is what becomes of the reasoning in past turns: kept with its proof, kept as text, or dropped.

A proof goes only to the dialect it came from, and reasoning never becomes visible text. A turn keeps all of its
reasoning or none: half of it would be refused just like a forged one.
"""

from __future__ import annotations

from msgspec.structs import replace

from app.adaptation.notes import Notes
from app.conversation.blocks import Block, Reasoning, ToolCall
from app.conversation.capabilities import Capabilities
from app.conversation.request import Request, Turn


def adapt_replay(request: Request, capabilities: Capabilities, notes: Notes) -> Request:
    turns = tuple(
        _adapt_turn(turn, capabilities, notes) if turn.role == "assistant" else turn for turn in request.turns
    )
    return replace(request, turns=turns)


def _adapt_turn(turn: Turn, capabilities: Capabilities, notes: Notes) -> Turn:
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
        notes.lose("D", turn.path, "past reasoning is of use only to the vendor it came from")
    if capabilities.reasoning_required and _is_silent_caller(blocks):
        blocks.insert(0, Reasoning(""))
    return replace(turn, blocks=tuple(blocks))


def _has_proof(block: Block) -> bool:
    return isinstance(block, ToolCall) and block.proof is not None


def _is_silent_caller(blocks: list[Block]) -> bool:
    """Whether these call tools without a thought."""
    calls = any(isinstance(block, ToolCall) for block in blocks)
    return calls and not any(isinstance(block, Reasoning) for block in blocks)
