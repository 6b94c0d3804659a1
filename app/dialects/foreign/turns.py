"""Messages and items of a history in the shape of another dialect or a library.

Each value is read into neutral pieces: something said, a call, a result. These are then written in the shape of the
path's dialect. Values already in that shape stay unchanged.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from app.dialects.foreign.choices import Shape
from app.dialects.foreign.media import read_media
from app.dialects.foreign.untyped_parts import with_type
from app.errors import InvalidRequest

_MESSAGES: Shape = "messages"
_CHAT: Shape = "chat"
_RESPONSES: Shape = "items"

_ROLES = {"model": "assistant", "ai": "assistant", "bot": "assistant", "human": "user"}
_RESULT_ROLES = ("tool", "function")
_TEXTS = ("text", "input_text", "output_text")

# Fields in which libraries put media beside a message's content, and those of Chat that hold what was said.
BESIDE = frozenset(("parts", "images", "attachments", "experimental_attachments"))
BESIDE_CONTENT = BESIDE | {"reasoning_content", "refusal"}
# What libraries put there that no dialect has a place for.
UNTOLD = ("audio", "files", "toolInvocations")
WHY_UNTOLD = "only the content of a message is carried to other dialects"
# Fields with a message's content or a tool's output in place of `content`, and those for the arguments of a call.
IN_PLACE = ("parts", "text", "output", "result")
_ARGUMENTS = ("arguments", "args", "input", "parameters")

# Types of parts and blocks that a dialect's own parser does not read, and other marks of another dialect.
_FOREIGN_TYPES: dict[Shape, bytes] = {
    _MESSAGES: (
        b"image_url|input_text|output_text|input_image|input_file|file|media|tool-call|tool-result|function_call"
    ),
    _CHAT: b"tool-call|tool-result",
    _RESPONSES: b"tool_use|tool_result|image|document|file|media|thinking|redacted_thinking|tool-call|tool-result",
}
FOREIGN_BLOCKS = frozenset(_FOREIGN_TYPES[_MESSAGES].decode().split("|"))
SIGNS: dict[Shape, re.Pattern[bytes]] = {
    shape: re.compile(rb'"type"\s{0,4}:\s{0,4}"(?:%b)"|"tool_calls"\s{0,4}:\s{0,4}\[' % types)
    if shape != _CHAT
    else re.compile(rb'"type"\s{0,4}:\s{0,4}"(?:%b)"' % types)
    for shape, types in _FOREIGN_TYPES.items()
}


class _Said(msgspec.Struct):
    """A message's content. `parts` may be of any dialect; `more` are the message's other fields."""

    role: str
    parts: list[Any]
    more: dict[str, Any] = {}


class _Called(msgspec.Struct):
    id: Any
    name: Any
    arguments: Any


class _Answered(msgspec.Struct):
    id: Any
    content: Any
    is_error: bool = False


_Piece = _Said | _Called | _Answered


def mend_turns(values: Any, shape: Shape, field: str) -> Any:
    """The history in `field`, converted to `shape`. Raises InvalidRequest for a call that no dialect has."""
    if isinstance(values, dict):
        values = [values]
    if not isinstance(values, list):
        return values
    mended: list[Any] = []
    calls = _OpenCalls()
    for position, value in enumerate(values):
        is_foreign = _is_foreign(value, shape)
        if is_foreign:
            _check_calls(value, f"{field}[{position}]")
        pieces = list(_read(value))
        for piece in pieces:
            if isinstance(piece, _Called):
                calls.add(piece)
            elif isinstance(piece, _Answered):
                calls.answer(piece, value)
        mended.extend(_WRITERS[shape](pieces) if is_foreign else [value])
    return mended


class _OpenCalls:
    """The calls that no result has answered yet, in the order in which they were made.

    Answered ones are dropped from the queues when they come to the front, so that no history costs more than its
    length.
    """

    def __init__(self) -> None:
        self._count = 0
        self._ids: set[str] = set()
        self._order: deque[_Called] = deque()
        self._by_name: defaultdict[str, deque[_Called]] = defaultdict(deque)

    def add(self, call: _Called) -> None:
        """Takes note of a call. One without an id gets one."""
        self._count += 1
        if call.id in (None, ""):
            call.id = f"call_{self._count}"
        self._ids.add(str(call.id))
        self._order.append(call)
        self._by_name[str(call.name)].append(call)

    def answer(self, answer: _Answered, value: Any) -> None:
        """Takes note of a result. One without an id gets that of an open call: of the same name, else of the first."""
        if answer.id in (None, ""):
            name = value.get("name") if isinstance(value, dict) else None
            call = self._first(self._by_name.get(str(name))) or self._first(self._order)
            answer.id = call.id if call is not None else None
        self._ids.discard(str(answer.id))

    def _first(self, queue: deque[_Called] | None) -> _Called | None:
        while queue and str(queue[0].id) not in self._ids:
            queue.popleft()
        return queue[0] if queue else None


# --- reading ---


def _read(value: Any) -> Iterator[_Piece]:
    match value:
        case {"role": str(role), **more}:
            yield from _read_message(_plain_role(role), more)
        case {"type": "message", **more}:
            yield from _read_message("user", more)
        case dict() if (piece := _read_step(value)) is not None:
            yield piece


def _plain_role(role: str) -> str:
    return _ROLES.get(role.lower(), role.lower())


def _read_message(role: str, value: Mapping[Any, Any]) -> Iterator[_Piece]:
    message: dict[str, Any] = dict(value)
    message.pop("type", None)
    content, calls = _take_content(message), message.pop("tool_calls", None)
    parts = content if isinstance(content, list) else [] if content in (None, "") else [content]
    if role in _RESULT_ROLES:
        answers = [step for part in parts if isinstance(step := _read_step(part), _Answered)]
        yield from answers or [_Answered(message.get("tool_call_id") or message.get("call_id"), content)]
        beside = [part for part in parts if not isinstance(_read_step(part), _Answered)] if answers else []
        if beside:
            yield _Said("user", beside)
        return
    spoken_parts: list[Any] = []
    more = role == "assistant" and bool(message)
    for part in map(with_type, parts):
        step = _read_step(part)
        if step is None:
            spoken_parts += [] if _is_silent(part) else [part]
            continue
        if spoken_parts or more:
            yield _Said(role, spoken_parts, message)
            spoken_parts, more, message = [], False, {}
        yield step
    if spoken_parts or more or not (parts or calls):
        yield _Said(role, spoken_parts, message)
    for call in _list_calls(calls):
        if isinstance(step := _read_step(call), _Called):
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


def _check_calls(value: Mapping[str, Any], path: str) -> None:
    """Raises InvalidRequest for a call that would be lost, because it is in the shape of no dialect."""
    for number, call in enumerate(_list_calls(value.get("tool_calls"))):
        if not isinstance(_read_step(call), _Called):
            place = f"{path}.tool_calls[{number}]"
            raise InvalidRequest(
                f"{place}: a tool call is an object with id, name and arguments; correct or remove it", param=place
            )


def _read_step(value: Any) -> _Called | _Answered | None:
    """A call or a result in the spelling of any dialect or library; None for anything else."""
    match value:
        case {"type": "tool_use", "name": name}:
            return _Called(value.get("id"), name, value.get("input"))
        case {"type": "function_call", "name": name}:
            return _Called(value.get("call_id") or value.get("id"), name, value.get("arguments"))
        case {"function": {"name": name, **rest}}:
            return _Called(value.get("id"), name, _first_of(rest, _ARGUMENTS))
        case {"type": "tool-call", "toolCallId": id, "toolName": name}:  # the AI SDK's
            return _Called(id, name, value.get("input", value.get("args")))
        case {"type": "custom", "custom": {"name": name, **rest}}:
            return _Called(value.get("id"), name, {"input": rest.get("input")})
        case {"name": name, "args": args}:  # LangChain's
            return _Called(value.get("id"), name, args)
        case {"type": "function" | "tool_call", "name": name}:
            return _Called(value.get("id") or value.get("call_id"), name, value.get("arguments"))
        case {"type": "tool_result"}:
            return _Answered(value.get("tool_use_id"), value.get("content"), value.get("is_error") in (True, "true"))
        case {"type": "function_call_output", "call_id": id}:
            return _Answered(id, value.get("output"))
        case {"type": "tool-result", "toolCallId": id}:
            output = value.get("output", value.get("result"))
            if isinstance(output, dict) and "value" in output:
                return _Answered(id, output["value"], str(output.get("type")).startswith("error"))
            return _Answered(id, output, value.get("isError") is True)
        case _:
            return None


# --- what is foreign ---


def _is_foreign(value: Any, shape: Shape) -> bool:
    if not isinstance(value, dict):
        return False
    role = value.get("role")
    if isinstance(role, str) and (_plain_role(role) != role or (role == "developer" and shape == _MESSAGES)):
        return True
    if role is not None and _has_more(value, shape):
        return True
    parts = _parts_of(value)
    return any(map(_is_silent, parts)) or any(map(_is_untyped, parts)) or _FOREIGN[shape](value, role)


def _has_more(message: dict[str, Any], shape: Shape) -> bool:
    """Whether a message says something outside its content."""
    if message.get("content") is None and any(message.get(name) is not None for name in IN_PLACE):
        return True
    return not (BESIDE if shape == _CHAT else BESIDE_CONTENT).isdisjoint(message)


def _is_silent(part: Any) -> bool:
    """Whether a part is a text of null, which some libraries keep for an answer that only calls tools."""
    return isinstance(part, dict) and part.get("type") in _TEXTS and "text" in part and part["text"] is None


def _is_untyped(part: Any) -> bool:
    return isinstance(part, dict) and with_type(part) is not part


def _is_no_message(value: dict[str, Any], role: Any) -> bool:
    if role in _RESULT_ROLES or "tool_calls" in value or (role is None and _read_step(value) is not None):
        return True
    content = value.get("content")
    if isinstance(content, dict) and "type" in content:
        return True
    return any(isinstance(part, str) or _is_odd_block(part) for part in _parts_of(value))


def _is_odd_block(part: Any) -> bool:
    match part:
        case {"type": "tool_result", **result}:
            odd = result.get("is_error") in ("true", "false") or not result.get("tool_use_id")
            return odd or not _is_content(result.get("content"))
        case {"type": "tool_use", **call}:
            return not call.get("id")
        case {"type": "image", "source": _}:
            return False
        case {"type": str(kind)}:
            return kind in _BLOCKS or (isinstance(_read_step(part), _Called) and kind != "tool_use")
        case _:
            return False


def _is_content(content: Any) -> bool:
    """Whether a result's content is in the form of Messages."""
    parts = content if isinstance(content, list) else [content]
    return all(
        (isinstance(part, str | None) and part is content)
        or (isinstance(part, dict) and "type" in part and not _is_odd_block(part))
        for part in parts
    )


def _is_no_chat(value: dict[str, Any], role: Any) -> bool:
    if role == "tool" and not all(isinstance(part, str | dict) for part in _parts_of(value)):
        return True
    calls = value.get("tool_calls")
    if isinstance(calls, list) and any(isinstance(call, dict) and not _has_call(call) for call in calls):
        return True
    if role == "tool" and not value.get("tool_call_id"):
        return True
    return any(isinstance(part, dict) and "toolCallId" in part for part in _parts_of(value))


def _has_call(call: dict[str, Any]) -> bool:
    function = call.get("function")
    if isinstance(function, dict) and "arguments" not in function:
        return False
    return bool(call.get("id")) and (isinstance(function, dict) or isinstance(call.get("custom"), dict))


def _is_no_item(value: dict[str, Any], role: Any) -> bool:
    if role in _RESULT_ROLES or "tool_calls" in value or (role is None and value.get("type") == "message"):
        return True
    match value:
        case {"type": "function_call_output", "output": output}:
            return not _is_output(output)
        case {"type": "reasoning", "summary": str()}:
            return True
    content = value.get("content")
    return isinstance(content, dict) or any(isinstance(part, str) or _is_odd_part(part) for part in _parts_of(value))


def _is_output(output: Any) -> bool:
    if isinstance(output, list):
        return all(isinstance(part, dict) and "type" in part and not _is_odd_part(part) for part in output)
    return isinstance(output, str | None)


def _is_odd_part(part: Any) -> bool:
    match part:
        case {"type": "input_image" | "image_url", **image}:
            return "image_url" not in image and "file_id" not in image
        case {"type": "function_call" | "function_call_output"}:
            return False
        case {"type": str(kind)}:
            return kind in _ITEM_PARTS or _read_step(part) is not None
        case _:
            return False


def _parts_of(value: dict[str, Any]) -> Sequence[Any]:
    content = value.get("content")
    return content if isinstance(content, list) else [content] if isinstance(content, dict) else ()


_FOREIGN: dict[Shape, Callable[[dict[str, Any], Any], bool]] = {
    _MESSAGES: _is_no_message,
    _CHAT: _is_no_chat,
    _RESPONSES: _is_no_item,
}


# --- writing ---


def _write_messages(pieces: Sequence[_Piece]) -> Iterator[dict[str, Any]]:
    message: dict[str, Any] | None = None
    for piece in pieces:
        match piece:
            case _Said(role=role, parts=parts):
                parts = [*_spoken_in(piece.more), *parts]
                role, blocks = {"developer": "system"}.get(role, role), [_as_block(part) for part in parts]
            case _Called():
                role, blocks = (
                    "assistant",
                    [{"type": "tool_use", "id": piece.id, "name": piece.name, "input": _as_object(piece.arguments)}],
                )
            case _Answered():
                block = {
                    "type": "tool_result",
                    "tool_use_id": piece.id,
                    "content": _as_content(piece.content, _as_block),
                }
                role, blocks = "user", [{**block, "is_error": True} if piece.is_error else block]
        if message is None or message["role"] != role:
            if message is not None:
                yield message
            message = {"role": role, "content": []}
        message["content"] += blocks
    if message is not None:
        yield message


def _write_chat(pieces: Sequence[_Piece]) -> Iterator[dict[str, Any]]:
    message: dict[str, Any] | None = None
    for piece in pieces:
        match piece:
            case _Said(role=role, parts=parts, more=more):
                if message is not None:
                    yield message
                content = parts[0] if len(parts) == 1 and isinstance(parts[0], str) else parts or None
                message = {"role": role, **more, "content": content}
            case _Called():
                message = message or {"role": "assistant", "content": None}
                function = {"name": piece.name, "arguments": _as_text(piece.arguments, "{}")}
                call = {"id": piece.id, "type": "function", "function": function}
                message["tool_calls"] = [*message.get("tool_calls", ()), call]
            case _Answered():
                if message is not None:
                    yield message
                message = None
                yield {"role": "tool", "tool_call_id": piece.id, "content": _as_content(piece.content, _same)}
    if message is not None:
        yield message


def _write_items(pieces: Sequence[_Piece]) -> Iterator[dict[str, Any]]:
    for piece in pieces:
        match piece:
            case _Said(role=role, parts=parts):
                yield from _write_spoken(role, [*_spoken_in(piece.more), *parts])
            case _Called():
                arguments = _as_text(piece.arguments, "{}")
                yield {"type": "function_call", "call_id": piece.id, "name": piece.name, "arguments": arguments}
            case _Answered():
                output = _as_content(piece.content, _as_part)
                if piece.is_error:
                    output = f"[tool error] {output}" if isinstance(output, str) else [_text("[tool error]"), *output]
                yield {"type": "function_call_output", "call_id": piece.id, "output": output}


def _spoken_in(more: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What a message of Chat says in fields that other dialects lack, as parts."""
    match more.get("reasoning_content"):
        case str(thought) if thought:
            yield {"type": "thinking", "thinking": thought}
    match more.get("refusal"):
        case str(refusal) if refusal:
            yield _text(refusal)


def _write_spoken(role: str, parts: Sequence[Any]) -> Iterator[dict[str, Any]]:
    content: list[Any] = []
    for part in parts:
        match part:
            case {"type": "thinking", "thinking": str(thought)}:
                summary = [{"type": "summary_text", "text": thought}]
                yield {"type": "reasoning", "summary": summary}
            case {"type": "redacted_thinking"}:
                pass
            case _:
                content.append(_as_part(part))
    if content:
        yield {"type": "message", "role": role, "content": content}


_WRITERS: dict[Shape, Callable[[Sequence[_Piece]], Iterator[dict[str, Any]]]] = {
    _MESSAGES: _write_messages,
    _CHAT: _write_chat,
    _RESPONSES: _write_items,
}


def _as_content(content: Any, write: Callable[[Any], Any]) -> Any:
    """The content of a tool's result: words, parts, or any other JSON as text."""
    match content:
        case None:
            return ""
        case str():
            return content
        case [*parts] if parts and all(map(_is_part, parts)):
            return [write(_text(part) if isinstance(part, str) else part) for part in parts]
        case {"type": str(kind)} if kind in (*_TEXTS, *_MEDIA):
            return [write(content)]
        case {"content": [*parts]} if parts and all(map(_is_part, parts)):  # a whole result of MCP
            return _as_content(parts, write)
        case [*parts] if parts and all(map(_is_untyped, parts)):
            return _as_content([with_type(part) for part in parts], write)
        case _:
            return _as_text(content, "")


def _is_part(part: Any) -> bool:
    return isinstance(part, str) or (isinstance(part, dict) and "type" in part)


def _as_text(value: Any, nothing: str) -> str:
    if value is None:
        return nothing
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _as_object(arguments: Any) -> Any:
    if not isinstance(arguments, str):
        return {} if arguments is None else arguments
    try:
        value = json.loads(arguments or "{}")
    except ValueError:
        return arguments
    return value if isinstance(value, dict) else arguments


def _text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def _same(part: Any) -> Any:
    return part


# --- parts ---


def _as_block(part: Any) -> Any:
    """A part of any dialect as a block of Messages; anything else unchanged."""
    match part:
        case str() | {"type": "input_text" | "output_text", "text": str()}:
            return _text(part if isinstance(part, str) else part["text"])
        case dict() if (media := read_media(part)) is not None:
            name, source, title = media
            block = {"type": name, "source": source, **({"title": title} if title and name == "document" else {})}
            hint = part.get("cache_control")
            return {**block, "cache_control": hint} if hint is not None else block
        case _:
            return part


def _as_part(part: Any) -> Any:
    """A part of any dialect as a part of Responses; anything else unchanged."""
    match part:
        case str() | {"text": str(), "type": "text" | "input_text" | "output_text"}:
            return {"type": "input_text", "text": part if isinstance(part, str) else part["text"]}
        case dict() if (media := read_media(part)) is not None:
            name, source, title = media
            return _write_media(name, source, title)
        case _:
            return part


def _write_media(name: str, source: dict[str, Any], title: str | None) -> dict[str, Any]:
    match source:
        case {"type": "text", "data": data}:
            return {"type": "input_text", "text": data}
        case {"type": "url", "url": url}:
            return (
                {"type": "input_image", "image_url": url}
                if name == "image"
                else {"type": "input_file", "file_url": url}
            )
        case {"type": "file", "file_id": file_id}:
            return {"type": "input_image" if name == "image" else "input_file", "file_id": file_id}
        case {"media_type": media_type, "data": data}:
            url = f"data:{media_type};base64,{data}"
            if name == "image":
                return {"type": "input_image", "image_url": url}
            return {"type": "input_file", "filename": title or "document.pdf", "file_data": url}
        case _:
            return {"type": name, "source": source}


_MEDIA = ("image", "image_url", "input_image", "document", "file", "input_file")
_BLOCKS = ("input_text", "output_text", "image_url", "input_image", "file", "input_file", "image", "media")
_ITEM_PARTS = ("image", "document", "file", "media", "thinking", "redacted_thinking")
