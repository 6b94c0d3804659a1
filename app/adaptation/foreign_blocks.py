"""Describes blocks of other vendors in text: item types newer than this program, and steps of server tools.

Their words reach the model as something that it was told, in a user's turn and under a label. They never appear as its
own words, which it would imitate, and never between calls and their results.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from app.adaptation.notes import Notes
from app.conversation.blocks import Block, Image, Opaque, Reasoning, ServerTool, Text, ToolCall, ToolResult
from app.conversation.capabilities import Capabilities
from app.conversation.request import Request, Turn
from app.conversation.steps import SERVER_TOOL

# Types that a later step handles.
_PLACED = ("tool_reference",)
# Steps that only found tools, all of which another vendor is told of.
_SEARCHES_OF_TOOLS = "tool_search_tool"
# Blocks without meaning for a model, by their type in their own dialect.
SILENT_OPAQUES = ("fallback", "mcp_tool_listing", "ghost_snapshot")


def adapt_foreign_blocks(request: Request, capabilities: Capabilities, notes: Notes) -> Request:
    if not any(_is_foreign(block) for turn in request.turns for block in turn.blocks):
        return request
    describer = _Describer(capabilities, notes)
    for turn in request.turns:
        describer.add(turn)
    return replace(request, turns=describer.finish())


def _is_foreign(block: Block) -> bool:
    match block:
        case ServerTool() | Opaque():
            return True
        case Reasoning(proof=proof):
            return proof is not None and proof.kind == SERVER_TOOL
        case ToolResult(blocks=inner):
            return any(isinstance(one, Opaque | ServerTool) for one in inner)
        case _:
            return False


class _Describer:
    """The turns so far, and what is held back until a user's turn can contain it."""

    def __init__(self, capabilities: Capabilities, notes: Notes) -> None:
        self._can = capabilities
        self._notes = notes
        self._turns: list[Turn] = []
        self._held: list[Block] = []

    def add(self, turn: Turn) -> None:
        match turn.role:
            case "assistant":
                self._add_assistants(turn)
            case "user":
                self._add_users(turn)
            case "system":
                blocks, described = self._part(turn)
                self._held += described
                self._turns.append(replace(turn, blocks=tuple(blocks)) if described else turn)

    def finish(self) -> tuple[Turn, ...]:
        if self._held:
            path = self._turns[-1].path if self._turns else ""
            self._turns.append(Turn("user", tuple(self._held), path=path))
        return tuple(self._turns)

    def _add_assistants(self, turn: Turn) -> None:
        turn = replace(turn, blocks=self._without_twins(turn))
        blocks, described = self._part(turn)
        last = self._turns[-1] if self._turns else None
        if blocks and last is not None and last.role == "assistant" and self._held:
            self._turns[-1] = replace(last, blocks=(*last.blocks, *blocks))
        elif blocks or not described:
            self._turns.append(replace(turn, blocks=tuple(blocks)))
        self._held += described

    def _add_users(self, turn: Turn) -> None:
        blocks = [one for block in turn.blocks for one in self._describe_in_place(block, turn.path)]
        has_content = any(not isinstance(block, Opaque) for block in turn.blocks)
        if not has_content and self._would_separate():
            self._held += blocks
            return
        if self._held:
            results = [block for block in blocks if isinstance(block, ToolResult)]
            blocks = [*results, *self._held, *(block for block in blocks if not isinstance(block, ToolResult))]
            self._held = []
        if blocks or not turn.blocks:
            self._turns.append(replace(turn, blocks=tuple(blocks)))

    def _would_separate(self) -> bool:
        """Whether a user's turn here would separate a call from its result, or a thought from what follows it."""
        last = self._turns[-1] if self._turns else None
        if last is None or last.role != "assistant" or not last.blocks:
            return False
        return any(isinstance(block, ToolCall) for block in last.blocks) or isinstance(last.blocks[-1], Reasoning)

    def _without_twins(self, turn: Turn) -> tuple[Block, ...]:
        """The blocks without the shown copies of the vendor's own blocks, if those go back to that vendor; otherwise
        the shown blocks remain, but no longer as any vendor's own."""
        blocks: list[Block] = []
        for block in turn.blocks:
            if not isinstance(block, Reasoning) or block.proof is None or block.proof.kind != SERVER_TOOL:
                blocks.append(block)
                continue
            shown: list[Block] = []
            while blocks and isinstance(blocks[-1], ServerTool):
                shown.append(blocks.pop())
            if self._can.understands(block.proof):
                blocks.append(block)
                continue
            blocks += [_without_raw(one) for one in reversed(shown)]
            if block.text:
                blocks.append(Reasoning(block.text))
        return tuple(blocks)

    def _part(self, turn: Turn) -> tuple[list[Block], list[Block]]:
        """The blocks that stay in the turn, and those that are told elsewhere."""
        kept: list[Block] = []
        described: list[Block] = []
        for block in turn.blocks:
            if isinstance(block, ServerTool | Opaque) and not self._stays(block):
                described += self._describe(block, turn.path)
            else:
                kept.append(block)
        return kept, described

    def _describe_in_place(self, block: Block, path: str) -> Sequence[Block]:
        match block:
            case ToolResult(blocks=inner) if any(isinstance(one, ServerTool | Opaque) for one in inner):
                blocks = tuple(described for one in inner for described in self._describe_in_place(one, path))
                return (replace(block, blocks=blocks),)
            case ServerTool() | Opaque() if not self._stays(block):
                return self._describe(block, path)
            case _:
                return (block,)

    def _stays(self, block: ServerTool | Opaque) -> bool:
        if isinstance(block, Opaque) and (block.type in _PLACED or (block.from_user and not block.description)):
            return True  # a user's content that cannot be described is refused later
        if block.dialect != self._can.dialect or not block.raw:
            return False
        # A server that only speaks the dialect knows its user content, but not the blocks of the vendor's own programs.
        return self._can.dialect in self._can.proofs or (isinstance(block, Opaque) and block.from_user)

    def _describe(self, block: ServerTool | Opaque, path: str) -> list[Block]:
        if isinstance(block, Opaque):
            return self._describe_opaque(block, path)
        images = block.step.images if block.step is not None else ()
        if (not block.text and not images) or block.name.startswith(_SEARCHES_OF_TOOLS):
            self._notes.lose("ignorable", path, f"{block.name} has no meaning at another vendor")
            return []
        self._notes.lose("degrading", path, f"{block.name} was run by another vendor: only a summary is passed on")
        return [Text(f"[{block.name}] {block.text}".rstrip()), *(Image(image) for image in images)]

    def _describe_opaque(self, block: Opaque, path: str) -> list[Block]:
        if block.type in SILENT_OPAQUES:
            self._notes.lose("ignorable", path, f"{block.type} has no meaning at another vendor")
            return []
        if not block.description:
            self._notes.lose("degrading", path, f"content of type {block.type} cannot be carried")
            return []
        self._notes.lose("degrading", path, f"content of type {block.type} is passed on as a text description")
        return list(block.description)


def _without_raw(block: Block) -> Block:
    """A shown block that its vendor never made: without bytes, so it is never sent unchanged."""
    return replace(block, raw=b"") if isinstance(block, ServerTool) else block
