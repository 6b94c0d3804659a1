"""Loads the settings from file, environment and command line."""

from __future__ import annotations

import ipaddress
import json
import logging
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from app.errors import ConfigError
from app.known_secrets import known_secrets
from app.settings.checking import SECTIONS, build_settings
from app.settings.checks.providers import KINDS
from app.settings.discovered.discovery import Discovery, discover, fill_provider
from app.settings.discovered.other_gateways import CLIENT_KEYS, read_client_key, read_other_variables
from app.settings.expansion import expand_variables
from app.settings.known_servers import expand_known_server
from app.settings.lines import find_line
from app.settings.masking import find_secrets
from app.settings.network import read_environment, strip_margin
from app.settings.pasted_keys import clean_keys
from app.settings.places import find_config, home_folder, read_text
from app.settings.tables import Settings
from app.settings.texts import change_texts
from app.settings.trust import check_programs
from app.settings.writing import PATH_KEYS

# In this variable, a command that starts another process passes on its own options, as JSON.
HANDED_ON = "DRAGOMAN_OVERRIDES"
PREFIX = "DRAGOMAN__"
# Deeper than any setting lies.
MAX_LEVELS = 16

# Unprefixed variables that earlier tools used, and the setting each of them sets.
PLAIN_VARIABLES = {
    "HOST": ("server", "host"),
    "PORT": ("server", "port"),
    "LOG_LEVEL": ("server", "log_level"),
    "DEFAULT_MODEL": ("models", "default"),
}

# Levels as other programs call them.
_LEVELS = {
    "trace": "debug", "debug": "debug", "verbose": "debug", "silly": "debug", "info": "info", "notice": "info",
    "warn": "warn", "warning": "warn", "error": "error", "critical": "error", "fatal": "error",
}  # fmt: skip
# Text near the beginning of other programs' files, and the program it identifies.
_OTHER_FILES = {
    "model_list:": "LiteLLM",
    "litellm_settings": "LiteLLM",
    "opencode.ai": "opencode",
    '"Providers"': "claude-code-router",
    "auth-dir:": "CLIProxyAPI",
    "remote-management:": "CLIProxyAPI",
}
_HEAD = 4096

log = logging.getLogger("dragoman")

_ONE_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")

Tables = dict[str, Any]


def load_settings(path: Path | None, environ: Mapping[str, str], overrides: Mapping[str, Any]) -> Settings:
    """Read the settings.

    Later sources win: what is found on the machine (only if no provider is configured), the file, `HOST`, `PORT` and
    the like, `DRAGOMAN__SECTION__KEY`, `overrides`. If `path` is None, `find_config` chooses the file. `overrides` has
    the file's shape. Raises ConfigError, whose `key` is the dotted name of the setting or the variable at fault.
    """
    home = home_folder(environ)
    source = find_config(path, environ)
    text = read_text(source) if source else ""
    was_named = path is not None or bool(environ.get("DRAGOMAN_CONFIG"))
    try:
        settings = _build(source, text, environ, home, overrides)
        if source is not None and not was_named:
            check_programs(settings, source)
        return settings
    except ConfigError as error:
        raise _locate(error, source, text, environ) from error


def check_text(text: str, source: Path, environ: Mapping[str, str]) -> Settings:
    """The settings that a file with this text would give. Raises ConfigError with line numbers in the text."""
    try:
        return _build(source, text, environ, home_folder(environ), {})
    except ConfigError as error:
        raise _locate(error, source, text) from error


def _build(
    source: Path | None, text: str, environ: Mapping[str, str], home: Path, overrides: Mapping[str, Any]
) -> Settings:
    from_file, key_variable, unset = _read_file(source, text, environ, home) if source else ({}, None, [])
    from_prefix = _read_prefixed(environ)
    here = Path.cwd()
    given: Tables = {}
    for layer in (_read_json(environ.get(HANDED_ON, "{}"), HANDED_ON), dict(overrides)):
        _merge(given, _locate_paths(layer, here, home))
    token_file = _given_token(given)

    discovery = Discovery()
    if not from_file.get("providers") and not from_prefix.get("providers"):
        discovery = discover(environ, home, here, token_file)

    tables: Tables = {}
    for layer in (discovery.tables, from_file, read_other_variables(environ), _read_plain(environ), from_prefix, given):
        _merge(tables, _locate_paths(strip_margin(layer), here, home))
    tables = clean_keys(tables)
    if isinstance(server := tables.setdefault("server", {}), dict):
        # Proxies are replaced as a whole: a file that sets one, or an empty table, wants none from the environment.
        tables["server"] = read_environment(environ) | server
    providers = tables.get("providers")
    if isinstance(providers, dict):
        tables["providers"] = {name: _fill(name, table, environ) for name, table in providers.items()}
    try:
        settings = build_settings(
            tables,
            client_key=read_client_key(environ),
            source=source,
            found=discovery.found,
            key_variable=key_variable or next(filter(environ.get, CLIENT_KEYS), None),
        )
    except ConfigError as error:
        # What is wrong with the empty text in place of a variable is no news.
        named = tuple(fault.key for fault in unset)
        raise ConfigError.join([*unset, *(each for each in error.faults if not each.key.startswith(named))]) from error
    if unset:
        raise ConfigError.join(unset)
    known_secrets.configure(find_secrets(settings))
    return settings


def _fill(name: str, table: Any, environ: Mapping[str, str]) -> Any:
    """A provider's table, completed by its kind and the environment. A malformed one is left for the later checks."""
    if not isinstance(table, dict) or name in KINDS or table.get("kind") in KINDS:
        return fill_provider(name, table, environ) if isinstance(table, dict) else table
    return expand_known_server(name, table, environ)


def _given_token(given: Tables) -> Path | None:
    """The file that `serve --token` names, for a provider called oca."""
    providers = given.get("providers")
    table = providers.get("oca") if isinstance(providers, dict) else None
    file = table.get("token_file") if isinstance(table, dict) else None
    return Path(file) if isinstance(file, str) else None


def _locate(
    error: ConfigError, source: Path | None, text: str, environ: Mapping[str, str] = MappingProxyType({})
) -> ConfigError:
    """The same faults, each with the variable that sets its key, or with file and line if its key is in the file."""
    located = []
    for fault in error.faults:
        place = _find_variable(fault.key, environ)
        if place is None and source and fault.key and (line := find_line(text, fault.key)):
            place = f"{source}:{line}"
        located.append(ConfigError(fault.reason, key=fault.key, place=place) if place else fault)
    return ConfigError.join(located)


def _find_variable(key: str, environ: Mapping[str, str]) -> str | None:
    """The variable that sets a dotted `key`, if one does."""
    prefixed = PREFIX + key.upper().replace(".", "__")
    if environ.get(prefixed):
        return prefixed
    return next((name for name, path in PLAIN_VARIABLES.items() if key == ".".join(path) and environ.get(name)), None)


def locate(error: ConfigError, source: Path | None) -> ConfigError:
    """The same faults, found after the settings were read, each with file and line if its key is in the file."""
    try:
        text = read_text(source) if source else ""
    except ConfigError:
        return error
    return _locate(error, source, text)


def _is_address(value: str) -> bool:
    host = value.strip()
    if host == "localhost" or host.startswith("unix:"):
        return True
    try:
        ipaddress.ip_address(host[1:-1] if host.startswith("[") and host.endswith("]") else host)
    except ValueError:
        return False
    return True


def _is_deep(value: Any, levels: int) -> bool:
    """Whether tables and lists are nested more deeply than `levels`."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(levels == 0 or _is_deep(each, levels - 1) for each in inner)


def _read_file(
    source: Path, text: str, environ: Mapping[str, str], home: Path
) -> tuple[Tables, str | None, list[ConfigError]]:
    """The file's tables, the variable that a client key comes from, if one does, and a fault for each variable that is
    not set."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source} is not valid TOML: {error}{_recognize(text)}") from error
    except (ValueError, RecursionError) as error:
        # For example a number of thousands of digits, or deeply nested tables.
        raise ConfigError(f"{source} cannot be read: {str(error).partition(';')[0]}") from error
    if _is_deep(tables, MAX_LEVELS):
        raise ConfigError(f"{source} nests tables more deeply than {MAX_LEVELS}")
    for name, each in tables.items():
        if name in SECTIONS and not isinstance(each, dict):
            raise ConfigError("this must be a table", key=name)
    expanded, unset = expand_variables(tables, environ)
    return _locate_paths(expanded, source.parent, home), _find_key_variable(tables), unset


def _find_key_variable(tables: Mapping[str, Any]) -> str | None:
    match tables.get("server"):
        case {"api_keys": [str(first), *_]}:
            keys = [first]
        case _:
            keys = [row["key"] for row in tables.get("keys", {}).values() if isinstance(row, dict) and "key" in row]
    named = next((_ONE_VARIABLE.fullmatch(key) for key in keys if isinstance(key, str)), None)
    return named[1] if named else None


def _recognize(text: str) -> str:
    """The end of a message about invalid TOML: what the file seems to be, and what to do. Empty if unknown."""
    head = text[:_HEAD]
    known = next((program for mark, program in _OTHER_FILES.items() if mark in head), None)
    if known is None and not head.lstrip().startswith("{"):
        return ""
    what = f"the configuration of {known}" if known else "JSON"
    return f". It looks like {what}; `dragoman config init` creates a dragoman.toml"


def _read_plain(environ: Mapping[str, str]) -> Tables:
    tables: Tables = {}
    for variable, (section, key) in PLAIN_VARIABLES.items():
        if value := environ.get(variable):
            if variable == "HOST" and not _is_address(value):
                # Shells and conda export HOST with the machine's name or type.
                log.warning("HOST=%s is not an address to listen on and is ignored; --host sets one", value[:100])
                continue
            if variable == "LOG_LEVEL" and (value := _LEVELS.get(value.strip().lower(), "")) == "":
                # Other programs have levels of their own.
                log.warning("LOG_LEVEL=%s is not a level and is ignored", environ[variable][:100])
                continue
            tables.setdefault(section, {})[key] = value
    return tables


def _read_prefixed(environ: Mapping[str, str]) -> Tables:
    """Reads prefixed variables. `DRAGOMAN__A__B=value` becomes {"a": {"b": value}}. Values in brackets or braces are
    JSON."""
    tables: Tables = {}
    for variable in sorted(environ):
        if not variable.startswith(PREFIX):
            continue
        *sections, key = variable.removeprefix(PREFIX).lower().split("__")
        value = environ[variable]
        table = tables
        for section in sections:
            table = table.setdefault(section, {})
            if not isinstance(table, dict):
                raise ConfigError("its table is already set as a whole", key=variable)
        table[key] = _read_json(value, variable) if value[:1] in ("[", "{") else value
    return tables


def _read_json(text: str, variable: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ConfigError(f"its value is not valid JSON: {error}", key=variable) from error


def _locate_paths(tables: Tables, folder: Path, home: Path) -> Tables:
    """The same tables with every path absolute. `~` is the user's home; relative paths start in `folder`."""

    def locate(text: str, name: str, _path: str) -> str:
        if name not in PATH_KEYS:
            return text
        spread = home / text[2:] if text.startswith("~/") else Path(text)
        return os.path.normpath(folder / spread)

    located: Tables = change_texts(tables, locate)
    return located


def _merge(tables: Tables, more: Mapping[str, Any]) -> None:
    """Merges `more` into `tables`: tables key by key, everything else is replaced."""
    for key, value in more.items():
        known = tables.get(key)
        if isinstance(known, dict) and isinstance(value, dict):
            _merge(known, value)
        else:
            tables[key] = dict(value) if isinstance(value, dict) else value
