"""Requests for the steps that adapt tools, and one way to run a step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from app.adaptation.notes import Notes
from app.conversation.blocks import Block, Text, ToolCall, ToolResult
from app.conversation.capabilities import Capabilities
from app.conversation.request import FunctionTool, NativeTool, Request, Turn

CHAT = Capabilities(dialect="openai_chat")
CLAUDE = Capabilities(
    dialect="anthropic_messages",
    tool_id="anthropic",
    tool_name_limit=128,
    schema="anthropic",
    native_tools=("web_search_20260318", "bash_20250124"),
)
RESPONSES = Capabilities(
    dialect="openai_responses",
    first_party=True,
    custom_tools=True,
    namespaces=True,
    strict_explicit=True,
    tool_id="responses",
    native_tools=("web_search", "local_shell"),
)

Step = Callable[[Request, Capabilities, Notes], Request]


def user(*blocks: Block | str) -> Turn:
    return Turn("user", _blocks(blocks), path="messages[0]")


def assistant(*blocks: Block | str) -> Turn:
    return Turn("assistant", _blocks(blocks))


def system(text: str) -> Turn:
    return Turn("system", (Text(text),))


def call(id_: str, name: str = "f", arguments: str = "{}", **fields: Any) -> ToolCall:
    return ToolCall(id_, name, arguments, **fields)


def result(id_: str, text: str = "done", **fields: Any) -> ToolResult:
    return ToolResult(id_, (Text(text),), **fields)


def function(name: str = "f", **fields: Any) -> FunctionTool:
    return FunctionTool(name, **fields)


def native(type_: str, name: str | None = None, *, server: bool = False, **definition: Any) -> NativeTool:
    dialect = "anthropic_messages" if type_[-1].isdigit() else "openai_responses"
    return NativeTool(dialect, type_, name or type_, {"type": type_, **definition}, server=server)


def ask(*turns: Turn, **fields: Any) -> Request:
    return Request(dialect="openai_responses", model="m", turns=turns or (user("q"),), **fields)


def take(step: Step, request: Request, capabilities: Capabilities = CHAT) -> tuple[Request, Notes]:
    notes = Notes()
    return step(request, capabilities, notes), notes


def losses(notes: Notes) -> list[tuple[str, str]]:
    return [(loss.severity, loss.path) for loss in notes.losses]


def _blocks(blocks: tuple[Block | str, ...]) -> tuple[Block, ...]:
    return tuple(Text(block) if isinstance(block, str) else block for block in blocks)
