"""Starts Codex with `-c` flags and a model catalogue that states the context window."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.cli.launcher.agent import Connection, Launch, write_private

PROVIDER = "dragoman"
KEY_VARIABLE = "DRAGOMAN_KEY"
# The share of the window at which a conversation is compacted, the same as Codex's default.
COMPACTED_AT = 0.9
# Timeout in seconds for Codex to print its catalogue.
_TIMEOUT = 15.0
# Catalogue fields for features of OpenAI's own models, with the values for other models: the tools that Codex sends to
# a model it does not know.
PLAIN: dict[str, Any] = {
    "apply_patch_tool_type": None,
    "supports_search_tool": False,
    "use_responses_lite": False,
    "tool_mode": None,
    "multi_agent_version": None,
    "experimental_supported_tools": [],
    "additional_speed_tiers": [],
    "service_tiers": [],
    "comp_hash": None,
}
# Fields that make an entry selectable without suggesting another model.
PICKED: dict[str, Any] = {"visibility": "list", "supported_in_api": True, "upgrade": None, "availability_nux": None}


def prepare(connection: Connection, arguments: Sequence[str], folder: Path, program: str) -> Launch:
    settings = list_settings(connection)
    if (catalogue := make_catalogue(_read_bundled(program), connection)) is not None:
        settings["model_catalog_json"] = str(write_private(folder / "models.json", json.dumps(catalogue)))
    flags = [word for name, value in settings.items() for word in ("-c", f"{name}={json.dumps(value)}")]
    return Launch(tuple(flags), {KEY_VARIABLE: connection.key})


def list_settings(connection: Connection) -> dict[str, Any]:
    """Codex's settings by dotted name."""
    table = f"model_providers.{PROVIDER}"
    settings: dict[str, Any] = {
        "model_provider": PROVIDER,
        f"{table}.name": "Dragoman",
        f"{table}.base_url": f"{connection.url}/v1",
        f"{table}.env_key": KEY_VARIABLE,
        f"{table}.wire_api": "responses",
        "model": connection.main,
    }
    if connection.window:
        settings["model_context_window"] = connection.window
        settings["model_auto_compact_token_limit"] = int(connection.window * COMPACTED_AT)
    return settings


def make_catalogue(bundled: list[dict[str, Any]], connection: Connection) -> dict[str, Any] | None:
    """A catalogue with only this model, based on an entry that Codex knows.

    For an OpenAI model that is its own entry; any other gets plain tools, and the instructions of a model that does not
    write programs to call its tools.
    """
    name = connection.main
    is_own = connection.upstream_dialect == "openai_responses"
    known = next((each for each in bundled if is_own and each.get("slug") == name.rpartition("/")[2]), None)
    listed = sorted(
        (each for each in bundled if each.get("visibility") == "list"), key=lambda each: bool(each.get("tool_mode"))
    )
    pattern = known or next(iter(listed), None)
    if pattern is None:
        return None
    changes = PICKED if known else PICKED | PLAIN
    entry = pattern | {key: value for key, value in changes.items() if key in pattern}
    entry |= {"slug": name, "display_name": name, "description": f"{name} through Dragoman"}
    if connection.window:
        entry |= {key: connection.window for key in ("context_window", "max_context_window") if key in pattern}
        entry["auto_compact_token_limit"] = int(connection.window * COMPACTED_AT)
    return {"models": [entry]}


def _read_bundled(program: str) -> list[dict[str, Any]]:
    """The catalogue bundled with this Codex; empty for an older one that cannot print it."""
    try:
        done = subprocess.run(
            [program, "debug", "models", "--bundled"], stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT
        )
        models = json.loads(done.stdout)["models"]
    except (OSError, subprocess.TimeoutExpired, ValueError, RecursionError, LookupError, TypeError):
        return []
    return [entry for entry in models if isinstance(entry, dict)] if isinstance(models, list) else []
