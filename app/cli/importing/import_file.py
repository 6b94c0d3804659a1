"""`dragoman import`: converts another gateway's configuration."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from app.cli.importing.carried import Carried, write_file
from app.cli.importing.claude_code_router import read_router
from app.cli.importing.cliproxyapi import read_cliproxyapi
from app.cli.importing.litellm import read_litellm
from app.cli.importing.opencode import read_opencode
from app.cli.options import write_private
from app.cli.terminal import echo

# Maximum characters read of a file.
LARGEST = 4 << 20
# What JSON with comments has beyond JSON. Texts are matched first, and stay; what is not closed ends with the file.
_TEXT = r'("(?:[^"\\\n]|\\.)*+"?)'
_COMMENT = re.compile(_TEXT + r"|//[^\n]*+|/\*(?:[^*]|\*(?!/))*+(?:\*/)?")
_LAST_COMMA = re.compile(_TEXT + r"|,(?=\s{0,1000}[}\]])")


READERS: dict[str, Callable[[dict[str, Any]], Carried]] = {
    "litellm": read_litellm,
    "ccr": read_router,
    "cliproxyapi": read_cliproxyapi,
    "opencode": read_opencode,
}


@click.command("import")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    default=Path("dragoman.toml"),
    help="File to write, or - to print it. Default: ./dragoman.toml. An existing file is never overwritten.",
)
@click.argument("name", metavar="GATEWAY", type=click.Choice(list(READERS)))
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def import_file(output: Path, name: str, file: Path) -> None:
    """Convert FILE, the configuration of GATEWAY: litellm, ccr (claude-code-router), cliproxyapi or opencode.

    Settings that could not be converted are listed in comments at the top.
    """
    carried = READERS[name](read_config(file))
    text = write_file(carried, name, file.name)
    if str(output) == "-":
        echo(text)
        return
    write_private(output, text)
    echo(f"wrote {output}: {len(carried.providers)} providers, {len(carried.routes)} routes")
    for line in carried.left:
        echo(f"not converted: {line[:200]}")


def read_config(file: Path) -> dict[str, Any]:
    """A file as JSON, possibly with comments and trailing commas, or YAML, by its extension."""
    try:
        with file.open(encoding="utf-8") as opened:
            text = opened.read(LARGEST)
        is_yaml = file.suffix in (".yaml", ".yml")
        document = _read_yaml(text) if is_yaml else json.loads(_strip(_LAST_COMMA, _strip(_COMMENT, text)))
    except (OSError, ValueError, RecursionError) as error:
        raise click.ClickException(f"{file} cannot be read: {str(error)[:300]}") from error
    if not isinstance(document, dict):
        raise click.ClickException(f"{file} contains no settings; it must be a JSON object or a YAML mapping")
    return document


def _strip(extra: re.Pattern[str], text: str) -> str:
    return extra.sub(lambda found: found[1] or "", text)


def _read_yaml(text: str) -> Any:
    try:
        import yaml
    except ImportError as error:
        # An extra: a file is imported once, by those who come from these gateways alone.
        raise click.ClickException("reading YAML needs the extra: pip install 'dragoman[yaml]'") from error
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
