"""Writes what commands print. Names that clients chose and words of upstreams cannot move the cursor, hide or reverse
text, or change the terminal's title."""

from __future__ import annotations

import re

import click

from app.logs import escape_odd

# Line ends and tabs, and the styles that commands use.
_KEPT = re.compile("(\x1b\\[(?:[013]|3[1-36])m|[\n\t])")


def echo(text: object = "", *, nl: bool = True, err: bool = False) -> None:
    """Prints text with everything odd in it escaped."""
    click.echo(clean_text(str(text)), nl=nl, err=err)


def echo_line(text: str) -> None:
    """Prints one line, of which foreign text can make no second one."""
    click.echo(escape_odd(text))


def clean_text(text: str) -> str:
    """Text of several lines with control characters, direction marks and halves of surrogate pairs escaped."""
    parts = _KEPT.split(text)
    parts[::2] = map(escape_odd, parts[::2])
    return "".join(parts)
