"""`dragoman version`: shows the versions that a bug report needs."""

from __future__ import annotations

import json
import platform
from importlib import metadata

import click

from app.blueprints.operations.tested_clients import TESTED
from app.cli.options import json_option
from app.cli.terminal import echo

PARTS = ("gunicorn", "gevent", "flask", "requests", "msgspec")


@click.command()
@click.option(
    "--tested", is_flag=True, help="Show the client programs, and their versions, that this version was tested with."
)
@json_option
def version(tested: bool, as_json: bool) -> None:
    """Show the versions of the gateway and of its main dependencies."""
    if tested:
        _show_tested(as_json)
        return
    known = {
        "dragoman": metadata.version("dragoman"),
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        **{part: metadata.version(part) for part in PARTS},
    }
    echo(json.dumps(known, indent=2) if as_json else "\n".join(f"{part} {it}" for part, it in known.items()))


def _show_tested(as_json: bool) -> None:
    if as_json:
        echo(json.dumps([{**client._asdict(), "install": client.install} for client in TESTED], indent=2))
        return
    width = max(len(client.name) for client in TESTED)
    for client in TESTED:
        echo(f"{client.name:{width}}  {client.version:9}  {client.install}")
