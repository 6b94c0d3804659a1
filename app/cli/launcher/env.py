"""`dragoman env`: prints the variables that point Claude Code at the gateway."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from app.cli.launcher.agents import AGENTS
from app.cli.launcher.claude import list_variables
from app.cli.launcher.plan import plan_connection
from app.cli.options import complete_models, config_option, json_option, print_json, read_settings
from app.cli.serving.start_screen import base_url
from app.cli.terminal import echo

AGENT = "claude"


@click.command()
@config_option
@click.option("--model", help="Model to use, as the gateway names it.", shell_complete=complete_models)
@json_option
@click.argument("name", metavar="AGENT", type=click.Choice([AGENT]), default=AGENT)
def env(path: Path | None, model: str | None, name: str, as_json: bool) -> None:
    """Print the environment variables that point Claude Code at the gateway.

    To set them in your shell: eval "$(dragoman env claude)". They include a client key if the gateway requires one.
    """
    settings = read_settings(path)
    if settings.server.host.startswith("unix:"):
        raise click.ClickException(
            "server.host is a Unix socket, which Claude Code cannot use; set it to an address such as 127.0.0.1"
        )
    connection = plan_connection(settings, AGENTS[name], model, base_url(settings.server))
    variables = list_variables(connection)
    if as_json:
        print_json(variables)
        return
    for variable, value in variables.items():
        echo(f"export {variable}={shlex.quote(value)}")
