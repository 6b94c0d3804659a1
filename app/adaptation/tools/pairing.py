"""Pairs tool calls with their results, in the order that every upstream accepts.

Afterwards each assistant turn with calls is followed by a user turn that begins with the results of all of them, in the
order of the calls, and ids are unique. The same history always gives the same turns, because the upstream's prompt
cache compares every byte.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter

from msgspec.structs import replace

from app.adaptation.adjacent_turns import join_adjacent
from app.adaptation.notes import Notes
from app.conversation.blocks import Block, Text, ToolCall, ToolResult
from app.conversation.capabilities import Capabilities
from app.conversation.request import Request, Role, Turn

NO_RESULT = "[no result: the call was interrupted]"

_SPEAKERS: dict[type[Block], Role] = {ToolCall: "assistant", ToolResult: "user"}

# The calls of one assistant turn, by the id that the client uses in its results.
_Wanted = dict[str, deque[ToolCall]]


def adapt_pairing(request: Request, capabilities: Capabilities, notes: Notes) -> Request:
    if _is_in_order(request.turns):
        return request
    turns: list[Turn] = []
    taken: set[str] = set()
    for asking, replies in _split_exchanges(_join_callers(_part_speakers(request.turns))):
        wanted: _Wanted = {}
        if asking is not None:
            asking, wanted = _number_calls(asking, len(turns), taken)
            turns.append(asking)
        answers, rest = _take_results(replies, wanted, notes)
        if asking is not None:
            path = replies[0].path if replies else asking.path
            rest = _lead_with_results(asking, answers, rest, path, notes)
        turns.extend(rest)
    return replace(request, turns=tuple(turns))


def _part_speakers(turns: Sequence[Turn]) -> list[Turn]:
    """The turns with calls in turns of the assistant, and results in turns of the user: some libraries keep both in one
    turn."""
    parted: list[Turn] = []
    for turn in turns:
        roles = [_SPEAKERS.get(type(block), turn.role) for block in turn.blocks]
        if all(role == turn.role for role in roles):
            parted.append(turn)
            continue
        for role, spoken in groupby(zip(roles, turn.blocks, strict=True), key=itemgetter(0)):
            parted.append(replace(turn, role=role, blocks=tuple(block for _, block in spoken)))
    return parted


def _is_in_order(turns: Sequence[Turn]) -> bool:
    """Whether there is nothing to do, the usual case; clients send their whole history with every request."""
    seen: set[str] = set()
    awaited: list[ToolCall] = []
    only_results = False  # whether the previous turn held nothing else
    for turn in turns:
        rest = turn.blocks
        if awaited:
            if turn.role != "user" or len(rest) < len(awaited):
                return False
            for number, call in enumerate(awaited):
                block = rest[number]
                if type(block) is not ToolResult or block.call_id != call.id or block.kind != call.kind:
                    return False
            rest = rest[len(awaited) :]
        elif only_results and rest and turn.role == "user" and turn.name is None:
            return False
        only_results = bool(awaited) and not rest
        awaited = []
        for block in rest:
            if type(block) is ToolResult:
                return False
            if type(block) is ToolCall:
                if not block.id or block.id in seen or turn.role != "assistant":
                    return False
                seen.add(block.id)
                awaited.append(block)
    return not awaited


def _join_callers(turns: Sequence[Turn]) -> list[Turn]:
    """The turns with adjacent assistant turns merged if they make calls: some clients send each parallel call as a
    turn."""
    calling: set[int] = set()  # the first turns of runs with a call

    def belongs(first: Turn, before: Turn, turn: Turn) -> bool:
        if first.role != "assistant" or turn.role != "assistant":
            return False
        if id(first) not in calling and _calls_of(before):
            calling.add(id(first))
        return id(first) in calling

    return join_adjacent(turns, belongs)


def _split_exchanges(turns: Sequence[Turn]) -> Iterator[tuple[Turn | None, list[Turn]]]:
    """Each assistant turn with the turns up to the next one; the first pair has None if another speaker begins."""
    asking: Turn | None = None
    replies: list[Turn] = []
    for turn in turns:
        if turn.role == "assistant":
            if asking or replies:
                yield asking, replies
            asking, replies = turn, []
        else:
            replies.append(turn)
    if asking or replies:
        yield asking, replies


def _number_calls(turn: Turn, position: int, taken: set[str]) -> tuple[Turn, _Wanted]:
    """The turn with ids that no earlier call has, and its calls by their old ids.

    Some servers restart their call ids in every reply, and others give no ids.
    """
    wanted: _Wanted = {}
    renamed: dict[int, Block] = {}
    counts: dict[str, int] = {}
    for number, block in enumerate(turn.blocks):
        if type(block) is not ToolCall:
            continue
        id_ = _unique_id(block.id, position, taken, counts)
        taken.add(id_)
        call = block if id_ == block.id else replace(block, id=id_)
        if call is not block:
            renamed[number] = call
        wanted.setdefault(block.id, deque()).append(call)
    if renamed:
        turn = replace(turn, blocks=tuple(renamed.get(number, block) for number, block in enumerate(turn.blocks)))
    return turn, wanted


def _unique_id(old: str, position: int, taken: set[str], counts: dict[str, int]) -> str:
    """An unused id. `counts` is how often each id was respelled in this turn, which saves counting from zero again."""
    new, count = old or f"call_{position}", counts.get(old, 0)
    while new in taken:
        new = f"{old or 'call'}_{position}" + (f"_{count}" if count else "")
        count += 1
    counts[old] = count
    return new


def _take_results(replies: Sequence[Turn], wanted: _Wanted, notes: Notes) -> tuple[dict[str, ToolResult], list[Turn]]:
    """The results by the id of their call, and the turns without them."""
    answers: dict[str, ToolResult] = {}
    rest: list[Turn] = []
    for turn in replies:
        if not any(type(block) is ToolResult for block in turn.blocks):
            rest.append(turn)
            continue
        blocks: list[Block] = []
        for block in turn.blocks:
            if not isinstance(block, ToolResult):
                blocks.append(block)
            elif waiting := wanted.get(block.call_id):
                call = waiting.popleft()
                same = (call.id, call.kind) == (block.call_id, block.kind)
                answers[call.id] = block if same else replace(block, call_id=call.id, kind=call.kind)
            else:
                blocks.extend(_quote_orphan(block))
                notes.lose(
                    "degrading", turn.path, f"no call has the id {block.call_id!r} that this tool result answers"
                )
        if blocks:
            rest.append(replace(turn, blocks=tuple(blocks)))
    return answers, rest


def _quote_orphan(result: ToolResult) -> list[Block]:
    label = f"[orphan tool result {result.call_id}]"
    first, *others = result.blocks or (Text(""),)
    if isinstance(first, Text):
        return [replace(first, text=f"{label} {first.text}".rstrip()), *others]
    return [Text(label), first, *others]


def _lead_with_results(
    asking: Turn, answers: dict[str, ToolResult], rest: list[Turn], path: str, notes: Notes
) -> list[Turn]:
    """The turns after an assistant turn; the first holds all results, followed by what the user said."""
    calls = _calls_of(asking)
    if not calls:
        return rest
    results: list[Block] = []
    for call in calls:
        answer = answers.get(call.id)
        if answer is None:
            notes.lose("ignorable", asking.path, f"the call {call.id!r} had no result")
            answer = ToolResult(call.id, (Text(NO_RESULT),), is_error=True, kind=call.kind)
        results.append(answer)
    if rest and rest[0].role == "user" and rest[0].blocks and rest[0].name is None:
        return [replace(rest[0], blocks=(*results, *rest[0].blocks)), *rest[1:]]
    return [Turn("user", tuple(results), path=path), *rest]


def _calls_of(turn: Turn) -> list[ToolCall]:
    return [block for block in turn.blocks if isinstance(block, ToolCall)]
