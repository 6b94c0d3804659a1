"""Replaces `${VARIABLE}` in the values of a configuration file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from app.errors import ConfigError

# `$${` is a literal `${`.
_VARIABLE = re.compile(r"\$(\$\{)|\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def expand_variables(value: Any, environ: Mapping[str, str], key: str = "") -> Any:
    """The same tables with each variable replaced. A variable that is not set raises ConfigError for its key."""
    if isinstance(value, dict):
        return {name: expand_variables(each, environ, f"{key}.{name}" if key else name) for name, each in value.items()}
    if isinstance(value, list):
        return [expand_variables(each, environ, key) for each in value]
    return _VARIABLE.sub(lambda match: _replace(match, environ, key), value) if isinstance(value, str) else value


def _replace(match: re.Match[str], environ: Mapping[str, str], key: str) -> str:
    if match[1]:
        return match[1]
    if match[2] not in environ:
        raise ConfigError(f"the environment variable {match[2]} is not set", key=key)
    return environ[match[2]]
