"""The specification of calls that a model writes into its text."""

from __future__ import annotations

import pytest
from hypothesis import given

from app.adaptation.tools.text_tool_calls import ReadTextToolCalls
from app.conversation.blocks import Text, ToolCall
from app.conversation.events import BlockClosed, BlockDelta, BlockOpened
from app.conversation.response import Response
from tests.adaptation.tools.asking import call
from tests.adaptation.tools.replies import deltas, piece_sizes, reply, run, stream

WRITTEN = '<tool_call>{"name":"f","arguments":{"x":1}}</tool_call>'


def rescued(text: str, sizes: list[int] | None = None) -> Response:
    return run(ReadTextToolCalls({"f"}), reply(Text(text)), sizes or ())


def said(response: Response) -> list[str]:
    """Texts as they are, calls as `name arguments`."""
    return [
        f"{block.name} {block.arguments}" if isinstance(block, ToolCall) else block.text for block in response.blocks
    ]  # type: ignore[union-attr]


@given(sizes=piece_sizes())
def test_a_written_call_is_made(sizes: list[int]) -> None:
    response = rescued(WRITTEN, sizes)

    assert said(response) == ['f {"x":1}']
    assert response.finish_reason == "tool_calls"


@given(sizes=piece_sizes())
def test_text_around_calls_becomes_blocks_of_its_own(sizes: list[int]) -> None:
    response = rescued(f"One:\n{WRITTEN}\n{WRITTEN} two", sizes)

    assert said(response) == ["One:\n", 'f {"x":1}', 'f {"x":1}', " two"]


def test_each_call_has_an_id_of_its_own_that_comes_from_the_reply() -> None:
    first, second = (block.id for block in rescued(WRITTEN * 2).blocks if isinstance(block, ToolCall))

    again = [block.id for block in rescued(WRITTEN * 2).blocks if isinstance(block, ToolCall)]

    assert first != second
    assert again == [first, second]


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>{"name":"g","arguments":{}}</tool_call>',
        '<tool_call>{"name":"f","arguments":{"x":</tool_call>',
        '<tool_call>{"name":"f","arguments":[1]}</tool_call>',
        f"Write it so:\n```\n{WRITTEN}\n```\nand nothing else.",
        "The tag <tool_call> opens a call.",
        '<tool_call>{"name":"f"',
        "a < b `code` <tool",
        " \n",
        "",
    ],
    ids=["not declared", "no JSON", "no object", "code fence", "prose", "no end", "marks", "blank", "nothing"],
)
@given(sizes=piece_sizes())
def test_what_is_no_call_stays_text(text: str, sizes: list[int]) -> None:
    response = rescued(text, sizes)

    assert response == reply(Text(text))


def test_a_call_behind_a_fence_is_made() -> None:
    assert said(rescued(f"```\nx\n```\n{WRITTEN}")) == ["```\nx\n```\n", 'f {"x":1}']


def test_arguments_may_be_written_as_a_string_or_not_at_all() -> None:
    text = r'<tool_call>{"name":"f","arguments":"{\"x\":1}"}</tool_call><tool_call> {"name":"f"} </tool_call>'

    assert said(rescued(text)) == ['f {"x":1}', "f {}"]


def test_calls_that_were_made_stay() -> None:
    response = reply(Text("t"), call("c", "f", '{"x":1}'), finish="tool_calls")

    assert run(ReadTextToolCalls({"f"}), response) == response


def test_servers_that_escape_the_bracket_are_understood() -> None:
    stage = ReadTextToolCalls({"f"})
    stage.feed([BlockOpened(0, Text("")), BlockDelta(0, b'"see "')])

    made = stage.feed([BlockDelta(0, rb'"\u003ctool_call\u003e{\"name\":\"f\"}\u003c/tool_call\u003e"')])

    assert [type(event) for event in made] == [BlockClosed, BlockOpened, BlockDelta, BlockClosed]


def test_prose_does_not_wait_for_the_end_of_a_tag() -> None:
    events = stream(ReadTextToolCalls({"f"}), reply(Text("a <tool_call> b")), [2, 11, 2])

    assert deltas(events) == ["a ", "<tool_call>", " b"]
