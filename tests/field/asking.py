"""What clients of each dialect say, in the shapes of their dialects; and the marks of tests that all of them take."""

from __future__ import annotations

import json
from typing import Any

import pytest

A, C, R = "A", "C", "R"
CLIENTS = (A, C, R)
UPSTREAMS = {A: "messages/m", C: "chat/m", R: "responses/m"}
PATHS = {A: "/v1/messages", C: "/v1/chat/completions", R: "/v1/responses"}

every_client = pytest.mark.parametrize("dialect", CLIENTS)
every_upstream = pytest.mark.parametrize("to", CLIENTS)
both_modes = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])

Body = dict[str, Any]

QUESTION = {"role": "user", "content": "q"}
SCHEMA = {"type": "object", "properties": {"x": {"type": "integer"}}}


def body_of(dialect: str) -> tuple[str, Body]:
    """The path and the body of a request with one question and a tool `f`."""
    needed: dict[str, Body] = {A: {"max_tokens": 100}, C: {}, R: {"store": False}}
    asked = "hi" if dialect == R else [{"role": "user", "content": "hi"}]
    return PATHS[dialect], {**saying(dialect, asked), "tools": [tool(dialect)], **needed[dialect]}


def saying(dialect: str, said: Any) -> Body:
    """The field that holds what was said."""
    return {"input" if dialect == R else "messages": said}


def tool(dialect: str, name: str = "f", schema: Any = SCHEMA, **more: Any) -> Body:
    """A function; `more` are further fields of it."""
    if dialect == A:
        return {"name": name, "input_schema": schema, **more}
    function = {"name": name, "parameters": schema, **more}
    return {"type": "function", "function": function} if dialect == C else {"type": "function", **function}


def forced(dialect: str, name: str = "f") -> Body:
    """The choice of one function."""
    choices: dict[str, Body] = {
        A: {"type": "tool", "name": name},
        C: {"type": "function", "function": {"name": name}},
        R: {"type": "function", "name": name},
    }
    return choices[dialect]


def text(dialect: str, said: str) -> Body:
    return {"type": "input_text" if dialect == R else "text", "text": said}


def image(dialect: str, data: str, kind: str = "image/png") -> Body:
    """An image in base64."""
    url = f"data:{kind};base64,{data}"
    parts: dict[str, Body] = {
        A: {"type": "image", "source": {"type": "base64", "media_type": kind, "data": data}},
        C: {"type": "image_url", "image_url": {"url": url}},
        R: {"type": "input_image", "image_url": url},
    }
    return parts[dialect]


def called(
    dialect: str,
    given: Body | None = None,
    result: Any = "ok",
    *,
    name: str = "f",
    id: str = "c1",  # noqa: A002 - as on the wire
) -> list[Any]:
    """A question, the call of a function, and its result."""
    given = given or {}
    match dialect:
        case "A":
            use = {"type": "tool_use", "id": id, "name": name, "input": given}
            answer = {"type": "tool_result", "tool_use_id": id, "content": result}
            return [QUESTION, {"role": "assistant", "content": [use]}, {"role": "user", "content": [answer]}]
        case "C":
            call = {"id": id, "type": "function", "function": {"name": name, "arguments": json.dumps(given)}}
            said = {"role": "assistant", "content": None, "tool_calls": [call]}
            return [QUESTION, said, {"role": "tool", "tool_call_id": id, "content": result}]
        case _:
            item = {"type": "function_call", "call_id": id, "name": name, "arguments": json.dumps(given)}
            return [QUESTION, item, {"type": "function_call_output", "call_id": id, "output": result}]
