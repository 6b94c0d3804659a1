"""The specification of how tool calls and their results are paired."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.adaptation.tools.pairing import NO_RESULT, adapt_pairing
from app.conversation.blocks import Text, ToolCall, ToolResult
from app.conversation.request import Request, Turn
from tests.adaptation.tools.asking import ask, assistant, call, losses, result, system, take, user


def paired(*turns: Turn) -> tuple[Turn, ...]:
    return take(adapt_pairing, ask(*turns))[0].turns


def test_results_come_first_and_in_the_order_of_the_calls() -> None:
    turns = (user("q"), assistant(call("a"), call("b")), user(result("b", "2")), user(result("a", "1")), user("next"))

    got = paired(*turns)

    assert [turn.role for turn in got] == ["user", "assistant", "user"]
    assert got[2].blocks == (result("a", "1"), result("b", "2"), Text("next"))


def test_what_the_user_says_follows_the_results_in_the_same_turn() -> None:
    got = paired(assistant(call("a")), user("look:", result("a"), "and"))

    assert got[1].blocks == (result("a"), Text("look:"), Text("and"))


def test_a_system_turn_between_call_and_result_moves_behind_the_result() -> None:
    got = paired(user("q"), assistant(call("a")), system("late"), user(result("a")))

    assert [turn.role for turn in got] == ["user", "assistant", "user", "system"]
    assert got[2].blocks == (result("a"),)


def test_a_call_without_result_is_given_one_that_says_so() -> None:
    request, notes = take(adapt_pairing, ask(assistant(call("x")), user("go on")))

    missing, words = request.turns[1].blocks
    assert missing == ToolResult("x", (Text(NO_RESULT),), is_error=True)
    assert words == Text("go on")
    assert [loss.severity for loss in notes.losses] == ["ignorable"]


def test_the_calls_of_the_very_last_turn_are_answered_too() -> None:
    got = paired(user("q"), assistant(call("x")))

    assert got[2:] == (Turn("user", (ToolResult("x", (Text(NO_RESULT),), is_error=True),)),)


def test_calls_before_a_later_answer_are_answered_too() -> None:
    got = paired(assistant(call("x")), user("stop"), assistant("well"), user("go"))

    assert got[1].blocks[0] == ToolResult("x", (Text(NO_RESULT),), is_error=True)


def test_a_result_that_no_call_has_becomes_words_of_the_user() -> None:
    request, notes = take(adapt_pairing, ask(user("q"), user(result("zz", "out"))))

    assert request.turns[1].blocks == (Text("[orphan tool result zz] out"),)
    assert losses(notes) == [("degrading", "messages[0]")]


def test_calls_that_came_as_turns_of_their_own_are_one_turn() -> None:
    got = paired(assistant(call("a")), assistant(call("b")), user(result("a")), user(result("b")))

    assert [turn.role for turn in got] == ["assistant", "user"]
    assert got[0].blocks == (call("a"), call("b"))


def test_an_id_that_is_used_again_is_another_one_for_call_and_result() -> None:
    got = paired(
        assistant(call("call_0")),
        user(result("call_0", "one")),
        assistant(call("call_0")),
        user(result("call_0", "two")),
    )

    first, second = (turn.blocks[0] for turn in got if turn.role == "assistant")
    assert isinstance(first, ToolCall)
    assert isinstance(second, ToolCall)
    assert first.id == "call_0" != second.id
    assert got[3].blocks == (result(second.id, "two"),)


def test_calls_without_ids_are_answered_in_order() -> None:
    got = paired(assistant(call(""), call("")), user(result("", "one"), result("", "two")))

    ids = [block.id for block in got[0].blocks if isinstance(block, ToolCall)]
    assert len(set(ids)) == 2
    assert got[1].blocks == (result(ids[0], "one"), result(ids[1], "two"))


def test_a_result_has_the_kind_of_its_call() -> None:
    got = paired(assistant(call("a", kind="custom")), user(result("a")))

    assert got[1].blocks == (result("a", kind="custom"),)


def test_a_request_without_tools_is_not_touched() -> None:
    request = ask(user("q"), assistant("a"), system("s"), user("r"))

    adapted, _ = take(adapt_pairing, request)

    assert adapted is request


_IDS = st.sampled_from(["a", "b", "c", ""])
_BLOCKS = st.lists(st.one_of(_IDS.map(call), _IDS.map(result), st.just(Text("t"))), max_size=4)


def _turn(role: str, blocks: list[ToolCall | ToolResult | Text]) -> Turn:
    wrong = ToolResult if role == "assistant" else ToolCall
    return Turn(role, tuple(block for block in blocks if not isinstance(block, wrong)))  # type: ignore[arg-type]


_TURNS = st.lists(st.builds(_turn, st.sampled_from(["user", "assistant", "system"]), _BLOCKS), max_size=8)


@given(_TURNS)
def test_any_history_comes_into_the_one_order(turns: list[Turn]) -> None:
    request = ask(*turns) if turns else ask()

    adapted, _ = take(adapt_pairing, request)

    _check_order(adapted)
    again, notes = take(adapt_pairing, adapted)
    assert again is adapted
    assert not notes.losses


def _check_order(request: Request) -> None:
    seen: set[str] = set()
    awaited: list[str] = []
    for turn in request.turns:
        calls = [block.id for block in turn.blocks if isinstance(block, ToolCall)]
        results = [block.call_id for block in turn.blocks if isinstance(block, ToolResult)]
        assert results == awaited
        assert [block.call_id for block in turn.blocks[: len(results)] if isinstance(block, ToolResult)] == results
        assert len(set(calls)) == len(calls)
        assert not seen & set(calls)
        seen |= set(calls)
        awaited = calls
