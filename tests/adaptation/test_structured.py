"""The specification of answers in JSON."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from app.adaptation.structured import PLAIN_JSON, adapt_structured
from app.conversation.blocks import Text, ToolCall
from app.conversation.events import Event
from app.conversation.request import OutputFormat, Request, ToolChoice, Turn
from app.conversation.response import Response
from app.conversation.streams.fold import fold, unfold
from app.conversation.streams.stages import chain
from tests.adaptation.tools.asking import function, losses, take, user
from tests.adaptation.upstreams import by_chat, by_claude_code, by_codex, chat, claude, responses

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
LOOSE = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 3}}}
OLD = claude("claude-3-7-sonnet-20250219")
THING = OutputFormat("json_schema", SCHEMA, "thing", strict=True)


def sent(request: Request, upstream: Any) -> OutputFormat:
    output = take(adapt_structured, request, upstream)[0].output_format
    assert output is not None
    return output


@pytest.mark.parametrize("upstream", [chat(), responses(), claude()], ids=["chat", "responses", "messages"])
def test_a_schema_passes_to_upstreams_that_know_schemas(upstream: Any) -> None:
    assert sent(by_chat(output_format=THING), upstream) == THING


LIST = {"type": "array", "items": {"$ref": "#/$defs/x"}, "$defs": {"x": {"type": "integer"}}}
WRAPPED_LIST = {
    "type": "object",
    "properties": {"value": {"type": "array", "items": {"$ref": "#/$defs/x"}}},
    "required": ["value"],
    "additionalProperties": False,
    "$defs": {"x": {"type": "integer"}},
}


@pytest.mark.parametrize("upstream", [chat(), responses()], ids=["chat", "responses"])
def test_a_schema_of_no_object_is_asked_for_within_one_and_answered_as_it_was_asked(upstream: Any) -> None:
    request = by_claude_code(output_format=OutputFormat("json_schema", LIST))

    taken, notes = take(adapt_structured, request, upstream)
    seen = through(notes.stages, Response(id="r", model="m", blocks=(Text('{"value":[1]}'),), finish_reason="stop"))

    assert taken.output_format is not None
    assert (taken.output_format.schema, taken.output_format.strict) == (WRAPPED_LIST, True)
    assert seen.blocks == (Text("[1]"),)
    assert losses(notes) == []


def test_a_schema_of_no_object_is_had_by_a_tool_too() -> None:
    taken, notes = take(adapt_structured, by_chat(output_format=OutputFormat("json_schema", LIST)), OLD)
    seen = through(
        notes.stages,
        Response(
            id="r", model="m", blocks=(ToolCall("c", "json_output", '{"value":[1]}'),), finish_reason="tool_calls"
        ),
    )

    assert [tool.schema for tool in taken.tools] == [WRAPPED_LIST]  # type: ignore[union-attr]
    assert (seen.blocks, seen.finish_reason) == ((Text("[1]"),), "stop")


@pytest.mark.parametrize("upstream", [claude(), chat(schema="gemini")], ids=["messages", "gemini"])
def test_an_upstream_that_takes_any_schema_gets_no_object_around_it(upstream: Any) -> None:
    output = OutputFormat("json_schema", {"type": "array", "items": {"type": "integer"}})

    assert sent(by_codex(output_format=output), upstream).schema == output.schema


@pytest.mark.parametrize("name", [None, "", "my schema!", "x" * 80, "ümlaut"])
def test_the_name_of_a_format_is_made_valid(name: str | None) -> None:
    output = OutputFormat("json_schema", SCHEMA, name)

    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", sent(by_codex(output_format=output), chat()).name or "")


def test_a_format_without_a_name_is_called_output() -> None:
    assert sent(by_claude_code(output_format=OutputFormat("json_schema", SCHEMA)), chat()).name == "output"


def test_claudes_schema_is_strict_only_where_openai_takes_it_as_strict() -> None:
    clean, loose = (OutputFormat("json_schema", schema) for schema in (SCHEMA, LOOSE))

    assert sent(by_claude_code(output_format=clean), responses()).strict is True
    assert sent(by_claude_code(output_format=loose), responses()).strict is False


def test_claude_gets_the_part_of_a_schema_that_it_knows() -> None:
    request = by_chat(output_format=OutputFormat("json_schema", LOOSE))

    taken, notes = take(adapt_structured, request, claude())

    assert taken.output_format is not None
    assert taken.output_format.schema == {
        "type": "object",
        "properties": {"a": {"type": "integer", "description": "{minimum: 3}"}},
        "additionalProperties": False,
    }
    assert losses(notes) == [("degrading", "response_format")]


def test_a_model_without_schemas_is_made_to_call_a_tool_with_one() -> None:
    taken, notes = take(adapt_structured, by_chat(output_format=THING), OLD)

    assert taken.output_format is None
    assert [(tool.name, tool.schema) for tool in taken.tools] == [("json_output", SCHEMA)]  # type: ignore[union-attr]
    assert taken.tool_choice == ToolChoice("tool", ((None, "json_output"),))
    assert losses(notes) == []


def through(stages: Any, response: Response) -> Response:
    events: list[Event] = list(chain([make() for make in reversed(stages)], unfold(response)))
    return fold(events)


def test_the_call_of_that_tool_is_the_answers_text() -> None:
    _, notes = take(adapt_structured, by_chat(output_format=THING), OLD)
    answer = Response(id="r", model="m", blocks=(ToolCall("c", "json_output", '{"a": 1}'),), finish_reason="tool_calls")

    seen = through(notes.stages, answer)

    assert (seen.blocks, seen.finish_reason) == ((Text('{"a": 1}'),), "stop")


def test_the_clients_own_tools_can_be_called_beside_a_schema() -> None:
    request = by_chat(output_format=THING, tools=(function("f"),))

    taken, notes = take(adapt_structured, request, OLD)
    answer = Response(id="r", model="m", blocks=(ToolCall("c", "f", '{"x": 1}'),), finish_reason="tool_calls")

    assert [tool.name for tool in taken.tools] == ["f", "json_output"]
    assert taken.tool_choice == ToolChoice("any")
    assert through(notes.stages, answer) == answer


def test_a_tool_of_the_same_name_keeps_it() -> None:
    request = by_chat(output_format=THING, tools=(function("json_output"),))

    taken, _ = take(adapt_structured, request, OLD)

    assert [tool.name for tool in taken.tools] == ["json_output", "json_output_"]


def test_a_tool_that_the_client_forces_goes_before_its_schema() -> None:
    choice = ToolChoice("tool", ((None, "f"),))
    request = by_chat(output_format=THING, tools=(function("f"),), tool_choice=choice)

    taken, notes = take(adapt_structured, request, OLD)

    assert (len(taken.tools), taken.tool_choice, taken.output_format) == (1, choice, None)
    assert losses(notes) == [("ignorable", "response_format")]


def test_a_schema_is_told_in_words_where_only_json_can_be_had() -> None:
    taken, notes = take(adapt_structured, by_codex(output_format=THING), chat("deepseek-chat", "deepseek"))

    assert taken.output_format == OutputFormat("json_object")
    assert json.dumps(SCHEMA, separators=(",", ":")) in taken.instructions[-1].text
    assert losses(notes) == [("degrading", "text.format")]


def test_a_schema_is_told_in_words_where_nothing_can_be_had() -> None:
    taken, notes = take(adapt_structured, by_codex(output_format=THING), chat(structured="none"))

    assert taken.output_format is None
    assert taken.instructions[-1].text.startswith(PLAIN_JSON)
    assert losses(notes) == [("degrading", "text.format")]


def test_any_json_is_asked_of_claude_in_words_and_comes_without_fences() -> None:
    request = by_chat(user("give me something"), output_format=OutputFormat("json_object"))

    taken, notes = take(adapt_structured, request, claude())
    fenced = Response(id="r", model="m", blocks=(Text('```json\n{"a": 1}\n```'),), finish_reason="stop")

    assert (taken.output_format, taken.instructions) == (None, (Text(PLAIN_JSON),))
    assert through(notes.stages, fenced).blocks == (Text('{"a": 1}'),)


def test_chat_is_asked_for_json_with_the_word_that_openai_wants_to_see() -> None:
    silent = by_codex(user("give me something"), output_format=OutputFormat("json_object"))
    spoken = by_codex(user("as JSON"), output_format=OutputFormat("json_object"))

    assert take(adapt_structured, silent, chat())[0].instructions == (Text(PLAIN_JSON),)
    assert take(adapt_structured, spoken, chat())[0] == spoken


def test_responses_must_see_the_word_json_in_the_input() -> None:
    told = by_chat(user("q"), instructions=(Text("Answer in JSON."),), output_format=OutputFormat("json_object"))
    spoken = by_chat(user("as JSON"), output_format=OutputFormat("json_object"))

    assert take(adapt_structured, told, responses())[0].turns == (user("q"), Turn("system", (Text(PLAIN_JSON),)))
    assert take(adapt_structured, spoken, responses())[0] == spoken


@pytest.mark.parametrize("upstream", [chat(), responses()], ids=["chat", "responses"])
def test_the_name_of_a_schemas_language_is_not_sent_to_openai(upstream: Any) -> None:
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object"}
    request = by_claude_code(output_format=OutputFormat("json_schema", schema))

    taken = take(adapt_structured, request, upstream)[0]

    assert taken.output_format is not None
    assert taken.output_format.schema == {"type": "object"}


def test_text_needs_nothing() -> None:
    request = by_chat(output_format=OutputFormat("text"))

    assert take(adapt_structured, request, claude())[0] is request
