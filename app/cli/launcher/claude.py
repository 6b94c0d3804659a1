"""Starts Claude Code with inline settings, which override an `env` block left by another tool."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from app.cli.launcher.agent import Connection, Launch, write_private
from app.json_values import as_object

# Variables that switch Claude Code to another service, and its name.
OTHER_SERVICES = {
    "CLAUDE_CODE_USE_BEDROCK": "Bedrock",
    "CLAUDE_CODE_USE_VERTEX": "Vertex",
    "CLAUDE_CODE_USE_FOUNDRY": "Foundry",
    "CLAUDE_CODE_USE_MANTLE": "Mantle",
    "CLAUDE_CODE_USE_ANTHROPIC_AWS": "Claude on AWS",
    "CLAUDE_CODE_USE_ANTHROPIC_GOOGLE_CLOUD": "Claude on Google Cloud",
    "CLAUDE_CODE_USE_GATEWAY": "an organization's gateway",
}
# Each names a model.
MODEL_VARIABLES = (
    *("ANTHROPIC_MODEL", "ANTHROPIC_SMALL_FAST_MODEL", "CLAUDE_CODE_SUBAGENT_MODEL"),
    *(f"ANTHROPIC_DEFAULT_{tier}_MODEL" for tier in ("OPUS", "SONNET", "HAIKU", "FABLE")),
)
# Variables left behind by other tools that point Claude Code elsewhere, or to unknown models. An empty value counts as
# unset and hides lower-ranking ones.
LEFT_OVER = (
    "ANTHROPIC_API_KEY",
    *MODEL_VARIABLES,
    "ANTHROPIC_UNIX_SOCKET",
    "CLAUDE_CODE_OAUTH_TOKEN",
    *OTHER_SERVICES,
)
_FLAG = "--settings"


def prepare(connection: Connection, arguments: Sequence[str], folder: Path, _program: str) -> Launch:
    """Passes the settings on the command line. Every user of the machine can read that, so settings with a real key are
    passed in a private file instead."""
    environ = list_variables(connection)
    given, rest = _take_settings(arguments)
    merged = given | {"env": {**as_object(given.get("env")), **dict.fromkeys(LEFT_OVER, ""), **environ}}
    # A helper that prints another server's key would take precedence over ours.
    merged.setdefault("apiKeyHelper", "")
    text = json.dumps(merged)
    settings = str(write_private(folder / "settings.json", text)) if connection.is_secret else text
    flags = [_FLAG, settings]
    if connection.model and "--model" not in rest:
        flags += ["--model", connection.model]
    return Launch(tuple(flags), {**dict.fromkeys(LEFT_OVER), **environ}, tuple(rest))


def list_variables(connection: Connection) -> dict[str, str]:
    """The variables that point Claude Code at the gateway."""
    window = str(connection.window) if connection.window else None
    models = {
        "ANTHROPIC_MODEL": connection.model,
        "ANTHROPIC_DEFAULT_OPUS_MODEL": connection.model,
        "ANTHROPIC_DEFAULT_SONNET_MODEL": connection.model,
        "ANTHROPIC_DEFAULT_FABLE_MODEL": connection.model,
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": connection.small,
        "ANTHROPIC_SMALL_FAST_MODEL": connection.small,
        "CLAUDE_CODE_SUBAGENT_MODEL": connection.model,
    }
    variables: Mapping[str, str | None] = {
        "ANTHROPIC_BASE_URL": connection.url,
        "ANTHROPIC_AUTH_TOKEN": connection.key,
        "CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY": "1",
        # Both: the first applies to names that Claude Code knows, the second to all others.
        "CLAUDE_CODE_AUTO_COMPACT_WINDOW": window,
        "CLAUDE_CODE_MAX_CONTEXT_TOKENS": window,
        **models,
    }
    return {name: value for name, value in variables.items() if value is not None}


def _take_settings(arguments: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The user's own `--settings`, given as text or as a file, and the arguments without it; only the last one
    counts."""
    rest, found = list[str](), "{}"
    words = iter(arguments)
    for word in words:
        if word == "--":
            rest += [word, *words]
        elif word == _FLAG:
            found = next(words, "{}")
        elif word.startswith(f"{_FLAG}="):
            found = word.partition("=")[2]
        else:
            rest.append(word)
    try:
        text = found if found.lstrip().startswith("{") else Path(found).expanduser().read_text(encoding="utf-8")
        return as_object(json.loads(text)), rest
    except (OSError, ValueError, RecursionError) as error:
        raise click.ClickException(f"{_FLAG} {found[:200]}: cannot be read as JSON ({type(error).__name__})") from error
