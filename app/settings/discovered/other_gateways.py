"""Reads other gateways' variables as our settings."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from app.errors import ConfigError
from app.settings.pasted_keys import clean_key

# Variables that add a client key; the first one that is set counts.
CLIENT_KEYS = ("PROXY_API_KEY", "SECURITY__AUTH_TOKEN")
# Prefixes of the raw HTTP log's variables: by the plugin's name, and as its documentation spells them.
_RAW_LOG = ("PLUGINS__RAW_HTTP_LOGGER__", "PLUGINS__RAWHTTPLOGGERCONFIG__")
_PARTS = ("client_request", "client_response", "provider_request", "provider_response")
_TRUE, _FALSE = frozenset({"true", "1", "yes", "on"}), frozenset({"false", "0", "no", "off"})
_LEVELS = {"warning": "warn", "critical": "error", "trace": "debug"}


def read_client_key(environ: Mapping[str, str]) -> str:
    """The client key that a variable adds; empty if none does."""
    return next(filter(None, (clean_key(environ.get(name, "")) for name in CLIENT_KEYS)), "")


def read_other_variables(environ: Mapping[str, str]) -> dict[str, Any]:
    """Returns tables in the configuration file's shape. Raises ConfigError, which names the variable."""
    tables: dict[str, dict[str, Any]] = {}
    for variable, (section, key, read) in _VARIABLES.items():
        if value := environ.get(variable):
            tables.setdefault(section, {})[key] = read(value, variable)
    raw_log = _read_raw_log(environ) | tables.get("raw_log", {})
    if _is_verbose(environ):
        raw_log = {"enabled": True, "max_body_kb": 1} | raw_log
    if "folder" in raw_log:
        raw_log = {"enabled": True} | raw_log
    return {**tables, "raw_log": raw_log} if raw_log else tables


def _read_raw_log(environ: Mapping[str, str]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    off = set()
    for prefix in _RAW_LOG:
        for name, (key, read) in _RAW_LOG_KEYS.items():
            if value := environ.get(prefix + name):
                table[key] = read(value, prefix + name)
        for part in _PARTS:
            variable = f"{prefix}LOG_{part.upper()}"
            if environ.get(variable) and not _read_switch(environ[variable], variable):
                off.add(part)
    if off:
        table["parts"] = [part for part in _PARTS if part not in off]
    return table


def _is_verbose(environ: Mapping[str, str]) -> bool:
    variable = "CCPROXY_VERBOSE_API"
    return bool(environ.get(variable)) and _read_switch(environ[variable], variable)


def _read_text(value: str, _variable: str) -> str:
    return value


def _read_level(value: str, _variable: str) -> str:
    return _LEVELS.get(value.lower(), value.lower())


def _read_switch(value: str, variable: str) -> bool:
    if value.lower() in _TRUE | _FALSE:
        return value.lower() in _TRUE
    raise ConfigError(f"{value[:40]!r} must be true or false", key=variable)


def _read_kilobytes(value: str, variable: str) -> int:
    if not value.isdecimal() or len(value) > 15:
        raise ConfigError(f"{value[:40]!r} is not a number of bytes", key=variable)
    return max(1, int(value) // 1024)


def _read_paths(value: str, variable: str) -> list[str]:
    """Paths from a JSON list or separated by commas."""
    if not value.startswith("["):
        return [path.strip() for path in value.split(",") if path.strip()]
    try:
        paths = json.loads(value)
    except ValueError as error:
        raise ConfigError("it is not a JSON list", key=variable) from error
    if not all(isinstance(path, str) for path in paths):
        raise ConfigError("it is not a list of paths", key=variable)
    return list(paths)


_Read = Callable[[str, str], Any]
_VARIABLES: dict[str, tuple[str, str, _Read]] = {
    "LOGGING__LEVEL": ("server", "log_level", _read_level),
    "LOGGING__FILE": ("server", "log_file", _read_text),
    "CCPROXY_LOG_REQUESTS": ("raw_log", "enabled", _read_switch),
    "CCPROXY_LOG_RAW_HTTP": ("raw_log", "enabled", _read_switch),
    "CCPROXY_REQUEST_LOG_DIR": ("raw_log", "folder", _read_text),
    "CCPROXY_RAW_LOG_DIR": ("raw_log", "folder", _read_text),
    "PLUGINS__METRICS__PUSHGATEWAY_URL": ("push", "url", _read_text),
    "OBSERVABILITY__PUSHGATEWAY_URL": ("push", "url", _read_text),
    "PLUGINS__METRICS__PUSHGATEWAY_JOB": ("push", "job", _read_text),
    "OBSERVABILITY__PUSHGATEWAY_JOB": ("push", "job", _read_text),
}
_RAW_LOG_KEYS: dict[str, tuple[str, _Read]] = {
    "ENABLED": ("enabled", _read_switch),
    "LOG_DIR": ("folder", _read_text),
    "MAX_BODY_SIZE": ("max_body_kb", _read_kilobytes),
    "INCLUDE_PATHS": ("include", _read_paths),
    "EXCLUDE_PATHS": ("exclude", _read_paths),
}
