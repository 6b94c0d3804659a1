"""Decides what of the settings may be shown."""

from __future__ import annotations

import re
from typing import Any

from msgspec import Struct, structs

MASK = "***"
SECRET_KEYS = frozenset({"api_keys", "api_key", "access_token"})
# Headers are the user's own and often hold a key; URLs may hold a user's name with a password.
SECRET_TABLES = frozenset({"headers"})

_URL_PASSWORD = re.compile(r"(?<=://)[^/@\s]+(?=@)")


def masked(value: Any, key: str = "") -> Any:
    """Plain dicts, lists and scalars of a settings table, with each secret replaced by `***`."""
    if isinstance(value, Struct):
        return {name: masked(each, name) for name, each in structs.asdict(value).items()}
    if key in SECRET_KEYS and value:
        return [MASK] * len(value) if isinstance(value, tuple) else MASK
    if isinstance(value, dict):
        return {name: MASK if key in SECRET_TABLES else masked(each, name) for name, each in value.items()}
    if isinstance(value, tuple | list):
        return [masked(each) for each in value]
    return _URL_PASSWORD.sub(MASK, value) if isinstance(value, str) else value
