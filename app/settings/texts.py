"""Changes every text in tables of settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def change_texts(value: Any, change: Callable[[str, str, str], Any], name: str = "", path: str = "") -> Any:
    """The same tables and lists with each text changed. `change` gets a text, the name of its setting, and its dotted
    key."""
    if isinstance(value, dict):
        return {
            key: change_texts(each, change, key, f"{path}.{key}" if path else str(key)) for key, each in value.items()
        }
    if isinstance(value, list):
        return [change_texts(each, change, name, path) for each in value]
    return change(value, name, path) if isinstance(value, str) else value
