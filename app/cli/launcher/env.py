"""`dragoman env`: prints what points an agent at the gateway, for a shell."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path

import click

from app.cli.launcher.agent import Launch
from app.cli.launcher.agents import AGENTS
from app.cli.launcher.plan import plan_connection
from app.cli.launcher.run import bypass_proxies
from app.cli.options import complete_models, config_option, json_option, print_json, read_settings
from app.cli.serving.start_screen import base_url
from app.cli.terminal import echo
from app.settings import data_folder


@click.command()
@config_option
@click.option("--model", help="Model to use, as the gateway names it.", shell_complete=complete_models)
@json_option
@click.argument("name", metavar="AGENT", type=click.Choice(list(AGENTS)), default="claude")
def env(path: Path | None, model: str | None, name: str, as_json: bool) -> None:
    """Print the environment variables, and the flags if it needs some, that point AGENT at the gateway: claude (the
    default), codex, opencode, cline, aider, qwen or goose.

    To set them in your shell: eval "$(dragoman env claude)". They include a client key if the gateway requires one.
    """
    settings = read_settings(path)
    if settings.server.host.startswith("unix:"):
        raise click.ClickException(
            f"server.host is a Unix socket, which {name} cannot use; set it to an address such as 127.0.0.1"
        )
    agent = AGENTS[name]
    connection = plan_connection(settings, agent, model, base_url(settings.server))
    # What an agent reads from files lies in our own folder, for as long as the shell's variables are used.
    folder = data_folder() / "agents" / name
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    launch = agent.prepare(connection, (), folder, shutil.which(agent.command) or agent.command)
    variables = {variable: value for variable, value in launch.environ.items() if value is not None}
    if any(variable.lower().endswith("_proxy") and os.environ[variable] for variable in os.environ):
        variables |= bypass_proxies(os.environ)
    if as_json:
        print_json({"variables": variables, "flags": launch.flags})
    else:
        echo(_render(agent.command, variables, launch))


def _render(command: str, variables: Mapping[str, str], launch: Launch) -> str:
    """The lines for a shell. Flags, and variables that only this agent must not see, become a function by the agent's
    name."""
    lines = [f"export {variable}={shlex.quote(value)}" for variable, value in variables.items()]
    removed = [f"-u {variable}" for variable, value in launch.environ.items() if value is None]
    if removed or launch.flags:
        lines.append(f'{command}() {{ {" ".join(["env", *removed, command, shlex.join(launch.flags)])} "$@"; }}')
    return "\n".join(lines)
