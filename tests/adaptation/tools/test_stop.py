"""The specification of stop sequences that the gateway watches for itself."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.adaptation.replies.stop import StopMatcher
from app.conversation.blocks import Reasoning, Text
from app.conversation.events import BlockClosed, BlockDelta, BlockOpened, Failed, Finished, UsageSeen
from app.conversation.response import Usage
from app.errors import Failure
from tests.adaptation.tools.asking import call
from tests.adaptation.tools.replies import deltas, piece_sizes, reply, run, stream


def test_the_text_ends_before_the_sequence() -> None:
    response = run(StopMatcher(["END"]), reply(Text("one END two")))

    assert response.blocks == (Text("one "),)
    assert (response.finish_reason, response.stop_sequence) == ("stop_sequence", "END")


def test_a_sequence_is_found_across_deltas() -> None:
    response = run(StopMatcher(["</stop>"]), reply(Text("a</stop>b")), [3, 2, 2])

    assert response.blocks == (Text("a"),)


def test_without_a_match_nothing_is_lost() -> None:
    response = reply(Text("one EN"), finish="length")

    assert run(StopMatcher(["END"]), response, [4, 2]) == response


def test_text_waits_only_while_it_may_be_the_beginning_of_a_sequence() -> None:
    events = stream(StopMatcher(["END"]), reply(Text("to EN it")), [3, 2, 3])

    assert deltas(events) == ["to ", "EN it"]


def test_the_sequence_that_is_complete_first_counts() -> None:
    response = run(StopMatcher(["abc", "b"]), reply(Text("xabc")))

    assert response.blocks == (Text("xa"),)
    assert response.stop_sequence == "b"


def test_reasoning_and_arguments_are_not_watched() -> None:
    response = reply(Reasoning("END"), call("c", "f", '{"a":"END"}'), finish="tool_calls")

    assert run(StopMatcher(["END"]), response) == response


def test_after_the_match_only_usage_passes() -> None:
    stage = StopMatcher(["END"])
    before = stage.feed([BlockOpened(0, Text("")), BlockDelta(0, b'"END"')])

    after = stage.feed(
        [
            BlockDelta(0, b'"more"'),
            BlockClosed(0),
            BlockOpened(1, call("c")),
            UsageSeen(Usage(output=3)),
            Finished("stop"),
            Failed(Failure(kind="internal", message="cut")),
        ]
    )

    assert before[1:] == [BlockClosed(0), Finished("stop_sequence", stop_sequence="END")]
    assert after == [UsageSeen(Usage(output=3))]


def test_a_delta_that_holds_no_beginning_passes_as_it_is() -> None:
    stage = StopMatcher(["END"])
    stage.feed([BlockOpened(0, Text(""))])
    delta = BlockDelta(0, rb'"\u00e9"')

    (passed,) = stage.feed([delta])

    assert passed is delta


@given(
    text=st.text("abc", max_size=30),
    stops=st.lists(st.text("abc", min_size=1, max_size=4), min_size=1),
    sizes=piece_sizes(),
)
def test_pieces_change_nothing(text: str, stops: list[str], sizes: list[int]) -> None:
    response = reply(Text(text))

    cut = run(StopMatcher(stops), response, sizes)

    assert cut == run(StopMatcher(stops), response)
    (said,) = cut.blocks
    assert isinstance(said, Text)
    assert text.startswith(said.text)
    assert not any(stop in said.text for stop in stops)
    assert (cut.finish_reason == "stop_sequence") == any(stop in text for stop in stops)
