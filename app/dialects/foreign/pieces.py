"""Reads messages and items of any dialect or library into neutral pieces: something said, a call, a result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from app.dialects.foreign.untyped_parts import with_type
from app.errors import InvalidRequest

_ROLES = {"model": "assistant", "ai": "assistant", "bot": "assistant", "human": "user"}
RESULT_ROLES = ("tool", "function")
TEXTS = ("text", "input_text", "output_text")
# Fields with a message's content or a tool's output in place of `content`, and those for the arguments of a call.
IN_PLACE = ("parts", "text", "output", "result")
_ARGUMENTS = ("arguments", "args", "input", "parameters")


class Said(msgspec.Struct):
    """A message's content. `parts` may be of any dialect; `more` are the message's other fields."""

    role: str
    parts: list[Any]
    more: dict[str, Any] = {}


class Called(msgspec.Struct):
    id: Any
    name: Any
    arguments: Any


class Answered(msgspec.Struct):
    id: Any
    content: Any
    is_error: bool = False


Piece = Said | Called | Answered


def read_pieces(value: Any) -> Iterator[Piece]:
    """The pieces of a message or an item; none of anything else."""
    match value:
        case {"role": str(role), **more}:
            yield from _read_message(plain_role(role), more)
        case {"type": "message", **more}:
            yield from _read_message("user", more)
        case dict() if (piece := read_call_or_result(value)) is not None:
            yield piece


def plain_role(role: str) -> str:
    return _ROLES.get(role.lower(), role.lower())


def _read_message(role: str, value: Mapping[Any, Any]) -> Iterator[Piece]:
    message: dict[str, Any] = dict(value)
    message.pop("type", None)
    content, calls = _take_content(message), message.pop("tool_calls", None)
    parts = content if isinstance(content, list) else [] if content in (None, "") else [content]
    if role in RESULT_ROLES:
        answers = [step for part in parts if isinstance(step := read_call_or_result(part), Answered)]
        yield from answers or [Answered(message.get("tool_call_id") or message.get("call_id"), content)]
        beside = [part for part in parts if not isinstance(read_call_or_result(part), Answered)] if answers else []
        if beside:
            yield Said("user", beside)
        return
    spoken_parts: list[Any] = []
    more = role == "assistant" and bool(message)
    for part in map(with_type, parts):
        step = read_call_or_result(part)
        if step is None:
            spoken_parts += [] if is_silent(part) else [part]
            continue
        if spoken_parts or more:
            yield Said(role, spoken_parts, message)
            spoken_parts, more, message = [], False, {}
        yield step
    if spoken_parts or more or not (parts or calls):
        yield Said(role, spoken_parts, message)
    for call in _list_calls(calls):
        if isinstance(step := read_call_or_result(call), Called):
            yield step


def _take_content(message: dict[str, Any]) -> Any:
    """The content of a message, wherever a library keeps it, with the media beside it."""
    content = message.pop("content", None)
    if content is None:
        content = _first_of({name: message.pop(name, None) for name in IN_PLACE}, IN_PLACE)
    media = [
        _as_attachment(each)
        for name in ("images", "attachments", "experimental_attachments")
        if isinstance(listed := message.pop(name, None), list)
        for each in listed
    ]
    message.pop("parts", None)
    if not media:
        return content
    return [*(content if isinstance(content, list) else [] if content in (None, "") else [content]), *media]


def _as_attachment(value: Any) -> Any:
    """A medium that stands beside a content, as a part of it."""
    match value:
        case str() if value[:5].lower() in ("data:", "http:", "https"):
            return {"type": "image_url", "image_url": {"url": value}}
        case str():
            return {"type": "image", "data": value}
        case {"url": str(url)} if "type" not in value:
            declared = str(value.get("contentType") or value.get("mediaType") or "")
            if declared.startswith("image/"):
                return _as_attachment(url)
            return {"type": "file", "file": {"file_data" if url.startswith("data:") else "file_url": url}}
        case _:
            return value


def _first_of(fields: Mapping[Any, Any], names: Sequence[str]) -> Any:
    return next((fields[name] for name in names if fields.get(name) is not None), None)


def _list_calls(calls: Any) -> list[Any]:
    return calls if isinstance(calls, list) else [calls] if calls else []


def check_calls(value: Mapping[str, Any], path: str) -> None:
    """Raises InvalidRequest for a call that would be lost, because it is in the shape of no dialect."""
    for number, call in enumerate(_list_calls(value.get("tool_calls"))):
        if not isinstance(read_call_or_result(call), Called):
            place = f"{path}.tool_calls[{number}]"
            raise InvalidRequest(
                f"{place}: a tool call is an object with id, name and arguments; correct or remove it", param=place
            )


def read_call_or_result(value: Any) -> Called | Answered | None:
    """A call or a result in the spelling of any dialect or library; None for anything else."""
    match value:
        case {"type": "tool_use", "name": name}:
            return Called(value.get("id"), name, value.get("input"))
        case {"type": "function_call", "name": name}:
            return Called(value.get("call_id") or value.get("id"), name, value.get("arguments"))
        case {"function": {"name": name, **rest}}:
            return Called(value.get("id"), name, _first_of(rest, _ARGUMENTS))
        case {"type": "tool-call", "toolCallId": id, "toolName": name}:  # the AI SDK's
            return Called(id, name, value.get("input", value.get("args")))
        case {"type": "custom", "custom": {"name": name, **rest}}:
            return Called(value.get("id"), name, {"input": rest.get("input")})
        case {"name": name, "args": args}:  # LangChain's
            return Called(value.get("id"), name, args)
        case {"type": "function" | "tool_call", "name": name}:
            return Called(value.get("id") or value.get("call_id"), name, value.get("arguments"))
        case {"type": "tool_result"}:
            return Answered(value.get("tool_use_id"), value.get("content"), value.get("is_error") in (True, "true"))
        case {"type": "function_call_output", "call_id": id}:
            return Answered(id, value.get("output"))
        case {"type": "tool-result", "toolCallId": id}:
            output = value.get("output", value.get("result"))
            if isinstance(output, dict) and "value" in output:
                return Answered(id, output["value"], str(output.get("type")).startswith("error"))
            return Answered(id, output, value.get("isError") is True)
        case _:
            return None


def is_silent(part: Any) -> bool:
    """Whether a part is a text of null, which some libraries keep for an answer that only calls tools."""
    return isinstance(part, dict) and part.get("type") in TEXTS and "text" in part and part["text"] is None
