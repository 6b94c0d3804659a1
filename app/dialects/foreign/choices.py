"""A tool choice in the spelling of another dialect or of a library."""

from __future__ import annotations

from collections.abc import Container
from typing import Any, Literal

# The shapes of Messages, Chat Completions, and Responses, independent of the name of a path's dialect.
Shape = Literal["messages", "chat", "items"]

_MODES = {"auto": "auto", "none": "none", "any": "required", "required": "required"}
_NAMED = (None, "tool", "function", "custom")
_SERIAL = "disable_parallel_tool_use"


def mend_choice(choice: Any, shape: Shape, declared: Container[str]) -> Any:
    """The choice as `shape` spells it; None if it chooses nothing, and the choice itself if no spelling of it is known.
    A text that is no mode names a tool if it is among those `declared`."""
    if choice in ("", False, {}):
        return None
    mode = _read_mode(choice)
    name = _read_name(choice, declared) if mode is None else None
    if mode is None and name is None:
        return choice
    custom = isinstance(choice, dict) and choice.get("type") == "custom"
    mended = _write(shape, mode, name, "custom" if custom else "function")
    if not isinstance(choice, dict) or not isinstance(mended, dict):
        return mended
    if mended.items() <= choice.items():
        return choice
    return {**mended, _SERIAL: choice[_SERIAL]} if _SERIAL in choice and shape == "messages" else mended


def _read_mode(choice: Any) -> str | None:
    match choice:
        case True:  # LangChain's
            return "required"
        case str(said) | {"type": str(said)} | {"mode": str(said)} if _says_only(choice):
            return _MODES.get(said.lower())
        case _:
            return None


def _says_only(choice: Any) -> bool:
    return isinstance(choice, str) or choice.keys() <= {"type", "mode", _SERIAL}


def _read_name(choice: Any, declared: Container[str]) -> str | None:
    match choice:
        case str(name) | {"type": str(name)} if name in declared and _says_only(choice):
            return name
        case {"name": str(name)} | {"toolName": str(name)} if choice.get("type") in _NAMED:
            return name
        case {"function": {"name": str(name)}} | {"custom": {"name": str(name)}} | {"tool": {"name": str(name)}}:
            return name
        case _:
            return None


def _write(shape: Shape, mode: str | None, name: str | None, kind: str) -> Any:
    if shape == "messages":
        return {"type": "tool", "name": name} if mode is None else {"type": {"required": "any"}.get(mode, mode)}
    if mode is not None:
        return mode
    return {"type": kind, kind: {"name": name}} if shape == "chat" else {"type": kind, "name": name}
