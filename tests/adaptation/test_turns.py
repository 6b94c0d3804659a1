"""The specification of how turns are placed."""

from __future__ import annotations

from typing import Any

import pytest

from app.adaptation.turns import BILLING, DEFAULT_INSTRUCTIONS, RECEIVED, adapt_turns
from app.conversation.blocks import Image, Text, Url
from app.conversation.request import ReasoningSettings, Turn
from tests.adaptation.tools.asking import assistant, call, losses, result, system, take, user
from tests.adaptation.upstreams import by_chat, by_claude_code, by_codex, chat, claude, responses


def roles(turns: tuple[Turn, ...]) -> list[str]:
    return [turn.role for turn in turns]


def texts(turns: tuple[Turn, ...]) -> list[str]:
    return [block.text for turn in turns for block in turn.blocks if isinstance(block, Text)]


@pytest.mark.parametrize("upstream", [chat(), responses(), claude()], ids=["chat", "responses", "messages"])
def test_the_billing_line_makes_no_difference_upstream(upstream: Any) -> None:
    def ask(cch: str) -> Any:
        instructions = (Text(f"{BILLING} cc_version=2.1; cch={cch};"), Text("Be brief."))
        return by_claude_code(instructions=instructions)

    first, second = (take(adapt_turns, ask(cch), upstream)[0] for cch in ("00a1", "00b2"))

    assert first == second
    assert first.instructions == (Text("Be brief."),)


def test_what_follows_the_billing_line_in_the_same_text_stays() -> None:
    request = by_claude_code(instructions=(Text(f"{BILLING} cch=1;\n\nBe brief."),))

    assert take(adapt_turns, request)[0].instructions == (Text("Be brief."),)


def test_the_billing_line_stays_for_the_one_it_is_meant_for() -> None:
    request = by_claude_code(instructions=(Text(f"{BILLING} cch=1;"),))

    assert take(adapt_turns, request, claude(keep_billing=True))[0].instructions == request.instructions


def test_a_user_may_speak_of_the_billing_line() -> None:
    request = by_claude_code(user(f"{BILLING} what is it?"), instructions=(Text(f"About: {BILLING}"),))

    adapted = take(adapt_turns, request)[0]

    assert (adapted.turns, adapted.instructions) == (request.turns, request.instructions)


def test_a_late_system_turn_keeps_its_place() -> None:
    request = by_claude_code(user("hi"), system("Agents: X"), assistant("yes"), user("go"))

    assert roles(take(adapt_turns, request)[0].turns) == ["user", "system", "assistant", "user"]


@pytest.mark.parametrize("upstream", [chat(profile="llamacpp"), chat(merge_system=True), claude("claude-opus-4-7")])
def test_a_late_system_turn_becomes_a_reminder_where_there_is_one_system_text_only(upstream: Any) -> None:
    request = by_codex(user("hi"), assistant("yes"), system("late"), user("go"))

    adapted = take(adapt_turns, request, upstream)[0]

    assert "system" not in roles(adapted.turns)
    assert "<system-reminder>\nlate\n</system-reminder>" in "".join(texts(adapted.turns))


def test_a_reminder_stands_behind_tool_results() -> None:
    request = by_codex(user("q"), assistant(call("a")), user(result("a")), system("late"))

    adapted = take(adapt_turns, request, chat(profile="llamacpp"))[0]

    assert roles(adapted.turns) == ["user", "assistant", "user"]
    assert adapted.turns[2].blocks == (result("a"), Text("<system-reminder>\nlate\n</system-reminder>"))


def test_leading_system_turns_join_the_instructions() -> None:
    request = by_codex(system("ignorable"), user("q"), instructions=(Text("I"),))

    adapted = take(adapt_turns, request, claude())[0]

    assert adapted.instructions == (Text("I"), Text("ignorable"))
    assert roles(adapted.turns) == ["user"]


@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        ((user("q"), system("s"), assistant("a"), user("x")), ["user", "system", "assistant", "user"]),
        ((user("q"), system("s")), ["user", "system"]),
        ((user("q"), system("s"), system("t")), ["user", "system"]),
        ((user("q"), system("s"), user("x")), ["user", "user", "user"]),
        ((user("q"), assistant("a"), system("s"), user("x")), ["user", "assistant", "user", "user"]),
    ],
)
def test_claude_gets_system_turns_only_where_it_takes_them(turns: tuple[Turn, ...], expected: list[str]) -> None:
    adapted = take(adapt_turns, by_codex(*turns), claude("claude-opus-4-8"))[0]

    assert roles(adapted.turns) == expected
    assert "s" in "".join(texts(adapted.turns))


def test_one_system_text_is_joined_of_several() -> None:
    request = by_claude_code(instructions=(Text("a"), Text("b")))

    assert take(adapt_turns, request, chat(merge_system=True))[0].instructions == (Text("a\n\nb"),)


def test_an_effort_set_in_the_middle_is_the_efforts_of_the_request() -> None:
    directive = Turn("system", (), effort="low")
    request = by_claude_code(user("hi"), directive, reasoning=ReasoningSettings("on", "high"))

    adapted = take(adapt_turns, request, responses())[0]

    assert adapted.turns == (user("hi"),)
    assert adapted.reasoning == ReasoningSettings("on", "low")


def test_the_last_of_several_efforts_counts() -> None:
    turns = (user("a"), Turn("system", (), effort="low"), assistant("b"), Turn("system", (Text("s"),), effort="high"))

    adapted = take(adapt_turns, by_claude_code(*turns, user("c")))[0]

    assert adapted.reasoning.effort == "high"
    assert roles(adapted.turns) == ["user", "assistant", "system", "user"]
    assert not any(turn.effort for turn in adapted.turns)


def test_a_system_turn_that_a_later_user_clears_is_gone() -> None:
    cleared = Turn("system", (Text("old"),), clear_at="next_user_message")
    current = Turn("system", (Text("new"),), clear_at="next_user_message")

    adapted = take(adapt_turns, by_claude_code(user("a"), cleared, assistant("b"), user("c"), current))[0]

    assert texts(adapted.turns) == ["a", "b", "c", "new"]


def test_blank_texts_and_turns_are_dropped() -> None:
    request = by_chat(user("q", "", " \n"), assistant(""), assistant("a"), user("go"))

    assert take(adapt_turns, request, claude())[0].turns == (user("q"), assistant("a"), user("go"))


def test_a_request_of_blanks_keeps_its_turns() -> None:
    request = by_chat(user(" "))

    assert take(adapt_turns, request)[0].turns == request.turns


def test_neighbours_are_merged_where_speakers_must_alternate() -> None:
    request = by_claude_code(user("a"), user("b"), assistant("c"), assistant("d"), user("e"))

    strict = take(adapt_turns, request, chat(alternate=True))[0]
    free = take(adapt_turns, request, chat())[0]

    assert texts(strict.turns) == ["a\n\nb", "c\n\nd", "e"]
    assert free.turns == request.turns


def test_merging_keeps_media_in_place() -> None:
    image = Image(Url("https://example.com/a.png"))
    request = by_claude_code(user("a"), user(image, "b"))

    assert take(adapt_turns, request, chat(alternate=True))[0].turns == (user("a", image, "b"),)


def test_merging_never_crosses_a_tool_call() -> None:
    request = by_codex(user("q"), assistant(call("a")), user(result("a"), "next"), user("more"))

    adapted = take(adapt_turns, request, chat(alternate=True))[0]

    assert adapted.turns == (user("q"), assistant(call("a")), user(result("a"), "next\n\nmore"))


def test_words_behind_results_end_the_last_result_where_no_user_may_follow_a_tool() -> None:
    request = by_codex(user("q"), assistant(call("a"), call("b")), user(result("a"), result("b", "2"), "next"))

    last = take(adapt_turns, request, chat("mistral-large", "mistral"))[0].turns[-1]

    assert last.blocks[0] == result("a")
    assert [block.text for block in last.blocks[1].blocks] == ["2", "next"]  # type: ignore[union-attr]
    assert len(last.blocks) == 2


def test_words_stay_beside_an_image_that_needs_a_message_of_its_own() -> None:
    image = Image(Url("https://example.com/a.png"))
    turns = (user("q"), assistant(call("a")), user(result("a"), "label", image))

    adapted = take(adapt_turns, by_codex(*turns), chat(user_after_results=False))[0].turns

    assert adapted == (*turns[:2], user(result("a")), assistant(RECEIVED), user("label", image))


def test_an_answer_begun_by_the_client_is_refused_where_it_would_not_be_continued() -> None:
    request = by_claude_code(user("q"), Turn("assistant", (Text("{ "),), path="messages[1]"))

    taken, notes = take(adapt_turns, request, chat())
    _, refusal = take(adapt_turns, request, claude("claude-opus-4-6"))

    assert losses(notes) == []
    assert texts(taken.turns) == ["q", "{"]
    assert losses(refusal) == [("wrong", "messages[1]")]


def test_an_upstream_that_needs_instructions_has_some() -> None:
    request = by_chat(user("q"))

    adapted = take(adapt_turns, request, responses("gpt-5.5", "codex"))[0]

    assert adapted.instructions == (Text(DEFAULT_INSTRUCTIONS),)


def test_a_system_text_alone_is_said_where_there_must_be_something_to_answer() -> None:
    alone = by_chat(system("Tell a joke."))
    told = by_chat(system("Tell a joke."), instructions=(Text("Be brief."),))

    to_claude, to_responses, to_chat = (take(adapt_turns, alone, it)[0] for it in (claude(), responses(), chat()))

    assert (to_claude.instructions, roles(to_claude.turns), texts(to_claude.turns)) == ((), ["user"], ["Tell a joke."])
    assert (to_responses.instructions, roles(to_responses.turns)) == ((), ["system"])
    assert (to_chat.instructions, to_chat.turns) == ((Text("Tell a joke."),), ())
    assert take(adapt_turns, told, claude())[0].instructions == (Text("Be brief."),)


@pytest.mark.parametrize("upstream", [claude(), responses()], ids=["messages", "responses"])
def test_a_request_that_says_nothing_is_refused(upstream: Any) -> None:
    assert losses(take(adapt_turns, by_chat(user(" ")), upstream)[1]) == [("wrong", "messages[0]")]


@pytest.mark.parametrize("upstream", [claude(), chat(profile="llamacpp")], ids=["messages", "strict template"])
def test_a_history_that_the_assistant_begins_gets_a_users_turn_in_front(upstream: Any) -> None:
    request = by_chat(assistant("Hello!"), user("hi"))

    assert roles(take(adapt_turns, request, upstream)[0].turns) == ["user", "assistant", "user"]
    assert take(adapt_turns, request, chat())[0].turns == request.turns


def test_a_conversation_of_an_empty_answer_alone_is_refused_in_words() -> None:
    _, notes = take(adapt_turns, by_chat(assistant()), claude())

    assert {severity for severity, _ in losses(notes)} == {"wrong"}


def test_instructions_lead_an_empty_turn_where_there_is_no_role_for_them() -> None:
    request = by_chat(user(), instructions=(Text("Be brief."),))

    assert texts(take(adapt_turns, request, chat(system_text=False))[0].turns) == ["Be brief."]
