"""`dragoman plugins`: lists what installed packages add."""

from __future__ import annotations

from pathlib import Path

import click

from app.cli.accounts.reading import print_table
from app.cli.options import config_option, json_option, print_json, read_settings
from app.cli.terminal import echo
from app.logs import clean_line
from app.plugins import describe_plugin, find_plugins
from app.settings import find_document

HEADINGS = ("name", "adds", "package", "status", "used by")


@click.command()
@json_option
@config_option
def plugins(as_json: bool, path: Path | None) -> None:
    """List the provider kinds and hooks that installed packages add.

    Exits with 1 if one of them cannot be imported.
    """
    found = find_plugins(read_settings(path))
    if as_json:
        print_json({"plugins": [describe_plugin(plugin) for plugin in found]})
    elif not found:
        echo(
            "No installed package adds a provider kind or a hook. See "
            f"{find_document('adding-a-provider.md')} and {find_document('hooks.md')}."
        )
    else:
        rows = [
            (each.name, each.adds, f"{each.package} {each.version}", each.status, ", ".join(each.used_by))
            for each in found
        ]
        print_table(rows, HEADINGS)
        for each in found:
            if each.error:
                echo(f"{each.name} cannot be imported: {clean_line(each.error)}", err=True)
    if any(each.error for each in found):
        raise SystemExit(1)
