"""The features of a request that some step of the adaptation may have to change, found in one pass and stored as bits.

Most requests have few of them. A feature says only that something is present; whether an upstream objects is decided by
the step that the feature wakes (`STEPS` in adapt.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.conversation.blocks import (
    Audio,
    Block,
    CacheHint,
    Compaction,
    File,
    Image,
    Opaque,
    Reasoning,
    Refusal,
    SearchResult,
    ServerTool,
    Text,
    ToolCall,
    ToolResult,
)
from app.conversation.request import FunctionTool, ReasoningSettings, Request, Sampling, State, Turn

# A set of features: one bit each.
Features = int

NONE: Features = 0
ALWAYS: Features = 1 << 0  # every request has it

# settings
COMPACT: Features = 1 << 1  # a summary is asked for
EXTENSIONS: Features = 1 << 2  # fields or betas of the client's dialect
INSTRUCTIONS: Features = 1 << 3
BILLING: Features = 1 << 4  # instructions with an accounting line
TOOLS: Features = 1 << 5
CHOICE: Features = 1 << 6  # a tool choice, or a setting for parallel calls
FORMAT: Features = 1 << 7
LIMIT: Features = 1 << 8
NO_ANSWER: Features = 1 << 9  # the limit is 0
STOP: Features = 1 << 10
SAMPLING: Features = 1 << 11
SEVERAL: Features = 1 << 12  # more than one answer, or probabilities
STATE: Features = 1 << 13
HINTS: Features = 1 << 14  # user, cache key, tier, metadata, verbosity
THINKING: Features = 1 << 15  # any setting for reasoning
CACHE: Features = 1 << 16  # a cache mark anywhere

# turns
SILENCE: Features = 1 << 17  # there are no turns
ASSISTANT_FIRST: Features = 1 << 18
ASSISTANT_LAST: Features = 1 << 19
SYSTEM_TURNS: Features = 1 << 20
STEERING: Features = 1 << 21  # a turn sets an effort, or is to be removed later
BLANK: Features = 1 << 22  # a text of white space, or a turn without blocks
CALLS: Features = 1 << 23  # or their results
ERRORS: Features = 1 << 24  # results that are errors
LATE_RESULTS: Features = 1 << 25  # a result after other blocks
PAST_REASONING: Features = 1 << 26
PROOFS: Features = 1 << 27
FOREIGN: Features = 1 << 28  # a step of a server's tool, a block of one dialect
MEDIA: Features = 1 << 29  # all other blocks that are neither text, thought nor call, in results too

_KINDS: dict[type[Block], Features] = {
    Text: NONE,
    Image: MEDIA,
    File: MEDIA,
    SearchResult: MEDIA,
    Audio: MEDIA,
    Refusal: MEDIA,
    Reasoning: PAST_REASONING,
    ToolCall: CALLS,
    ToolResult: CALLS,
    ServerTool: FOREIGN | MEDIA,
    Opaque: FOREIGN | MEDIA,
    Compaction: MEDIA,
}

_PROVEN = (Reasoning, ToolCall)
_UNSAMPLED, _UNTHOUGHT, _STATELESS = Sampling(), ReasoningSettings(), State()
_NO_HINTS = (None,) * 5
# Claude Code's accounting line; its value changes with every request and would spoil every prompt cache.
BILLING_LINE = "x-anthropic-billing-header:"


def find_settings(request: Request) -> Features:
    """The features of everything except the turns."""
    found = ALWAYS
    if request.instructions:
        found |= INSTRUCTIONS
        for text in request.instructions:
            if not text.text or text.text.isspace():
                found |= BLANK
            elif text.text.startswith(BILLING_LINE):
                found |= BILLING
            if text.cache is not None:
                found |= CACHE
    if request.tools:
        found |= TOOLS
        for tool in request.tools:
            if type(tool) is FunctionTool and tool.cache is not None:
                found |= CACHE
                break
    if request.tool_choice is not None or request.parallel_tool_calls is not None:
        found |= CHOICE
    if request.max_tokens is not None:
        found |= LIMIT if request.max_tokens else LIMIT | NO_ANSWER
    if request.sampling != _UNSAMPLED:
        found |= SAMPLING
    if request.reasoning != _UNTHOUGHT:
        found |= THINKING
    if request.state != _STATELESS:
        found |= STATE
    if request.stop:
        found |= STOP
    if request.output_format is not None:
        found |= FORMAT
    if request.extensions or request.betas:
        found |= EXTENSIONS
    if request.n > 1 or request.logprobs is not None:
        found |= SEVERAL
    if request.cache is not None:
        found |= CACHE
    if request.compact:
        found |= COMPACT
    hints = (request.user, request.cache_key, request.service_tier, request.metadata, request.verbosity)
    return found if hints == _NO_HINTS else found | HINTS


def find_in_turns(turns: Sequence[Turn]) -> Features:
    """The features of the turns."""
    if not turns:
        return SILENCE
    found = NONE
    if turns[0].role == "assistant":
        found |= ASSISTANT_FIRST
    if turns[-1].role == "assistant":
        found |= ASSISTANT_LAST
    for turn in turns:
        if turn.role == "system":
            found |= SYSTEM_TURNS
        if turn.effort or turn.clear_at:
            found |= STEERING
        if not turn.blocks:
            found |= BLANK
        late = False
        for block in turn.blocks:
            if type(block) is Text:
                if not block.text or block.text.isspace():
                    found |= BLANK
                if block.cache is not None:
                    found |= CACHE
            elif type(block) is ToolResult:
                found |= _find_in_result(block, late)
                continue
            else:
                found |= _find_in_block(block)
            late = True
    return found


def find_hints(request: Request) -> list[CacheHint]:
    """All cache marks in the order of the prefix; the request's own one is for its end."""
    holders: list[Any] = [*request.tools, *request.instructions]
    for turn in request.turns:
        for block in turn.blocks:
            if type(block) is ToolResult:
                holders += block.blocks
            holders.append(block)
    holders.append(request)
    return [hint for holder in holders if (hint := getattr(holder, "cache", None)) is not None]


def _find_in_block(block: Block) -> Features:
    found = _KINDS[type(block)]
    if type(block) in _PROVEN and block.proof is not None:  # type: ignore[union-attr]
        found |= PROOFS
    if getattr(block, "cache", None) is not None:
        found |= CACHE
    return found


def _find_in_result(result: ToolResult, late: bool) -> Features:
    found = CALLS | LATE_RESULTS if late else CALLS
    if result.is_error:
        found |= ERRORS
    if result.cache is not None:
        found |= CACHE
    for block in result.blocks:
        if type(block) is not Text:
            found |= _find_in_block(block)
        elif block.cache is not None:
            found |= CACHE
    return found
