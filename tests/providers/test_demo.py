"""The demo: what it takes for the question of an agent, and what it answers."""

from __future__ import annotations

from app.conversation.blocks import Text, ToolCall, ToolResult
from app.conversation.request import FunctionTool, Request, Turn
from app.conversation.streams.fold import fold
from app.providers.kinds.demo import answer

COMMAND = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}
TOOLS = (FunctionTool("Agent", schema=COMMAND), FunctionTool("Bash", schema=COMMAND))


def ask(*turns: Turn) -> Text | ToolCall:
    """The last block of the demo's answer."""
    block = fold(answer(Request(dialect="anthropic_messages", model="demo", turns=turns, tools=TOOLS), "d")).blocks[-1]
    assert isinstance(block, Text | ToolCall)
    return block


def test_a_note_of_the_agent_after_the_question_is_not_the_question() -> None:
    asked = Turn("user", (Text("Use the Bash tool to run `ls -1`."),))
    note = Turn("system", (Text("The Agent tool starts `helpers`."),))

    called = ask(asked, note)

    assert isinstance(called, ToolCall)
    assert (called.name, called.arguments) == ("Bash", '{"command": "ls -1"}')


def test_a_reminder_before_the_question_is_not_the_question() -> None:
    called = ask(Turn("user", (Text("Agent starts `helpers`."), Text("Bash, please: `ls -1`"))))

    assert isinstance(called, ToolCall)
    assert (called.name, called.arguments) == ("Bash", '{"command": "ls -1"}')


def test_the_tool_that_is_named_first_is_called() -> None:
    called = ask(Turn("user", (Text("Use Bash, not Agent."),)))

    assert isinstance(called, ToolCall)
    assert called.name == "Bash"


def test_a_result_ends_the_loop_although_a_note_follows_it() -> None:
    asked = Turn("user", (Text("Use Bash."),))
    called = Turn("assistant", (ToolCall("t1", "Bash", '{"command": "ls"}'),))
    result = Turn("user", (ToolResult("t1", (Text("marker.txt"),)),))
    note = Turn("system", (Text("Use Bash."),))

    said = ask(asked, called, result, note)

    assert said == Text("The tool answered: marker.txt")
