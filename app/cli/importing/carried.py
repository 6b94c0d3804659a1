"""What was read from another gateway's configuration, and the file written from it."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import tomlkit

HEAD = "Imported from {name} ({source}). Check it with: dragoman config check"
# Maximum characters of a comment line.
LONGEST = 200
_OTHER = re.compile(r"[^A-Za-z0-9._-]+")
_ENV = re.compile(r"^(?:os\.environ/|\{env:|\$\{?)([A-Za-z_][A-Za-z0-9_]{0,100})\}?$")


class Carried(msgspec.Struct):
    """Tables of our file, and a line for each item that could not be carried, with its place and the reason."""

    server: dict[str, Any] = {}
    providers: dict[str, dict[str, Any]] = {}
    models: dict[str, Any] = {}
    routes: dict[str, Any] = {}
    left: list[str] = []

    def leave(self, path: str, why: str) -> None:
        self.left.append(f"{path}: {why}")

    def leave_unknown(self, table: dict[str, Any], known: set[str], path: str, why: str = "has no counterpart") -> None:
        for name in table:
            if name not in known:
                self.leave(f"{path}.{name}" if path else str(name), why)


def name_provider(text: Any) -> str:
    """The text as a valid provider name."""
    return _OTHER.sub("-", str(text)).strip("-.")[:60] or "imported"


def read_secret(value: Any) -> str | None:
    """A key in our file's notation: a reference to a variable stays one, and other text never becomes one."""
    if not isinstance(value, str) or not value:
        return None
    if (found := _ENV.match(value)) is not None:
        return f"${{{found[1]}}}"
    return value.replace("${", "$${")


def shorten_url(url: str) -> str:
    """The base URL of an endpoint's URL."""
    for end in ("/chat/completions", "/messages", "/responses"):
        url = url.removesuffix(end)
    return url


def table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def tables(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def texts(value: Any) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def write_file(carried: Carried, name: str, source: str) -> str:
    document = tomlkit.document()
    for line in (HEAD.format(name=name, source=source), *(f"not converted: {line}" for line in carried.left)):
        document.add(tomlkit.comment(" ".join(line.split())[:LONGEST]))
    if carried.server:
        document["server"] = _make_table(carried.server)
    if carried.providers:
        providers = tomlkit.table(is_super_table=True)
        for provider, settings in carried.providers.items():
            providers[provider] = _make_table(settings)
        document["providers"] = providers
    models = dict(carried.models) | ({"routes": carried.routes} if carried.routes else {})
    if models:
        document["models"] = _make_table(models)
    return tomlkit.dumps(document)


def _make_table(values: dict[str, Any]) -> Any:
    made = tomlkit.table()
    for name, value in values.items():
        made[name] = _make_table(value) if isinstance(value, dict) and name == "routes" else value
    return made
