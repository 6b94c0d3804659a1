"""Is `dragoman config`: look at the settings, begin a file, make a key."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path

import click

from app.cli.options import config_option, read_settings
from app.settings import masked

TEMPLATE = """\
# Dragoman's settings; docs/configuration.md explains each key. ${NAME} takes a value from the environment.

[server]
host = "127.0.0.1"
port = 8080
# Clients must show one of these keys; without any the gateway serves this machine only.
# api_keys = ["${DRAGOMAN_KEY}"]

# Any server that speaks OpenAI's dialect. The name is yours: clients reach its models as "local/MODEL".
# [providers.local]
# kind = "openai"
# base_url = "http://127.0.0.1:8000/v1"

# [providers.anthropic]
# api_key = "${ANTHROPIC_API_KEY}"

# [providers.oca]
# token_file = "~/.cline/data/secrets.json"

[providers.demo]

[models]
default = "demo/demo"
# small = "oca/grok-code-fast-1"
# big = "oca/grok-code-fast-1"

[models.routes]
# "gpt-4o*" = "anthropic/claude-sonnet-4-6"
# "fast" = ["local/qwen3", "oca/grok-code-fast-1"]
"""


@click.group()
def config() -> None:
    """Look at the settings, begin a file, make a key."""


@config.command("list")
@config_option
def list_settings(path: Path | None) -> None:
    """Show the settings in force, as JSON; secrets are masked."""
    settings = read_settings(path)
    click.echo(json.dumps(masked(settings), indent=2, default=str))


@config.command("init")
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path), default=Path("dragoman.toml"))
def init_file(path: Path) -> None:
    """Write a configuration file to begin with, at PATH (./dragoman.toml). An existing file is never touched."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # It will hold keys, so nobody else may read it from the beginning.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise click.ClickException(f"{path} exists already") from error
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror}") from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(TEMPLATE)
    click.echo(f"wrote {path}")


@config.command("generate-token")
def generate_token() -> None:
    """Make a key for [server] api_keys."""
    click.echo(f"dm-{secrets.token_urlsafe(32)}")
