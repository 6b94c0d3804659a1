"""The specification of a whole adaptation: a request out, and its reply back."""

from __future__ import annotations

from msgspec.structs import replace

from app.adaptation.adapt import adapt
from app.conversation.blocks import Opaque, Reasoning, Text, ToolResult
from app.conversation.capabilities import Capabilities
from app.conversation.request import CustomTool, FunctionTool, OutputFormat, Request, ToolChoice
from app.conversation.response import Response
from app.conversation.streams.fold import fold, unfold
from app.conversation.streams.stages import chain
from tests.adaptation.tools.asking import CHAT, CLAUDE, ask, assistant, call, function, native, result, system, user
from tests.adaptation.tools.replies import reply

WRITER = replace(CHAT, think_tags=True, text_tool_calls=True, stop_limit=0)


def come_back(request: Request, capabilities: Capabilities, response: Response) -> Response:
    stages = [make() for make in adapt(request, capabilities).stages]
    return fold(chain(stages, unfold(response)))


def test_a_codex_history_reaches_a_chat_server() -> None:
    request = ask(
        user("q"),
        assistant("I look.", call("a", "get", namespace="mcp__kv__"), call("b", "apply_patch", "x", kind="custom")),
        system("Be quick."),
        user(result("b", kind="custom"), result("a")),
        tools=(function("get", namespace="mcp__kv__"), CustomTool("apply_patch"), native("web_search", server=True)),
        tool_choice=ToolChoice("auto"),
    )

    adapted = adapt(request, CHAT).request

    assert [turn.role for turn in adapted.turns] == ["user", "assistant", "user", "system"]
    assert adapted.turns[1].blocks == (
        Text("I look."),
        call("a", "mcp__kv__get"),
        call("b", "apply_patch", '{"input":"x"}'),
    )
    assert [block.call_id for block in adapted.turns[2].blocks if isinstance(block, ToolResult)] == ["a", "b"]
    assert [tool.name for tool in adapted.tools] == ["mcp__kv__get", "apply_patch"]


def test_what_was_done_last_is_undone_first() -> None:
    request = ask(tools=(CustomTool("run"),), stop=("STOP",))
    written = (
        "<think>STOP?</think>Now: "
        '<tool_call>{"name":"run","arguments":{"input":"a\\nb"}}</tool_call>'
        '<tool_call>{"name":"run","arguments":{"input":"c"}}</tool_call> STOP and more'
    )

    response = come_back(request, WRITER, reply(Text(written)))

    thought, text, first, second, *_ = response.blocks
    assert (thought, text) == (Reasoning("STOP?"), Text("Now: "))
    assert [(block.kind, block.arguments) for block in (first, second)] == [("custom", "a\nb"), ("custom", "c")]  # type: ignore[union-attr]
    assert response.stop_sequence == "STOP"


def test_a_forced_call_that_is_refused_comes_back_as_that_call() -> None:
    tool = FunctionTool("get", namespace="kv", schema={"type": "object", "properties": {"k": {"type": "string"}}})
    request = ask(tools=(tool,), tool_choice=ToolChoice("tool", (("kv", "get"),)))
    capabilities = replace(CLAUDE, forced_tool=False, structured="schema")

    asked = adapt(request, capabilities).request
    (made,) = come_back(request, capabilities, reply(Text('{"k":"v"}'))).blocks

    assert isinstance(asked.output_format, OutputFormat)
    assert asked.output_format.schema is not None
    assert asked.output_format.schema["additionalProperties"] is False
    assert made == replace(call("", "get", '{"k":"v"}', namespace="kv"), id=made.id)  # type: ignore[union-attr]


def test_the_same_history_always_gives_the_same_request() -> None:
    history = (user("q"), assistant(call("functions.f:0", "a.b"), call("")), user(result("functions.f:0"), result("")))
    request = ask(*history, user("go"), tools=(function("a.b"),))

    assert adapt(request, CLAUDE).request == adapt(request, CLAUDE).request


def test_a_longer_history_begins_like_the_shorter_one() -> None:
    history = (user("q"), assistant(call("x.1"), call("x.1")), user(result("zz"), "hm"), assistant("sorry"))

    before = adapt(ask(*history), CLAUDE).request.turns
    after = adapt(ask(*history, user("go"), assistant(call("x.1")), user(result("x.1"))), CLAUDE).request.turns

    assert after[: len(before)] == before


def test_a_foreign_block_behind_an_empty_answer_is_told() -> None:
    item = Opaque("openai_responses", "new", b"{}", description=(Text("said"),))

    adapted = adapt(ask(user("q"), assistant(), user(item)), CHAT).request

    assert adapted.turns == (user("q"), user("said"))
