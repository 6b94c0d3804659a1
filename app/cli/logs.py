"""`dragoman logs`: shows the log of a running gateway."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import click
import requests
import sseclient

from app.cli.options import WholeNumber, config_option, read_settings
from app.cli.running_gateway import (
    find_address,
    follow_events,
    open_gateway_session,
    own_key,
    read_events,
    until_interrupted,
)
from app.cli.serving.start_screen import KEY_VARIABLE
from app.cli.terminal import echo, echo_line
from app.logs import LEVELS, escape_odd
from app.logs.console import paint, wants_colours
from app.logs.reading import LogLine, read_line

PATH = "/api/logs/stream"
# Lines that are remembered, at most.
MAX_LINES = 5000


@click.command()
@click.option("-f", "--follow", is_flag=True, help="Keep printing new lines.")
@click.option("--level", type=click.Choice(list(LEVELS)), help="Show this level and those above it only.")
@click.option("--text", help="Show lines that contain this text only.")
@click.option(
    "-n", "limit", type=WholeNumber(0, MAX_LINES), default=50, show_default=True, help="Maximum number at first."
)
@click.option("--json", "as_json", is_flag=True, help="Print the lines as they were logged.")
@click.option("--url", help="The gateway's address. Default: the address in the settings.")
@click.option("--key", envvar=KEY_VARIABLE, help="An admin's key. Default: one from the settings.")
@config_option
def logs(
    follow: bool, level: str | None, text: str | None, limit: int, as_json: bool, url: str | None, key: str | None,
    path: Path | None,
) -> None:  # fmt: skip
    """Show the last lines of the log of all workers, newest last. Press Ctrl-C to stop following."""
    settings = read_settings(path)
    address = find_address(settings.server, url)
    wanted = {"level": level or "", "text": text or ""}
    with open_gateway_session(key or own_key(settings)) as session:
        existing = map(_read, read_events(session, address, PATH, {**wanted, "follow": "no"}))
        shown = deque(existing, MAX_LINES)
        for line in list(shown)[max(0, len(shown) - limit) :]:
            _print(line, as_json=as_json)
        if follow:
            with until_interrupted():
                for line in _follow(session, address, wanted, shown):
                    _print(line, as_json=as_json)


def _follow(
    session: requests.Session, address: str, wanted: dict[str, str], shown: deque[LogLine]
) -> Iterator[LogLine]:
    """New lines. Each connection begins with the lines that are there; those that were `shown` before are skipped."""
    for event in follow_events(session, address, PATH, wanted):
        line = _read(event)
        if line not in shown:
            shown.append(line)
            yield line


def _read(event: sseclient.Event) -> LogLine:
    return read_line(event.data.encode())


def _print(line: LogLine, *, as_json: bool) -> None:
    """The line as it was logged, or with the time of day here, and in colour."""
    if as_json:
        echo_line(line.raw)
        return
    text = f"{line.clock(None)} {line.level:5} {escape_odd(line.text)}"
    echo(paint(text, logging.getLevelName(LEVELS[line.level]), colours=wants_colours(os.environ)))
