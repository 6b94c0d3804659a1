"""The specification of answers that say nothing."""

from __future__ import annotations

import pytest

from app.adaptation.replies.empty_answer import RefuseEmpty
from app.conversation.blocks import Block, Reasoning, Text
from app.conversation.events import BlockClosed, BlockDelta, BlockOpened, Failed, Finished
from app.conversation.response import FinishReason
from app.conversation.streams.fold import unfold
from app.errors import UpstreamRefused
from tests.adaptation.tools.asking import call
from tests.adaptation.tools.replies import reply, run


@pytest.mark.parametrize("blocks", [(), (Text(""),)], ids=["no block", "empty text"])
def test_an_answer_of_nothing_is_a_failure_that_is_worth_another_try(blocks: tuple[Block, ...]) -> None:
    with pytest.raises(UpstreamRefused, match="empty answer") as refused:
        run(RefuseEmpty(), reply(*blocks))

    assert refused.value.failure.http_status == 503


@pytest.mark.parametrize("block", [Text("x"), Reasoning("r"), call("c")], ids=["text", "reasoning", "call"])
def test_an_answer_of_something_passes(block: Block) -> None:
    assert run(RefuseEmpty(), reply(block)) == reply(block)


@pytest.mark.parametrize("finish", ["length", "stop_sequence", "content_filter"])
def test_an_answer_may_be_cut_to_nothing(finish: FinishReason) -> None:
    assert run(RefuseEmpty(), reply(finish=finish)).finish_reason == finish


def test_deltas_without_characters_say_nothing() -> None:
    events = RefuseEmpty().feed([BlockOpened(0, Text("")), BlockDelta(0, b'""'), BlockClosed(0), Finished("stop")])

    assert isinstance(events[-1], Failed)


def test_once_something_was_said_events_pass_unseen() -> None:
    stage = RefuseEmpty()
    stage.feed(unfold(reply(Text("x"))))
    burst = [BlockDelta(0, b'"a"')]

    assert stage.feed(burst) is burst
