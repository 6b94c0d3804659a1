"""Arranges turns in the order and roles that an upstream accepts.

Runs after the pairing of calls and results and after every step that may empty a turn, and never puts a turn between
calls and their results.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from app.adaptation import features as has
from app.adaptation.adjacent_turns import join_adjacent
from app.adaptation.features import Features
from app.adaptation.notes import Notes
from app.conversation.blocks import Block, Compaction, Text, ToolCall, ToolResult
from app.conversation.capabilities import Capabilities
from app.conversation.request import DEFAULT_INSTRUCTIONS, EFFORT_NAMES, Request, Role, Turn
from app.dialects.registry import traits_of

BILLING = has.BILLING_LINE

OPENING = "[The beginning of the conversation is missing.]"
EMPTY = "[The message is empty.]"
RECEIVED = "[The results have arrived.]"


def wakes_turns(can: Capabilities) -> Features:
    ordered = can.alternate or can.user_required or can.instructions_required
    return (
        has.SILENCE | has.ASSISTANT_FIRST | has.ASSISTANT_LAST | has.SYSTEM_TURNS | has.STEERING | has.BLANK
        | (has.ALWAYS if ordered else has.NONE)
        | (has.NONE if can.keep_billing else has.BILLING)
        | (has.NONE if can.user_after_results else has.CALLS)
        | (has.INSTRUCTIONS if can.merge_system or not can.system_text else has.NONE)
    )  # fmt: skip


def adapt_turns(request: Request, capabilities: Capabilities, notes: Notes) -> Request:
    instructions = request.instructions
    if not capabilities.keep_billing:
        instructions = tuple(_without_billing(instructions))
    turns = [turn for turn in _apply_clear_at(request.turns) if turn.role != "system" or turn.blocks or turn.effort]
    request, turns = _apply_efforts(request, turns)
    turns = _drop_empty(turns)
    leading, turns = _split_leading_system(turns)
    instructions = tuple(text for text in instructions + leading if text.text.strip())
    instructions, turns = _ensure_spoken(instructions, turns, capabilities, notes)
    turns = _place_system(turns, capabilities)
    if capabilities.alternate:
        turns = _merge_neighbours(turns)
    if not capabilities.user_after_results:
        turns = [part for turn in turns for part in _part_from_results(_move_words_into_result(turn))]
    if not (request.dialect == capabilities.dialect and traits_of(request.dialect).answers_follow):
        turns = _check_prefill(turns, capabilities, notes)
    if capabilities.merge_system and len(instructions) > 1:
        instructions = (Text("\n\n".join(text.text for text in instructions)),)
    if not capabilities.system_text and instructions:
        instructions, turns = (), _lead_with(instructions, turns)
    if capabilities.instructions_required and not instructions:
        instructions = (Text(DEFAULT_INSTRUCTIONS),)
    return replace(request, instructions=instructions, turns=tuple(turns))


def _without_billing(instructions: Iterable[Text]) -> Iterable[Text]:
    for text in instructions:
        if not text.text.startswith(BILLING):
            yield text
        elif rest := text.text.partition("\n")[2].lstrip("\n"):
            yield replace(text, text=rest)


def _apply_clear_at(turns: Sequence[Turn]) -> Sequence[Turn]:
    """The turns without system turns that a later user turn cancels."""
    if not any(turn.clear_at for turn in turns):
        return turns
    last_user = max((number for number, turn in enumerate(turns) if turn.role == "user"), default=-1)
    return [turn for number, turn in enumerate(turns) if turn.clear_at != "next_user_message" or number > last_user]


def _apply_efforts(request: Request, turns: list[Turn]) -> tuple[Request, list[Turn]]:
    """The request with the last effort set in a turn: it applies from there on, and the requested answer comes last."""
    effort = next((turn.effort for turn in reversed(turns) if turn.effort), None)
    if effort is None:
        return request, turns
    known = EFFORT_NAMES.get(effort.lower())
    if known is not None:
        request = replace(request, reasoning=replace(request.reasoning, effort=known))
    return request, [replace(turn, effort=None) if turn.effort else turn for turn in turns]


def _drop_empty(turns: list[Turn]) -> list[Turn]:
    """The turns without blank texts and empty turns, which upstreams refuse; unchanged if nothing would be left."""
    kept: list[Turn] = []
    for turn in turns:
        if any(_is_blank(block) for block in turn.blocks):
            turn = replace(turn, blocks=tuple(block for block in turn.blocks if not _is_blank(block)))
        if turn.blocks:
            kept.append(turn)
    if kept and kept[-1].role == "assistant" and turns[-1].role == "user":
        # Without its last turn, the conversation would ask to continue the assistant's words.
        kept.append(replace(turns[-1], blocks=(Text(EMPTY),)))
    return kept or turns


def _is_blank(block: Block) -> bool:
    return isinstance(block, Text) and (not block.text or block.text.isspace())


def _split_leading_system(turns: list[Turn]) -> tuple[tuple[Text, ...], list[Turn]]:
    """The texts of leading system turns, and the turns after them."""
    leading: list[Text] = []
    for number, turn in enumerate(turns):
        if turn.role != "system":
            return tuple(leading), turns[number:]
        leading += [block for block in turn.blocks if isinstance(block, Text)]
    return tuple(leading), []


def _ensure_spoken(
    instructions: tuple[Text, ...], turns: list[Turn], capabilities: Capabilities, notes: Notes
) -> tuple[tuple[Text, ...], list[Turn]]:
    """The instructions and turns with something to answer, for upstreams that refuse a system text alone or an
    assistant's turn at the start."""
    traits = traits_of(capabilities.dialect)
    if not turns and instructions and (traits.needs_turn or capabilities.merge_system or capabilities.user_required):
        speaker: Role = "system" if traits.system_speaks else "user"
        return instructions[:-1], [Turn(speaker, instructions[-1:])]
    needed = traits.needs_turn or not (turns or instructions)
    if needed and all(turn.role != "system" and all(map(_is_blank, turn.blocks)) for turn in turns):
        notes.lose("wrong", turns[0].path if turns else "messages", "there is nothing to answer; add a user message")
    starts_late = traits.strict_turns or capabilities.alternate
    begins = starts_late and turns and turns[0].role == "assistant" and not _starts_with(turns[0], Compaction)
    lacks_user = capabilities.user_required and turns and not any(map(_speaks_for_user, turns))
    if begins or lacks_user:
        turns = [Turn("user", (Text(OPENING),), path=turns[0].path), *turns]
    return instructions, turns


def _starts_with(turn: Turn, kind: type[Block]) -> bool:
    return isinstance(next(iter(turn.blocks), None), kind)


def _speaks_for_user(turn: Turn) -> bool:
    return turn.role == "user" and not all(isinstance(block, ToolResult) for block in turn.blocks)


def _place_system(turns: list[Turn], capabilities: Capabilities) -> list[Turn]:
    if not any(turn.role == "system" for turn in turns):
        return turns
    never = capabilities.late_system == "reminder" or capabilities.merge_system
    # Anthropic accepts a system turn only directly after a user's turn, at the end or before an assistant's turn.
    strict = traits_of(capabilities.dialect).strict_turns
    if strict:
        turns = _join_system(turns)
    placed: list[Turn] = []
    for number, turn in enumerate(turns):
        if turn.role == "system":
            after = turns[number + 1].role if number + 1 < len(turns) else "assistant"
            misplaced = strict and (turns[number - 1].role != "user" or after != "assistant")
            if never or misplaced:
                turn = replace(turn, role="user", blocks=tuple(map(_wrap_reminder, turn.blocks)), clear_at=None)
        placed.append(turn)
    return placed


def _lead_with(instructions: tuple[Text, ...], turns: list[Turn]) -> list[Turn]:
    """The turns with the instructions as the first words of the user's first turn."""
    words = Text("\n\n".join(text.text for text in instructions))
    if not turns or turns[0].role != "user" or _starts_with(turns[0], ToolResult):
        return [Turn("user", (words,)), *turns]
    given = [blocks for blocks in ((words,), turns[0].blocks) if blocks]
    return [replace(turns[0], blocks=_join_texts(given)), *turns[1:]]


def _join_system(turns: list[Turn]) -> list[Turn]:
    return join_adjacent(turns, lambda first, before, turn: first.role == turn.role == "system")


def _wrap_reminder(block: Block) -> Block:
    if isinstance(block, Text):
        return replace(block, text=f"<system-reminder>\n{block.text}\n</system-reminder>")
    return block


def _move_words_into_result(turn: Turn) -> Turn:
    """The turn with the user's words after tool results moved to the end of the last result, for upstreams where no
    user may speak after a tool.

    An image there needs a message of its own in any case, and its label with it: see `_part_from_results`.
    """
    words = tuple(block for block in turn.blocks if isinstance(block, Text))
    results = tuple(block for block in turn.blocks if isinstance(block, ToolResult))
    if not results or not words or len(results) + len(words) < len(turn.blocks):
        return turn
    last = results[-1]
    return replace(turn, blocks=(*results[:-1], replace(last, blocks=last.blocks + words)))


def _part_from_results(turn: Turn) -> tuple[Turn, ...]:
    """The turn, or its results and the user's part with a word of the assistant between them."""
    results = tuple(block for block in turn.blocks if isinstance(block, ToolResult))
    if not results or len(results) == len(turn.blocks):
        return (turn,)
    rest = tuple(block for block in turn.blocks if not isinstance(block, ToolResult))
    return replace(turn, blocks=results), Turn("assistant", (Text(RECEIVED),)), replace(turn, blocks=rest)


def _merge_neighbours(turns: list[Turn]) -> list[Turn]:
    """The turns with adjacent turns of one speaker merged, their texts separated by a blank line; never across a tool
    call."""

    def belongs(first: Turn, before: Turn, turn: Turn) -> bool:
        if first.role != turn.role or not (before.blocks and turn.blocks) or isinstance(turn.blocks[0], ToolResult):
            return False
        return not any(isinstance(block, ToolCall) for block in before.blocks)

    return join_adjacent(turns, belongs, _join_texts)


def _join_texts(runs: Sequence[Sequence[Block]]) -> tuple[Block, ...]:
    """All blocks, with adjacent texts of different turns joined into one."""
    joined: list[Block] = []
    meeting: list[Text] = []  # adjacent texts to be joined
    for blocks in runs:
        first = blocks[0]
        if not (meeting and isinstance(first, Text)):
            joined += _as_one(meeting)
            meeting = []
        if not isinstance(first, Text):
            joined += blocks[:-1]
        elif len(blocks) > 1:
            joined += (*_as_one([*meeting, first]), *blocks[1:-1])
            meeting = []
        last = blocks[-1]
        if isinstance(last, Text):
            meeting.append(last)
        else:
            joined.append(last)
    return (*joined, *_as_one(meeting))


def _as_one(texts: Sequence[Text]) -> Sequence[Text]:
    if len(texts) < 2:
        return texts
    return (replace(texts[-1], text="\n\n".join([text.text for text in texts])),)


def _check_prefill(turns: list[Turn], capabilities: Capabilities, notes: Notes) -> list[Turn]:
    last = turns[-1] if turns else None
    if last is None or last.role != "assistant" or (last.blocks and isinstance(last.blocks[-1], Compaction)):
        return turns
    if not capabilities.prefill:
        notes.lose(
            "wrong", last.path, "this model cannot continue an answer that the last turn begins; end with a user turn"
        )
    elif last.blocks and isinstance(last.blocks[-1], Text):
        # Claude refuses a prefill that ends in white space; other models do not need it.
        text = replace(last.blocks[-1], text=last.blocks[-1].text.rstrip())
        turns = [*turns[:-1], replace(last, blocks=(*last.blocks[:-1], text))]
    return turns
