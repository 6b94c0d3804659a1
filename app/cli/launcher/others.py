"""Starts agents that speak Chat Completions, configured by flags, variables or a settings folder of their own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from app.cli.launcher.agent import Connection, Launch, write_private
from app.cli.launcher.codex import KEY_VARIABLE, PROVIDER


def prepare_opencode(connection: Connection, _arguments: Sequence[str], _folder: Path, _program: str) -> Launch:
    """opencode reads settings from a variable, after all its files."""
    names = [name for name in (connection.main, connection.small) if name]
    limit = {"limit": {"context": connection.window, "output": 8192}} if connection.window else {}
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "Dragoman",
        "options": {"baseURL": f"{connection.url}/v1", "apiKey": f"{{env:{KEY_VARIABLE}}}"},
        "models": {name: {"name": name, **limit} for name in names},
    }
    settings: dict[str, Any] = {
        "$schema": "https://opencode.ai/config.json",
        "provider": {PROVIDER: provider},
        "model": f"{PROVIDER}/{connection.main}",
        "small_model": f"{PROVIDER}/{connection.small or connection.main}",
    }
    return Launch((), {"OPENCODE_CONFIG_CONTENT": json.dumps(settings), KEY_VARIABLE: connection.key})


def prepare_cline(connection: Connection, _arguments: Sequence[str], folder: Path, _program: str) -> Launch:
    """Cline reads its providers from a file in its data folder, so it gets a temporary folder. It ignores an entry that
    has no `updatedAt`."""
    settings = {
        "provider": "openai-compatible",
        "apiKey": connection.key,
        "baseUrl": f"{connection.url}/v1",
        "model": connection.main,
    }
    providers = {
        "version": 1,
        "lastUsedProvider": settings["provider"],
        "modes": {},
        "providers": {
            settings["provider"]: {
                "settings": settings,
                "updatedAt": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                "tokenSource": "manual",
            }
        },
    }
    place = folder / "data" / "settings"
    place.mkdir(parents=True, exist_ok=True)
    write_private(place / "providers.json", json.dumps(providers))
    flags = ("-P", settings["provider"], "-m", connection.main)
    return Launch(flags, {"CLINE_DIR": str(folder), "CLINE_DATA_DIR": str(folder / "data")})


def prepare_aider(connection: Connection, _arguments: Sequence[str], folder: Path, _program: str) -> Launch:
    """aider uses LiteLLM's model names, and reads what it does not know about them from a file."""
    model, small = f"openai/{connection.main}", f"openai/{connection.small or connection.main}"
    flags = ["--model", model, "--weak-model", small, "--no-show-model-warnings"]
    if connection.window:
        fields = {"max_input_tokens": connection.window, "litellm_provider": "openai", "mode": "chat"}
        metadata = write_private(folder / "models.json", json.dumps(dict.fromkeys((model, small), fields)))
        flags += ["--model-metadata-file", str(metadata)]
    return Launch(tuple(flags), {"OPENAI_API_BASE": f"{connection.url}/v1", "OPENAI_API_KEY": connection.key})


def prepare_qwen(connection: Connection, _arguments: Sequence[str], _folder: Path, _program: str) -> Launch:
    """Qwen Code's flags override its settings; the key is passed in a variable, because other users can read flags."""
    url = f"{connection.url}/v1"
    flags = ("--auth-type", "openai", "--openai-base-url", url, "--model", connection.main)
    variables = {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": connection.key, "OPENAI_MODEL": connection.main}
    return Launch(flags, {**variables})


def prepare_goose(connection: Connection, _arguments: Sequence[str], _folder: Path, _program: str) -> Launch:
    """goose's variables override its settings and its keyring."""
    environ: dict[str, str | None] = {
        "GOOSE_PROVIDER": "openai",
        "GOOSE_MODEL": connection.main,
        "GOOSE_FAST_MODEL": connection.small or connection.main,
        "GOOSE_CONTEXT_LIMIT": str(connection.window) if connection.window else None,
        "OPENAI_HOST": connection.url,
        "OPENAI_BASE_PATH": "v1/chat/completions",
        "OPENAI_BASE_URL": None,
        "OPENAI_API_KEY": connection.key,
    }
    return Launch((), environ)
