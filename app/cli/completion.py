"""`dragoman completion`: prints a shell completion script."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from app.cli.terminal import echo


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script for SHELL, to load from its startup file."""
    kind = get_completion_class(shell)
    assert kind is not None
    echo(kind(context.find_root().command, {}, "dragoman", "_DRAGOMAN_COMPLETE").source())
