"""`dragoman configure` and `dragoman unconfigure`: point clients at the gateway permanently."""

from __future__ import annotations

import os
from pathlib import Path

import click

from app.cli.configuring import claude_file, codex_file
from app.cli.configuring.change import apply_change, read_file, undo_change
from app.cli.launcher.agents import AGENTS
from app.cli.launcher.claude import list_variables
from app.cli.launcher.codex import KEY_VARIABLE, list_settings
from app.cli.launcher.plan import plan_connection
from app.cli.options import complete_models, config_option, read_settings
from app.cli.serving.start_screen import base_url
from app.cli.terminal import echo
from app.settings.places import home_folder

CLIENTS = ("claude", "codex")
dry_run_option = click.option("--dry-run", is_flag=True, help="Show the changes without making them.")
client_argument = click.argument("name", metavar="CLIENT", type=click.Choice(CLIENTS))


@click.command()
@config_option
@dry_run_option
@click.option("--model", help="Model to use, as the gateway names it.", shell_complete=complete_models)
@client_argument
def configure(path: Path | None, dry_run: bool, model: str | None, name: str) -> None:
    """Point CLIENT (claude, codex) at the gateway permanently, in the client's own settings.

    Changes only the keys it needs, shows the diff and keeps a backup beside the file. To undo it, run
    `dragoman unconfigure`. `dragoman run` works without it.
    """
    settings = read_settings(path)
    if settings.server.host.startswith("unix:"):
        raise click.ClickException(
            "server.host is a Unix socket, which this client cannot use; set it to an address such as 127.0.0.1"
        )
    connection = plan_connection(settings, AGENTS[name], model, base_url(settings.server))
    file = find_file(name)
    before = read_file(file)
    match name:
        case "claude":
            after = claude_file.set_variables(before, list_variables(connection))
        case _:
            after = codex_file.set_provider(before, list_settings(connection))
    apply_change(file, before, after, dry_run=dry_run)
    if name == "codex":
        key = "…" if connection.is_secret else connection.key
        echo(f"Codex reads its key from an environment variable: export {KEY_VARIABLE}={key}")


@click.command()
@dry_run_option
@client_argument
def unconfigure(dry_run: bool, name: str) -> None:
    """Undo what `dragoman configure` changed for CLIENT. Keeps all other settings and later changes."""
    unset = claude_file.unset_variables if name == "claude" else codex_file.unset_provider
    undo_change(find_file(name), unset, dry_run=dry_run)


def find_file(name: str) -> Path:
    """The settings file of a client, at the place where the client looks for it."""
    variable, folder, file = {
        "claude": ("CLAUDE_CONFIG_DIR", ".claude", "settings.json"),
        "codex": ("CODEX_HOME", ".codex", "config.toml"),
    }[name]
    return Path(os.environ.get(variable) or home_folder(os.environ) / folder) / file
