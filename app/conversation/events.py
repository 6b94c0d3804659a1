"""The events of a streamed response.

    stream := Started block* UsageSeen* Finished | Started? … Failed
    block  := BlockOpened(index) (BlockDelta(index) | BlockNoted(index))* BlockClosed(index)

Indices count 0, 1, 2 … in the order of opening. Several blocks may be open at once (interleaved parallel tool calls); a
dialect that forbids this puts a `Sequencer` before its renderer. Usage may come before or after `Finished`, or never;
the last one counts. A stream without `Finished` or `Failed` was cut.
"""

from __future__ import annotations

from typing import Any

import msgspec

from app.conversation.blocks import Block, Proof
from app.conversation.response import FinishReason, StopDetail, Usage
from app.errors import Failure


class Started(msgspec.Struct, frozen=True):
    id: str
    model: str
    created: int | None = None
    usage: Usage | None = None
    service_tier: str | None = None


class BlockOpened(msgspec.Struct, frozen=True):
    """`block` is the head: a Text, Reasoning, ToolCall, Refusal or Compaction that is still empty, or a complete block
    of any other type, which gets no deltas."""

    index: int
    block: Block


class BlockDelta(msgspec.Struct, frozen=True, gc=False):
    """`text` is a JSON string literal (conversation/literals.py) to append to the block's text or arguments."""

    index: int
    text: bytes


class BlockNoted(msgspec.Struct, frozen=True):
    """Data beside the text of an open block: a citation, or the log probabilities of the preceding delta."""

    index: int
    citation: dict[str, Any] | None = None
    logprobs: tuple[dict[str, Any], ...] = ()


class BlockClosed(msgspec.Struct, frozen=True):
    """`proof` is known only at the end of a Reasoning, ToolCall or Compaction block. `incomplete`: cut off by a
    limit."""

    index: int
    proof: Proof | None = None
    incomplete: bool = False


class UsageSeen(msgspec.Struct, frozen=True):
    usage: Usage


class Finished(msgspec.Struct, frozen=True):
    finish_reason: FinishReason
    raw_finish_reason: str | None = None
    stop_sequence: str | None = None
    stop_detail: StopDetail | None = None
    extensions: dict[str, Any] = {}


class Failed(msgspec.Struct, frozen=True):
    failure: Failure


Event = Started | BlockOpened | BlockDelta | BlockNoted | BlockClosed | UsageSeen | Finished | Failed
