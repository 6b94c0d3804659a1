"""The specification of what a model may or must call, upstream."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from app.adaptation.tools.tool_choice import adapt_tool_choice
from app.conversation.blocks import Text
from app.conversation.request import FunctionTool, OutputFormat, Request, ToolChoice
from tests.adaptation.tools.asking import CHAT, RESPONSES, ask, assistant, call, function, losses, result, take, user

SCHEMA: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "integer"}}}
F, G = function("f", schema=SCHEMA, description="Does f."), function("g", schema=SCHEMA)
ANY, AUTO, NONE = ToolChoice("any"), ToolChoice("auto"), ToolChoice("none")
NO_FORCE = replace(CHAT, forced_tool=False)
NO_CHOICE = replace(CHAT, tool_choice=False)


def the(name: str) -> ToolChoice:
    return ToolChoice("tool", ((None, name),))


def choose(choice: ToolChoice | None, *tools: FunctionTool, **fields: Any) -> Request:
    return ask(tools=tools, tool_choice=choice, **fields)


def test_a_choice_that_can_be_made_stays() -> None:
    for choice in (ANY, AUTO, NONE, the("f"), None):
        request = choose(choice, F, G)

        assert take(adapt_tool_choice, request)[0] == request


def test_without_tools_there_is_nothing_to_choose() -> None:
    request, notes = take(adapt_tool_choice, choose(the("web_search"), parallel_tool_calls=False))

    assert (request.tool_choice, request.parallel_tool_calls) == (None, None)
    assert not notes.losses


def test_a_demand_for_a_tool_that_is_gone_is_refused() -> None:
    for choice in (the("web_search"), ToolChoice("any", ((None, "web_search"),))):
        request, notes = take(adapt_tool_choice, choose(choice, F))

        assert request.tool_choice == NONE
        assert losses(notes) == [("wrong", "tool_choice")]


def test_a_choice_among_tools_that_are_all_gone_allows_none() -> None:
    request, notes = take(adapt_tool_choice, choose(ToolChoice("auto", ((None, "web_search"),)), F))

    assert request.tool_choice == NONE
    assert losses(notes) == [("degrading", "tool_choice")]


def test_a_named_call_that_is_only_asked_for_leaves_no_other_tool() -> None:
    request, _ = take(adapt_tool_choice, choose(the("f"), F, G), replace(NO_FORCE, structured="none"))

    assert (request.tools, request.tool_choice) == ((F,), AUTO)


def test_only_allowed_tools_are_sent_where_they_cannot_be_named() -> None:
    request, _ = take(adapt_tool_choice, choose(ToolChoice("auto", ((None, "f"),)), F, G))

    assert (request.tools, request.tool_choice) == ((F,), AUTO)


def test_allowed_tools_are_named_to_openai() -> None:
    request = choose(ToolChoice("any", ((None, "f"),)), F, G)

    assert take(adapt_tool_choice, request, RESPONSES)[0] == request


def test_an_upstream_without_choices_is_given_no_tools_where_none_may_be_called() -> None:
    request, _ = take(adapt_tool_choice, choose(NONE, F), NO_CHOICE)

    assert (request.tools, request.tool_choice) == ((), None)


def test_an_upstream_without_choices_needs_not_be_told_that_it_is_free() -> None:
    request, notes = take(adapt_tool_choice, choose(AUTO, F), NO_CHOICE)

    assert (request.tools, request.tool_choice) == ((F,), None)
    assert not notes.losses


# ---- forced calls that are refused


def test_one_forced_tool_becomes_structured_output() -> None:
    request, notes = take(adapt_tool_choice, choose(the("f"), F, G, parallel_tool_calls=False), NO_FORCE)

    assert (request.tools, request.tool_choice, request.parallel_tool_calls) == ((), None, None)
    assert request.output_format == OutputFormat("json_schema", SCHEMA, "f", "Does f.")
    assert losses(notes) == [("degrading", "tool_choice")]
    assert len(notes.stages) == 1


def test_any_call_of_one_tool_is_that_tool_s() -> None:
    request, _ = take(adapt_tool_choice, choose(ANY, F), NO_FORCE)

    assert request.output_format == OutputFormat("json_schema", SCHEMA, "f", "Does f.")


def test_tools_stay_declared_for_past_calls() -> None:
    past = (assistant(call("c")), user(result("c")))

    request, _ = take(adapt_tool_choice, ask(*past, tools=(F, G), tool_choice=the("f")), NO_FORCE)

    assert (request.tools, request.tool_choice) == ((F, G), NONE)


def test_any_call_of_several_tools_is_asked_for_in_words() -> None:
    request, notes = take(adapt_tool_choice, choose(ANY, F, G, instructions=(Text("Be kind."),)), NO_FORCE)

    assert request.tool_choice == AUTO
    assert request.instructions == (Text("Be kind."), Text("Answer with a call of one of the tools."))
    assert losses(notes) == [("degrading", "tool_choice")]
    assert not notes.stages


def test_a_forced_tool_beside_another_format_is_asked_for_in_words() -> None:
    output = OutputFormat("json_object")

    request, _ = take(adapt_tool_choice, choose(the("f"), F, output_format=output), NO_FORCE)

    assert (request.output_format, request.tools, request.tool_choice) == (output, (F,), AUTO)
    assert request.instructions == (Text("Answer with a call of the tool f."),)


# ---- parallel calls


def test_the_switch_for_parallel_calls_passes_where_there_is_one() -> None:
    request = choose(None, F, parallel_tool_calls=False)

    assert take(adapt_tool_choice, request)[0] == request


def test_parallel_calls_that_cannot_be_switched_off_are_reported() -> None:
    without = replace(CHAT, parallel_switch=False)

    off, notes = take(adapt_tool_choice, choose(None, F, parallel_tool_calls=False), without)
    on, quiet = take(adapt_tool_choice, choose(None, F, parallel_tool_calls=True), without)

    assert off.parallel_tool_calls is on.parallel_tool_calls is None
    assert losses(notes) == [("degrading", "parallel_tool_calls")]
    assert not quiet.losses


def test_where_nothing_may_be_called_nothing_is_said_of_parallel_calls() -> None:
    request, _ = take(adapt_tool_choice, choose(NONE, F, parallel_tool_calls=False))

    assert (request.tool_choice, request.parallel_tool_calls) == (NONE, None)
