"""Writes a configuration file with the settings in force."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from msgspec import Struct, structs

from app.settings.discovered.other_gateways import CLIENT_KEYS, read_client_key
from app.settings.known_servers import KNOWN_SERVERS
from app.settings.tables import ProviderSettings, RouteSettings, Settings

# A value that comes from one of these variables is written as `${NAME}`: the file holds no secret and follows changes.
VARIABLES = (
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_API_BASE",
    "CLAUDE_ACCESS_TOKEN",
    "CLAUDE_CODE_OAUTH_TOKEN",
    "OPENAI_API_KEY",
    "OCA_ACCESS_TOKEN",
    "OCA_TOKEN",
    "OCA_API_KEY",
    "OCA_BASE_URL",
    "OCA_MODE",
    "OCA_IDCS_URL",
    "OCA_CLIENT_ID",
    *CLIENT_KEYS,
    *(server.key for server in KNOWN_SERVERS.values() if server.key),
)
PATH_KEYS = frozenset(
    {"token_file", "credentials_file", "ca_bundle", "quirks_file", "client_cert", "client_key", "log_file", "folder"}
)
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")

# Writes a value as TOML. The key's name decides whether a value is a path.
Say = Callable[[Any, str], str]

HEAD = """\
# Dragoman's settings: what was in force when this file was made, and examples of more. ${NAME} takes a value from the
# environment; `dragoman config check` checks the file. What each key means:
# DOCUMENT
"""
EXAMPLES = """
# Clients must send one of these keys. Without keys, the gateway serves only this machine.
# [server]
# api_keys = ["${DRAGOMAN_KEY}"]

# A server of your own, or a service, by its name (ollama, vllm, lmstudio, openrouter, deepseek …) …
# [providers.ollama]

# … or by its address. The name is yours: clients reach its models as "local/MODEL".
# [providers.local]
# kind = "openai"
# base_url = "http://127.0.0.1:8000/v1"

# [providers.anthropic]
# api_key = "${ANTHROPIC_API_KEY}"

# [models.routes]
# "gpt-4o*" = "anthropic/claude-sonnet-4-6"
# "fast" = ["local/qwen3", "oca/grok-code-fast-1"]
"""


def write_settings(settings: Settings, environ: Mapping[str, str], home: Path) -> str:
    """The text of a configuration file with the same effect as `settings` on this machine."""
    names = {environ[name]: f"${{{name}}}" for name in VARIABLES if environ.get(name)}

    def say(value: Any, key: str = "") -> str:
        if isinstance(value, str):
            if value in names:
                return json.dumps(names[value])
            path = Path(value) if key in PATH_KEYS else None
            if path is not None and path.is_relative_to(home):
                return json.dumps(f"~/{path.relative_to(home)}", ensure_ascii=False)
            return json.dumps(value.replace("${", "$${"), ensure_ascii=False)
        if isinstance(value, Mapping):
            return "{ " + ", ".join(f"{_key(name)} = {say(each)}" for name, each in value.items()) + " }"
        if isinstance(value, tuple | list):
            return "[" + ", ".join(say(each) for each in value) + "]"
        return json.dumps(value)

    # Left out, since its variable adds it again on each load.
    given = read_client_key(environ)
    server = _changed(settings.server)
    server["api_keys"] = [key for key in settings.server.api_keys if key != given]
    models = _changed(settings.models)
    providers = dict(settings.providers)
    if models.get("default") == "demo/demo" and list(providers) == ["demo"]:
        # The demo is added only if nothing else is configured. Written down, it would stay when real providers come.
        del models["default"], providers["demo"]
    routes = {name: _write_route(route) for name, route in models.pop("routes", {}).items()}

    head = HEAD.replace("DOCUMENT", find_document("configuration.md"))
    blocks = [head, *_block("[server]", {key: value for key, value in server.items() if value != []}, say)]
    for name, provider in providers.items():
        kind = {} if provider.kind == name else {"kind": provider.kind}
        blocks += _block(f"[providers.{_key(name)}]", kind | _changed(provider), say, always=True)
    blocks += _block("[models]", models, say)
    blocks += _block("[models.routes]", routes, say)
    blocks += _block("[ledger]", _changed(settings.ledger), say)
    return "\n".join(blocks) + EXAMPLES


def _block(header: str, values: Mapping[str, Any], say: Say, *, always: bool = False) -> Iterator[str]:
    if values or always:
        yield "\n".join([header, *(f"{_key(name)} = {say(value, name)}" for name, value in values.items()), ""])


def _changed(table: Struct) -> dict[str, Any]:
    """The fields of a table that differ from their defaults."""
    defaults = ProviderSettings(kind=table.kind) if isinstance(table, ProviderSettings) else type(table)()
    values = structs.asdict(table)
    return {name: value for name, value in values.items() if value != getattr(defaults, name)}


def _write_route(route: RouteSettings) -> Any:
    rest = {name: value for name, value in structs.asdict(route).items() if name != "targets" and value}
    targets: Any = route.targets[0] if len(route.targets) == 1 else list(route.targets)
    return {"target": targets, **rest} if rest else targets


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else json.dumps(name, ensure_ascii=False)


def find_document(name: str) -> str:
    """Where to read a document of docs/: its address if the installed package knows one, else its path in the
    repository."""
    for link in metadata.metadata("dragoman").get_all("Project-URL") or ():
        label, _, address = link.partition(", ")
        if label == "Documentation":
            return f"{address}/{name}"
    return f"docs/{name}"
