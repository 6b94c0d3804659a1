"""Finds where each setting comes from: a line of the file, a variable, an option or the machine."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from app.json_values import decode_object
from app.settings.discovered.other_gateways import CLIENT_KEYS
from app.settings.lines import find_line
from app.settings.loading import HANDED_ON, PLAIN_VARIABLES, PREFIX
from app.settings.network import CA_VARIABLES, PROXY_VARIABLES
from app.settings.tables import Settings

DEFAULT = "default"
DERIVED = "derived from other settings"
OPTION = "a command-line option"
FOUND = "found on this machine"


def find_origins(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """The origin of each setting by dotted key; later sources override earlier ones, as when settings are read. Keys in
    no source have their defaults. The file is read in its current state."""
    origins = {f"providers.{finding.provider}": FOUND for finding in settings.found if finding.used}
    if settings.source is not None:
        text, tables = _read(settings.source)
        for key in _flatten(tables):
            origins[key] = f"{settings.source.name}:{find_line(text, key) or 1}"
    # Variables of other programs count only if the file does not set the key.
    for key, variable in _find_common(environ):
        origins.setdefault(key, f"${variable}")
    for variable, (section, name) in PLAIN_VARIABLES.items():
        if environ.get(variable):
            origins[f"{section}.{name}"] = f"${variable}"
    for variable in environ:
        if variable.startswith(PREFIX):
            origins[".".join(variable.removeprefix(PREFIX).lower().split("__"))] = f"${variable}"
    return origins | dict.fromkeys(_flatten(decode_object(environ.get(HANDED_ON, "{}"))), OPTION)


def _find_common(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Settings, and the variables of other programs that set them."""
    proxies = [spelling for name in PROXY_VARIABLES for spelling in (name.lower(), name)]
    names = {"server.ca_bundle": CA_VARIABLES, "server.proxies": proxies, "server.api_keys": CLIENT_KEYS}
    for key, variables in names.items():
        found = next((variable for variable in variables if environ.get(variable)), None)
        if found is not None:
            yield key, found


def quote_key(name: str) -> str:
    """A name as a part of a dotted key, in quotes where TOML wants them."""
    return name if name.replace("-", "").replace("_", "").isalnum() else f'"{name}"'


def find_origin(origins: Mapping[str, str], key: str) -> str:
    """The origin of a set key, or of the nearest key below or above it."""
    if key in origins:
        return origins[key]
    below = next((origin for known, origin in origins.items() if known.startswith(f"{key}.")), None)
    if below is not None:
        return below
    above = key
    while "." in above:
        above = above.rpartition(".")[0]
        if above in origins:
            return origins[above]
    return DERIVED


def _read(source: Path) -> tuple[str, dict[str, Any]]:
    try:
        text = source.read_text(encoding="utf-8-sig")
        return text, tomllib.loads(text)
    except (OSError, ValueError, RecursionError):
        return "", {}  # the file is broken; the settings in force are older


def _flatten(tables: Mapping[str, Any], before: str = "") -> Iterator[str]:
    for name, value in tables.items():
        spelled = quote_key(name)
        if isinstance(value, dict):
            yield from _flatten(value, f"{before}{spelled}.")
        else:
            yield f"{before}{spelled}"
