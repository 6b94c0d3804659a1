"""The specification of how ids of tool calls are spelled for each vendor."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.adaptation.tools.tool_ids import adapt_tool_ids, legal_id
from app.conversation.blocks import ToolCall, ToolResult
from app.conversation.capabilities import Capabilities
from tests.adaptation.tools.asking import CLAUDE, RESPONSES, ask, assistant, call, result, take, user

MISTRAL = Capabilities(dialect="openai_chat", tool_id="mistral")

LEGAL = {"anthropic": r"[a-zA-Z0-9_-]+", "responses": r"(?s).{1,64}", "mistral": r"[a-zA-Z0-9]{9}", "any": r"(?s).+"}


@pytest.mark.parametrize("style", LEGAL)
@given(old=st.text())
def test_any_id_becomes_a_legal_one(style: str, old: str) -> None:
    new = legal_id(old, style)

    assert re.fullmatch(LEGAL[style], new)
    assert legal_id(new, style) == new


def test_a_legal_id_stays() -> None:
    request = ask(assistant(call("toolu_01-a")), user(result("toolu_01-a")))

    adapted, _ = take(adapt_tool_ids, request, CLAUDE)

    assert adapted is request


def test_ids_that_differ_in_illegal_characters_stay_different() -> None:
    request = ask(assistant(call("functions.Bash:0"), call("functions_Bash_0")))

    adapted, _ = take(adapt_tool_ids, request, CLAUDE)

    first, second = (block.id for block in adapted.turns[0].blocks if isinstance(block, ToolCall))
    assert first != second == "functions_Bash_0"


@pytest.mark.parametrize("capabilities", [MISTRAL, RESPONSES], ids=["mistral", "responses"])
def test_call_and_result_get_the_same_id(capabilities: Capabilities) -> None:
    old = "toolu_" + "a" * 80

    adapted, _ = take(adapt_tool_ids, ask(assistant(call(old)), user(result(old))), capabilities)

    (asked,), (answered,) = adapted.turns[0].blocks, adapted.turns[1].blocks
    assert isinstance(asked, ToolCall)
    assert isinstance(answered, ToolResult)
    assert asked.id == answered.call_id != old
