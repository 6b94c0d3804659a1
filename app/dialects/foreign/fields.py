"""Settings of a request under another dialect's name or in its shape."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from app.dialects.foreign.choices import Shape, mend_choice

_MESSAGES: Shape = "messages"
_CHAT: Shape = "chat"
_RESPONSES: Shape = "items"

# Equivalent fields with other names, by the dialect of the path.
_RENAMED: dict[Shape, dict[str, str]] = {
    _MESSAGES: {
        "max_completion_tokens": "max_tokens",
        "max_output_tokens": "max_tokens",
        "stop": "stop_sequences",
    },
    _CHAT: {},
    _RESPONSES: {
        "messages": "input",
        "system": "instructions",
        "max_completion_tokens": "max_output_tokens",
        "max_tokens": "max_output_tokens",
    },
}
# Each dialect's place for the answer's format, the reasoning effort and the verbosity.
_FORMATS: dict[Shape, tuple[str, ...]] = {
    _MESSAGES: ("output_config", "format"),
    _CHAT: ("response_format",),
    _RESPONSES: ("text", "format"),
}
_EFFORTS: dict[Shape, tuple[str, ...]] = {
    _MESSAGES: ("output_config", "effort"),
    _CHAT: ("reasoning_effort",),
    _RESPONSES: ("reasoning", "effort"),
}
_VERBOSITIES: dict[Shape, tuple[str, ...]] = {_CHAT: ("verbosity",), _RESPONSES: ("text", "verbosity")}
_MOVED = (_FORMATS, _EFFORTS, _VERBOSITIES)

# Fields that show that a body must be mended, by the dialect of its path. Foreign fields that the dialect's own parser
# reads are not among them.
FOREIGN_FIELDS: dict[Shape, frozenset[str]] = {
    _MESSAGES: frozenset(
        (
            *_RENAMED[_MESSAGES],
            "response_format",
            "reasoning_effort",
            "reasoning",
            "text",
            "functions",
            "function_call",
        )
    ),
    _CHAT: frozenset(("text", "output_config", "output_format")),
    _RESPONSES: frozenset(
        (
            *_RENAMED[_RESPONSES],
            "response_format",
            "reasoning_effort",
            "verbosity",
            "output_config",
            "output_format",
            "stop_sequences",
            "functions",
            "function_call",
        )
    ),
}


def mend_fields(body: dict[str, Any], shape: Shape) -> dict[str, Any]:
    """The fields with those of other dialects moved to the names of `shape`; a value already there takes precedence."""
    body = dict(body)
    for name in ("text", "output_config", "reasoning"):
        if isinstance(body.get(name), dict):
            body[name] = dict(body[name])
    if isinstance(body.get("reasoning"), str):
        body["reasoning"] = {"effort": body["reasoning"]}
    for name, own in _RENAMED[shape].items():
        if name in body:
            _settle(body, (own,), body.pop(name))
    if "output_format" in body and shape != _MESSAGES:
        _settle(body, _FORMATS[shape], _format_for(body.pop("output_format"), shape))
    if "functions" in FOREIGN_FIELDS[shape]:
        _mend_functions(body)
    _mend_format(body, shape)
    for places in _MOVED:
        for other, place in places.items():
            if other != shape and shape in places and (value := _look(body, place)) is not None:
                moved = _format_for(value, shape) if places is _FORMATS else value
                if moved is not None:
                    _settle(body, places[shape], moved)
                    _take(body, place)
    if body.get("tool_choice") is not None:
        body["tool_choice"] = mend_choice(body["tool_choice"], shape, _declared_in(body))
    _MENDERS[shape](body)
    return body


def _declared_in(body: Mapping[str, Any]) -> set[str]:
    """The names of a request's tools, in the shape of any dialect."""
    tools = body.get("tools")
    shapes = [tool.get("function", tool) for tool in tools if isinstance(tool, dict)] if isinstance(tools, list) else []
    names = [shape.get("name") for shape in shapes if isinstance(shape, dict)]
    return {name for name in names if isinstance(name, str)}


def _mend_messages(body: dict[str, Any]) -> None:
    match body.pop("reasoning", None):
        case {"enabled": False}:
            body.setdefault("thinking", {"type": "disabled"})
        case {"max_tokens": int(budget)}:
            body.setdefault("thinking", {"type": "enabled", "budget_tokens": budget})
    body.pop("text", None)
    if isinstance(body.get("stop_sequences"), str):
        body["stop_sequences"] = [body["stop_sequences"]]
    match body.get("system"):
        case [*parts]:
            body["system"] = [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]
    match body.get("output_config"):
        case {"effort": "none"}:
            del body["output_config"]["effort"]
            body.setdefault("thinking", {"type": "disabled"})
    body["max_tokens"] = _whole(body.get("max_tokens"))


def _mend_chat(body: dict[str, Any]) -> None:
    for name in ("text", "output_config"):
        body.pop(name, None)
    for name in ("user", "safety_identifier"):
        if isinstance(body.get(name), int) and not isinstance(body[name], bool):
            body[name] = str(body[name])
    body["seed"] = _whole(body.get("seed"))


def _mend_responses(body: dict[str, Any]) -> None:
    body.pop("output_config", None)
    limit = _whole(body.get("max_output_tokens"))
    body["max_output_tokens"] = None if limit == -1 else limit  # LangChain's word for no limit
    if "stop_sequences" in body:
        body.setdefault("stop", body.pop("stop_sequences"))
    if body.get("previous_response_id") == "":
        del body["previous_response_id"]
    if not isinstance(body.get("instructions"), str | None):
        texts = [*_texts_in(body["instructions"])]
        if texts or not body["instructions"]:  # anything else is refused by its name
            body["instructions"] = "\n\n".join(texts)
    match body.get("tool_choice"):
        case {"type": "allowed_tools", "allowed_tools": {**allowed}}:
            body["tool_choice"] = {"type": "allowed_tools", **allowed}


_MENDERS = {_MESSAGES: _mend_messages, _CHAT: _mend_chat, _RESPONSES: _mend_responses}


def _mend_functions(body: dict[str, Any]) -> None:
    """The functions of the first days of Chat as tools, and the choice among them."""
    functions, choice = body.pop("functions", None), body.pop("function_call", None)
    if isinstance(functions, list) and not body.get("tools"):
        body["tools"] = [{"type": "function", **each} if isinstance(each, dict) else each for each in functions]
    if choice is not None and body.get("tool_choice") is None:
        body["tool_choice"] = {"type": "function", **choice} if isinstance(choice, dict) else choice


def _mend_format(body: dict[str, Any], shape: Shape) -> None:
    """Converts the format at its own place if it has another dialect's shape."""
    place = _FORMATS[shape]
    value = _look(body, place)
    mended = _format_for(value, shape)
    if mended is not None and mended != value:
        _take(body, place)
        _settle(body, place, mended)


def _format_for(value: Any, shape: Shape) -> Any:
    """An answer format in the form of `shape`; None if it is no format, or has no form there."""
    match value:
        case "text" | "json_object" | {"type": "text" | "json_object"}:
            return {"type": value} if isinstance(value, str) else value
        case {"type": "json_schema", "json_schema": {**inner}}:
            flat = inner
        case {"type": "json_schema", "schema": {}, **rest}:
            flat = {"schema": value["schema"], **rest}
        case _:
            return None
    if shape == _MESSAGES:
        return {"type": "json_schema", "schema": flat["schema"]} if "schema" in flat else None
    named = {"name": "output", **flat}
    return {"type": "json_schema", "json_schema": named} if shape == _CHAT else {"type": "json_schema", **named}


def _look(body: Mapping[str, Any], place: tuple[str, ...]) -> Any:
    value: Any = body
    for name in place:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _take(body: dict[str, Any], place: tuple[str, ...]) -> None:
    """Removes the value at a place, and its container if that is then empty."""
    outer = body[place[0]] if len(place) > 1 else body
    del outer[place[-1]]
    if not outer and outer is not body:
        del body[place[0]]


def _settle(body: dict[str, Any], place: tuple[str, ...], value: Any) -> None:
    """Puts a value at a place that is still empty."""
    outer = body
    for name in place[:-1]:
        if not isinstance(outer.get(name), dict):
            outer[name] = {}
        outer = outer[name]
    if outer.get(place[-1]) is None:
        outer[place[-1]] = value


def _whole(value: Any) -> Any:
    """An integer for a float without a fraction, as some programs write it."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _texts_in(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case [*parts]:
            for part in parts:
                yield from _texts_in(part)
        case {"text": str(text)}:
            yield text
        case {"content": content}:
            yield from _texts_in(content)
