"""Replaces `${VARIABLE}` in the values of a configuration file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from app.errors import ConfigError

# `$${` is a literal `${`.
_VARIABLE = re.compile(r"\$(\$\{)|\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def expand_variables(tables: dict[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """The same tables with each variable replaced. Raises ConfigError with the key of each variable that is not set."""
    faults: list[ConfigError] = []
    expanded: dict[str, Any] = _expand(tables, environ, "", faults)
    if faults:
        raise ConfigError.join(faults)
    return expanded


def _expand(value: Any, environ: Mapping[str, str], key: str, faults: list[ConfigError]) -> Any:
    if isinstance(value, dict):
        return {name: _expand(each, environ, f"{key}.{name}" if key else name, faults) for name, each in value.items()}
    if isinstance(value, list):
        return [_expand(each, environ, key, faults) for each in value]
    if not isinstance(value, str):
        return value
    try:
        return _VARIABLE.sub(lambda match: _replace(match, environ, key), value)
    except ConfigError as error:
        faults.append(error)
        return value


def _replace(match: re.Match[str], environ: Mapping[str, str], key: str) -> str:
    if match[1]:
        return match[1]
    if match[2] not in environ:
        raise ConfigError(f"the environment variable {match[2]} is not set", key=key)
    return environ[match[2]]
