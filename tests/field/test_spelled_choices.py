"""A tool choice in the spelling of any API or library says the same on every path, to every upstream."""

from __future__ import annotations

from typing import Any

import pytest

from tests.field.asked import read_asked
from tests.field.asking import UPSTREAMS, both_modes, every_client, every_upstream
from tests.field.pairs import ask, whole_reply
from tests.gateway.conftest import Client
from tests.support.fake_upstream import FakeUpstream, json_reply

# By what is chosen: None is the model's own choice.
SPELLINGS: dict[str | None, list[Any]] = {
    "f": [
        "f",  # langchain-ai/langchain#16767
        {"type": "function", "function": {"name": "f"}},
        {"type": "function", "name": "f"},  # openai/openai-agents-python, and Cursor on Chat
        {"function": {"name": "f"}},
        {"name": "f"},  # the functions of the first days
        {"type": "tool", "name": "f"},
        {"type": "tool", "toolName": "f"},  # vercel/ai
        {"type": "tool", "tool": {"name": "f"}},
        {"type": "f"},
    ],
    # langchain-ai/langchain#28176, #23645: `True` and "any" mean that some tool must be called
    "required": [True, "any", "required", "Required", {"type": "any"}, {"type": "required"}, {"mode": "required"}],
    "none": ["none", {"type": "none"}],  # BerriAI/litellm#24443
    None: ["auto", "AUTO", {"type": "auto"}, {"mode": "auto"}, "", False, {}],
}


@every_client
@every_upstream
@both_modes
def test_a_choice_in_any_spelling_reaches_the_upstream(
    every: Client, upstream: FakeUpstream, dialect: str, to: str, stream: bool
) -> None:
    upstream.script(json_reply(whole_reply(to, "t")))
    for chosen, spellings in SPELLINGS.items():
        for spelling in spellings:
            upstream.seen.clear()
            told = ask(every, dialect, UPSTREAMS[to], stream=stream, tool_choice=spelling)

            assert told.text == "t", (spelling, told.error)
            choice = read_asked(upstream.seen[0].json()).choice
            assert choice == chosen or (chosen is None and choice == "auto"), (spelling, choice)


@every_client
@pytest.mark.parametrize("choice", ["g", {"type": "tool"}, {"type": "function"}, 5, ["f"]])
def test_a_choice_that_no_spelling_explains_is_refused(
    every: Client, upstream: FakeUpstream, dialect: str, choice: Any
) -> None:
    told = ask(every, dialect, UPSTREAMS["C" if dialect != "C" else "R"], tool_choice=choice)

    assert (told.status, "tool_choice" in told.error, upstream.seen) == (400, True, [])


def test_calls_stay_serial_where_the_spelling_changes(every: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply(whole_reply("A", "t")))

    ask(every, "A", "messages/m", tool_choice={"type": "required", "disable_parallel_tool_use": True})

    assert upstream.seen[0].json()["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}
