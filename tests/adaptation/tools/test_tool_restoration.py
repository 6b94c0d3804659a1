"""The specification of how calls get back what the client declared."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.adaptation.tools.tool_restoration import Original, Restore
from app.conversation.blocks import Text, ToolCall
from app.conversation.events import BlockDelta, BlockOpened
from app.conversation.response import Response
from app.conversation.streams.custom_input import wrap_input
from tests.adaptation.tools.asking import call
from tests.adaptation.tools.replies import deltas, piece_sizes, reply, run, stream

PATCH = '*** Begin Patch\n*** Update File: a "b".py\n+\\é😀\u0001\n*** End Patch'

ORIGINALS = {
    (None, "apply_patch"): Original("apply_patch", kind="custom", wrapped=True),
    (None, "mcp__kv__get"): Original("get", "mcp__kv__"),
    (None, "shell"): Original("shell", kind="local_shell"),
}


def restored(arguments: str, sizes: list[int] | None = None) -> str:
    response = run(Restore(ORIGINALS), reply(call("c", "apply_patch", arguments)), sizes or ())
    return _only_call(response).arguments


def _only_call(response: Response) -> ToolCall:
    (block,) = response.blocks
    assert isinstance(block, ToolCall)
    return block


def test_a_flattened_call_gets_name_and_namespace_back() -> None:
    response = run(Restore(ORIGINALS), reply(call("c", "mcp__kv__get", '{"k":1}')))

    assert response.blocks == (call("c", "get", '{"k":1}', namespace="mcp__kv__"),)


def test_a_native_call_gets_its_kind_back() -> None:
    response = run(Restore(ORIGINALS), reply(call("c", "shell", '{"command":["ls"]}')))

    assert response.blocks == (call("c", "shell", '{"command":["ls"]}', kind="local_shell"),)


def test_calls_of_other_tools_and_text_pass() -> None:
    response = reply(Text("t"), call("c", "mine", '{"input":"x"}'))

    assert run(Restore(ORIGINALS), response) == response


@pytest.mark.parametrize(
    "arguments",
    [
        wrap_input(PATCH),
        json.dumps({"input": PATCH}),
        ' {\n  "input" : ' + json.dumps(PATCH, ensure_ascii=False) + "\n}\n",
        json.dumps({"patch": PATCH}),
        json.dumps({"command": ["apply_patch", PATCH]}),  # farion1231/cc-switch#3669
        PATCH,
    ],
    ids=["ours", "escaped", "spaced", "another name", "a command", "raw text"],
)
@given(sizes=piece_sizes())
def test_the_input_of_a_custom_tool_is_the_text_however_it_comes(arguments: str, sizes: list[int]) -> None:
    assert restored(arguments, sizes) == PATCH


@given(text=st.text(), sizes=piece_sizes())
def test_any_text_survives_the_wrapping(text: str, sizes: list[int]) -> None:
    assert restored(wrap_input(text), sizes) == text


@given(arguments=st.text('{}":\\input ,u0a1d8e\n', max_size=40), sizes=piece_sizes())
def test_any_arguments_give_the_same_text_in_any_pieces(arguments: str, sizes: list[int]) -> None:
    assert restored(arguments, sizes) == restored(arguments)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("{}", ""),
        ("", ""),
        ('{"input":"cut off', "cut off"),
        ('{"input":"a\nb"}', "a\nb"),
        (r'{"input":"a\qb\u12z"}', r"a\qb\u12z"),
        ('{"a":1,"b":2}', '{"a":1,"b":2}'),
        ('{"input":["a"]}', '{"input":["a"]}'),
        ("{ not json", "{ not json"),
    ],
)
def test_odd_arguments_are_read_as_well_as_they_can(arguments: str, text: str) -> None:
    assert restored(arguments) == text


def test_the_input_streams_while_it_arrives() -> None:
    events = stream(Restore(ORIGINALS), reply(call("c", "apply_patch", '{"input":"abcdef"}')), [10, 3, 3, 1, 1])

    assert deltas(events) == ["abc", "def"]


def test_an_escape_that_is_cut_waits_for_its_end() -> None:
    arguments = r'{"input":"a\ud83d\ude00b"}'

    events = stream(Restore(ORIGINALS), reply(call("c", "apply_patch", arguments)), [13, 4, 6, 4])

    assert deltas(events) == ["a", "😀", "b"]


def test_deltas_of_other_blocks_are_not_touched() -> None:
    stage = Restore(ORIGINALS)
    stage.feed([BlockOpened(0, Text(""))])
    burst = [BlockDelta(0, b'"a"'), BlockDelta(0, b'"b"')]

    assert stage.feed(burst) is burst
