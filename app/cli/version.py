"""Is `dragoman version`: what a bug report needs to say."""

from __future__ import annotations

import json
import platform
from importlib import metadata

import click

from app.cli.options import json_option

PARTS = ("gunicorn", "gevent", "flask", "requests", "msgspec")


@click.command()
@json_option
def version(as_json: bool) -> None:
    """Show the versions of the gateway and of what it stands on."""
    known = {
        "dragoman": metadata.version("dragoman"),
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        **{part: metadata.version(part) for part in PARTS},
    }
    click.echo(json.dumps(known, indent=2) if as_json else "\n".join(f"{part} {it}" for part, it in known.items()))
