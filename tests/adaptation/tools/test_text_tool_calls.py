"""The specification of calls that a model writes into its text."""

from __future__ import annotations

import json

import pytest
from hypothesis import given

from app.adaptation.tools.text_tool_calls import ReadTextToolCalls
from app.conversation.blocks import Text, ToolCall
from app.conversation.events import BlockClosed, BlockDelta, BlockOpened
from app.conversation.literals import literal, text_of
from app.conversation.response import Response
from app.conversation.schemas import Schema
from tests.adaptation.tools.asking import call
from tests.adaptation.tools.replies import deltas, piece_sizes, reply, run, stream

TOOLS: dict[str, Schema | None] = {
    "f": {"type": "object", "properties": {"x": {"type": "integer"}, "s": {"type": "string"}}}
}
WRITTEN = '<tool_call>{"name":"f","arguments":{"x":1}}</tool_call>'


def rescued(text: str, sizes: list[int] | None = None) -> Response:
    return run(ReadTextToolCalls(TOOLS), reply(Text(text)), sizes or ())


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


BAR, RULE = "\uff5c", "\u2581"
DSML = f"{BAR}DSML{BAR}"
SPELLINGS = {
    "hermes": '<tool_call>\n{"name": "f", "arguments": {"x": 1, "s": "2"}}\n</tool_call>',
    "hermes, with parameters as text": '<tool_call>{"name":"f","parameters":"{\\"x\\":1,\\"s\\":\\"2\\"}"}</tool_call>',
    "qwen": "<tool_call>\n<function=f>\n<parameter=x>\n1\n</parameter>\n<parameter=s>\n2\n</parameter>\n</function>\n"
    "</tool_call>",
    "qwen, without the outer mark": "<function=f><parameter=x>1</parameter><parameter=s>2</parameter></function>",
    "llama": '<function=f>{"x": 1, "s": "2"}</function>',
    "llama, by its tag": '<|python_tag|>{"name": "f", "parameters": {"x": 1, "s": "2"}}',
    "glm": "<tool_call>f\n<arg_key>x</arg_key>\n<arg_value>1</arg_value>\n<arg_key>s</arg_key>\n"
    "<arg_value>2</arg_value>\n</tool_call>",
    "deepseek": f"<{BAR}tool{RULE}calls{RULE}begin{BAR}><{BAR}tool{RULE}call{RULE}begin{BAR}>function"
    f'<{BAR}tool{RULE}sep{BAR}>f\n```json\n{{"x": 1, "s": "2"}}\n```<{BAR}tool{RULE}call{RULE}end{BAR}>'
    f"<{BAR}tool{RULE}calls{RULE}end{BAR}>",
    "deepseek 3.1": f"<{BAR}tool{RULE}calls{RULE}begin{BAR}><{BAR}tool{RULE}call{RULE}begin{BAR}>f"
    f'<{BAR}tool{RULE}sep{BAR}>{{"x": 1, "s": "2"}}<{BAR}tool{RULE}call{RULE}end{BAR}>'
    f"<{BAR}tool{RULE}calls{RULE}end{BAR}>",
    "deepseek 3.2": f'<{DSML}function_calls>\n<{DSML}invoke name="f">\n'
    f'<{DSML}parameter name="x" string="false">1</{DSML}parameter>\n'
    f'<{DSML}parameter name="s" string="true">2</{DSML}parameter>\n</{DSML}invoke>\n</{DSML}function_calls>',
    "deepseek 4, in plain bars": '<|DSML|tool_calls>\n<|DSML|invoke name="f">\n'
    '<|DSML|parameter name="x" string="false">1</|DSML|parameter>\n'
    '<|DSML|parameter name="s" string="true">2</|DSML|parameter>\n</|DSML|invoke>\n</|DSML|tool_calls>',
    "claude": '<function_calls>\n<invoke name="f">\n<parameter name="x">1</parameter>\n'
    '<parameter name="s">2</parameter>\n</invoke>\n</function_calls>',
    "gemma 4": '<|tool_call>call:f{x:1,s:<|"|>2<|"|>}<tool_call|>',
    "seed": "<seed:tool_call><function=f><parameter=x>1</parameter><parameter=s>2</parameter></function>"
    "</seed:tool_call>",
    "hunyuan": '<tool_calls>\n[{"name": "f", "arguments": {"x": 1, "s": "2"}}]\n</tool_calls>',
    "nemotron": '<TOOLCALL>[{"name": "f", "arguments": {"x": 1, "s": "2"}}]</TOOLCALL>',
    "granite": '<|tool_call|>[{"name": "f", "arguments": {"x": 1, "s": "2"}}]',
    "minimax": '<minimax:tool_call>\n<invoke name="f">\n<parameter name="x">1</parameter>\n'
    '<parameter name="s">2</parameter>\n</invoke>\n</minimax:tool_call>',
    "kimi": "<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>"
    '{"x": 1, "s": "2"}<|tool_call_end|><|tool_calls_section_end|>',
    "mistral": '[TOOL_CALLS][{"name": "f", "arguments": {"x": 1, "s": "2"}}]',
    "mistral, newer": '[TOOL_CALLS]f[ARGS]{"x": 1, "s": "2"}',
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@given(sizes=piece_sizes())
def test_every_family_s_spelling_is_read_and_its_values_have_the_types_of_the_schema(
    spelling: str, sizes: list[int]
) -> None:
    response = rescued(f"Now: {SPELLINGS[spelling]}", sizes)

    text, made = response.blocks
    assert isinstance(text, Text)
    assert text.text == "Now: "
    assert isinstance(made, ToolCall)
    assert (made.name, json.loads(made.arguments)) == ("f", {"x": 1, "s": "2"})
    assert response.finish_reason == "tool_calls"


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_spelling_that_names_an_unknown_tool_stays_text(spelling: str) -> None:
    text = SPELLINGS[spelling].replace('"f"', '"g"').replace("=f>", "=g>").replace("s.f:", "s.g:")
    text = text.replace(">f\n", ">g\n").replace(f"{BAR}>f", f"{BAR}>g").replace("]f[", "]g[").replace("l:f{", "l:g{")

    assert said(rescued(text)) == [text]


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


def test_a_value_with_half_a_character_is_carried() -> None:
    events = ReadTextToolCalls({"f": None}).feed(
        [
            BlockOpened(0, Text("")),
            BlockDelta(0, literal("<tool_call><function=f><parameter=a>x\ud83d</parameter></function></tool_call>")),
        ]
    )

    said = [text_of(event.text) for event in events if isinstance(event, BlockDelta)]
    assert [json.loads(text) for text in said] == [{"a": "x\ud83d"}]


def test_calls_that_were_made_stay() -> None:
    response = reply(Text("t"), call("c", "f", '{"x":1}'), finish="tool_calls")

    assert run(ReadTextToolCalls(TOOLS), response) == response


def test_servers_that_escape_the_bracket_are_understood() -> None:
    stage = ReadTextToolCalls(TOOLS)
    stage.feed([BlockOpened(0, Text("")), BlockDelta(0, b'"see "')])

    made = stage.feed([BlockDelta(0, rb'"\u003ctool_call\u003e{\"name\":\"f\"}\u003c/tool_call\u003e"')])

    assert [type(event) for event in made] == [BlockClosed, BlockOpened, BlockDelta, BlockClosed]


def test_prose_does_not_wait_for_the_end_of_a_tag() -> None:
    events = stream(ReadTextToolCalls(TOOLS), reply(Text("a <tool_call> b")), [2, 11, 2])

    assert deltas(events) == ["a ", "<tool_call> b"]
