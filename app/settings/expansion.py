"""Expands `${VARIABLE}` and `${VARIABLE:-default}` in configuration values.

If the variable is not set, a file of its name in the folder `CREDENTIALS_DIRECTORY` is read instead. systemd's
LoadCredential= and containers provide secrets in this way, which keeps them out of the environment, where the user's
other programs could read them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.errors import ConfigError
from app.settings.texts import change_texts

# The largest credential file.
MAX_BYTES = 65_536
# `$${` is a literal `${`. A default behind `:-` is used as in shells and Docker Compose.
_VARIABLE = re.compile(r"\$(\$\{)|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^{}]*))?\}")


def expand_variables(tables: dict[str, Any], environ: Mapping[str, str]) -> tuple[dict[str, Any], list[ConfigError]]:
    """The same tables with every variable replaced, and a fault with its key for each that cannot be: its text is
    empty."""
    faults: list[ConfigError] = []

    def expand(text: str, _name: str, key: str) -> str:
        try:
            return _VARIABLE.sub(lambda match: _replace(match, environ, key), text)
        except ConfigError as error:
            faults.append(error)
            return ""

    return change_texts(tables, expand), faults


def _replace(match: re.Match[str], environ: Mapping[str, str], key: str) -> str:
    if match[1]:
        return match[1]
    name = match[2]
    if match[3] is not None:
        return environ.get(name) or match[3]
    if name in environ:
        return environ[name]
    if folder := environ.get("CREDENTIALS_DIRECTORY"):
        return _read_credential(Path(folder), name, key)
    raise ConfigError(f"the environment variable {name} is not set", key=key)


def _read_credential(folder: Path, name: str, key: str) -> str:
    try:
        with (folder / name).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        text = content.decode().rstrip("\r\n")
    except FileNotFoundError:
        message = f"the environment variable {name} is not set, and CREDENTIALS_DIRECTORY has no file of that name"
        raise ConfigError(message, key=key) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the credential {name}: {_say(error)}", key=key) from error
    if len(content) > MAX_BYTES or "\0" in text or "\n" in text:
        raise ConfigError(f"the credential {name} is not one line of text", key=key)
    return text


def _say(error: Exception) -> str:
    return (error.strerror or "no answer") if isinstance(error, OSError) else "it is not text"
