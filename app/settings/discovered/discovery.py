"""Finds credentials on this machine, for users without a configuration.

It only finds them; `app/credentials` reads and renews them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from os.path import isfile
from pathlib import Path
from typing import Any

from msgspec import Struct, structs

from app.json_values import decode_object
from app.settings.defaults import fill_models
from app.settings.discovered.login_files import (
    find_claude_files,
    find_cline_settings,
    find_codex_files,
    find_oca_files,
)
from app.settings.tables import Finding, ModelsSettings, ProviderSettings

# Keys of a file's top level, or of `providers.oca.settings.auth` in Cline's newer file, that hold an OCA token.
OCA_TOKEN_KEYS = frozenset(
    {"access_token", "ocaApiKey", "ocaRefreshToken", "ocaAccessToken", "ocaTokenSet", "ocaCredentials", "refresh_token"}
)
OCA_TOKEN_VARIABLES = ("OCA_ACCESS_TOKEN", "OCA_TOKEN", "OCA_API_KEY")
OCA_LOGIN_VARIABLE = "OCA_REFRESH_TOKEN"
# The last of several for one setting takes precedence.
OCA_VARIABLES = {
    "OCA_ENDPOINT": "base_url",
    "OCA_API_BASE": "base_url",
    "OCA_BASE_URL": "base_url",
    "OCA_MODE": "mode",
    "OCA_IDCS_URL": "idcs_url",
    "OCA_CLIENT_ID": "client_id",
}
CLAUDE_TOKEN_VARIABLES = ("CLAUDE_ACCESS_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN")
CLAUDE_LOGIN_VARIABLE = "CLAUDE_OAUTH_CREDS"
# The most characters that are read of a file. One with the keys of many programs has some thousands.
_LARGEST = 4 * 1024 * 1024


class Discovery(Struct, frozen=True):
    """What was found: tables in the configuration file's shape, and a line for the user about each credential."""

    tables: dict[str, Any] = {}
    found: tuple[Finding, ...] = ()


class _Place(Struct, frozen=True):
    environ: Mapping[str, str]
    home: Path
    folder: Path
    token_file: Path | None = None

    def show(self, path: Path) -> str:
        return f"~/{path.relative_to(self.home)}" if path.is_relative_to(self.home) else str(path)


def discover(environ: Mapping[str, str], home: Path, folder: Path, token_file: Path | None = None) -> Discovery:
    """Search the environment, `home` and the working `folder`. The preferred provider comes first in the result.

    `token_file` is a file with an OCA token that the user named; if set, no other OCA credential is searched for.
    """
    place = _Place(environ, home, folder, token_file)
    providers: dict[str, Any] = {}
    found: list[Finding] = []
    for name, look in (("oca", _find_oca), ("anthropic", _find_anthropic), ("openai", _find_openai)):
        if (hit := look(place)) is not None:
            providers[name], where = hit
            found.append(Finding(name, where))
    if (login := _find_file(find_codex_files, place)) is not None:
        found.append(Finding("codex", place.show(login), used=False))

    tables: dict[str, Any] = {"providers": providers, "models": _choose_models(providers)}
    if "oca" in providers:
        _import_oca_proxy(tables, place)
    return Discovery(tables, tuple(found))


def fill_provider(name: str, table: dict[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """A configured provider's table. If it names no address, it gets the one from the environment for its kind."""
    match table.get("kind", name):
        case "oca" if not table.get("base_url") and not table.get("mode"):
            return _oca_variables(environ) | table
        case "anthropic" if not table.get("base_url") and environ.get("ANTHROPIC_API_BASE"):
            return {"base_url": environ["ANTHROPIC_API_BASE"]} | table
    return table


def _choose_models(providers: dict[str, Any]) -> dict[str, str]:
    """The settings that let the first provider found serve all names without a route."""
    found = {name: ProviderSettings(kind=name) for name in providers}
    chosen = structs.asdict(fill_models(ModelsSettings(), found))
    return {key: chosen[key] for key in ("default", "small", "big") if chosen[key]}


def _oca_variables(environ: Mapping[str, str]) -> dict[str, Any]:
    return {key: environ[name] for name, key in OCA_VARIABLES.items() if environ.get(name)}


def _read_oca_settings(place: _Place) -> dict[str, Any]:
    """The environment and address that Cline uses, and what OCA's own file overrides: names there may begin with the
    environment. The internal one is the default anyway, unless a token names another issuer."""
    providers, state = (_read_object(path) for path in find_cline_settings(place.environ, place.home))
    cline = _read_inside(providers, "providers", "oca", "settings")
    mode = _read_inside(cline, "oca").get("mode") or state.get("ocaMode")
    own = _read_object(place.home / ".oca" / "config.json")
    named = {
        key: own.get(f"{mode or 'internal'}_{key}") or own.get(key) for key in ("idcs_url", "client_id", "base_url")
    }
    address = cline.get("baseUrl") or state.get("ocaBaseUrl") or named["base_url"]
    wanted = named | {"base_url": address, "mode": "external" if mode == "external" else None}
    texts = {key: value for key, value in wanted.items() if isinstance(value, str) and value}
    return {key: value for key, value in texts.items() if not key.endswith("_url") or value.startswith("http")}


def _read_inside(document: Any, *names: str) -> dict[str, Any]:
    for name in names:
        document = document.get(name) if isinstance(document, dict) else None
    return document if isinstance(document, dict) else {}


def _find_oca(place: _Place) -> tuple[dict[str, Any], str] | None:
    table = _read_oca_settings(place) | _oca_variables(place.environ)
    if place.token_file is not None:
        return table | {"token_file": str(place.token_file)}, place.show(place.token_file)
    for name in OCA_TOKEN_VARIABLES:
        if place.environ.get(name):
            return table | {"access_token": place.environ[name]}, name
    if place.environ.get(OCA_LOGIN_VARIABLE):
        return table, OCA_LOGIN_VARIABLE
    here = place.folder / "secrets.json"
    if _holds_oca_token(here):
        return table | {"token_file": str(here)}, place.show(here)
    # No `token_file` for files in the home folder: it would hide a login of our own, and renewals would be written into
    # another program's file. `app/credentials` searches the same places itself.
    path = next((path for path in find_oca_files(place.environ, place.home) if _holds_oca_token(path)), None)
    return (table, place.show(path)) if path else None


def _holds_oca_token(path: Path) -> bool:
    """Whether a file holds an OCA token. Its existence is not enough: Cline keeps all providers' keys in one file."""
    text = _read_text(path).strip()
    if not text.startswith("{"):
        return bool(text)  # a bare token
    content = decode_object(text)
    login = content.get("providers", {})
    nested = login.get("oca", {}) if isinstance(login, dict) else {}
    return bool(nested) or any(content.get(key) for key in OCA_TOKEN_KEYS)


def _find_anthropic(place: _Place) -> tuple[dict[str, Any], str] | None:
    base = place.environ.get("ANTHROPIC_API_BASE")
    table = {"base_url": base} if base else {}
    if key := place.environ.get("ANTHROPIC_API_KEY"):
        return table | {"api_key": key}, "ANTHROPIC_API_KEY"
    for name in CLAUDE_TOKEN_VARIABLES:
        if token := place.environ.get(name):
            return table | {"access_token": token}, name
    # `app/credentials` reads the login in this variable and stores it when renewed.
    if place.environ.get(CLAUDE_LOGIN_VARIABLE) and not place.environ.get("CLAUDE_CREDENTIALS_PATH"):
        return table, CLAUDE_LOGIN_VARIABLE
    path = _find_file(find_claude_files, place)
    return (table | {"credentials_file": str(path)}, place.show(path)) if path else None


def _find_file(list_files: Callable[[Mapping[str, str], Path], Iterable[Path]], place: _Place) -> Path | None:
    return next((path for path in list_files(place.environ, place.home) if isfile(path)), None)


def _find_openai(place: _Place) -> tuple[dict[str, Any], str] | None:
    key = place.environ.get("OPENAI_API_KEY")
    return ({"api_key": key}, "OPENAI_API_KEY") if key else None


def _import_oca_proxy(tables: dict[str, Any], place: _Place) -> None:
    """Take over the settings of oca-proxy, so that its users need not repeat them."""
    config = _read_object(place.home / ".config" / "oca" / "oca-proxy.config.json") or _read_object(
        place.home / ".oca" / "oca-proxy-config.json"
    )
    oca, models = tables["providers"]["oca"], tables["models"]
    for key, ours in (
        ("base_url", "base_url"),
        ("idcs_url", "idcs_url"),
        ("default_reasoning_effort", "reasoning_effort"),
    ):
        if config.get(key):
            oca.setdefault(ours, config[key])
    server = {}
    if config.get("port"):
        server["port"] = config["port"]
    if config.get("log_level"):
        level = str(config["log_level"]).lower()
        server["log_level"] = {"warning": "warn"}.get(level, level)
    if server:
        tables["server"] = server
    if config.get("default_model"):
        models["default"] = _name_oca(config["default_model"])
    if mapping := config.get("model_mapping"):
        models["routes"] = {name: _import_route(value) for name, value in mapping.items()}


def _import_route(value: Any) -> Any:
    if isinstance(value, dict) and "target" in value:
        return value | {"target": _name_oca(value["target"])}
    return _name_oca(value)


def _name_oca(model: str) -> str:
    return model if model.startswith("oca/") else f"oca/{model}"


def _read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file, or an empty one if it cannot be read."""
    return decode_object(_read_text(path))


def _read_text(path: Path) -> str:
    try:
        with open(path, encoding="utf-8-sig") as file:
            return file.read(_LARGEST)
    except (OSError, ValueError):
        return ""
