"""Is `dragoman version`: what a bug report needs to say."""

from __future__ import annotations

import platform
from importlib import metadata

import click

PARTS = ("gunicorn", "gevent", "flask", "requests", "msgspec")


@click.command()
def version() -> None:
    """Show the versions of the gateway and of what it stands on."""
    click.echo(f"dragoman {metadata.version('dragoman')}")
    click.echo(f"python {platform.python_version()} on {platform.system()} {platform.machine()}")
    for part in PARTS:
        click.echo(f"{part} {metadata.version(part)}")
