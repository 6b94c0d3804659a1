"""`dragoman logs`: shows the log of a running gateway."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import click
import requests
import sseclient

from app.cli.options import WholeNumber, config_option, read_settings
from app.cli.running_gateway import explain_refusal, find_address, open_gateway_session, own_key
from app.cli.terminal import echo, echo_line
from app.logs import LEVELS, escape_odd
from app.logs.console import paint, wants_colours
from app.logs.reading import LogLine, read_line

# Seconds: to connect, without a sign of life, and before the next try.
CONNECT, SILENCE, PAUSE = 5.0, 60.0, 2.0
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
@click.option("--key", envvar="DRAGOMAN_API_KEY", help="An admin's key. Default: one from the settings.")
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
        shown = deque(_read(session, address, {**wanted, "follow": "no"}), MAX_LINES)
        for line in list(shown)[max(0, len(shown) - limit) :]:
            _print(line, as_json=as_json)
        if follow:
            _follow(session, address, wanted, shown, as_json=as_json)


def _follow(
    session: requests.Session, address: str, wanted: dict[str, str], shown: deque[LogLine], *, as_json: bool
) -> None:
    """Prints new lines. Connects again when the connection ends, and skips the lines that were `shown` before."""
    problem = ""
    while True:
        try:
            for line in _read(session, address, wanted):
                if line not in shown:
                    shown.append(line)
                    _print(line, as_json=as_json)
                problem = ""
        except click.ClickException as error:
            if error.message != problem:
                echo(error.message, err=True)
            problem = error.message
        time.sleep(PAUSE)


def _read(session: requests.Session, address: str, query: dict[str, str]) -> Iterator[LogLine]:
    try:
        with session.get(
            f"{address}/api/logs/stream", params=query, stream=True, timeout=(CONNECT, SILENCE), allow_redirects=False
        ) as reply:
            if reply.status_code != 200:
                raise click.ClickException(explain_refusal(reply))
            for event in sseclient.SSEClient(reply.iter_content(None)).events():
                yield read_line(event.data.encode())
    except requests.RequestException as error:
        raise click.ClickException(
            f"no gateway answers at {address} ({type(error).__name__}); start one with dragoman serve, "
            "or name another with --url"
        ) from error


def _print(line: LogLine, *, as_json: bool) -> None:
    """The line as it was logged, or with the time of day here, and in colour."""
    if as_json:
        echo_line(line.raw)
        return
    text = f"{line.clock(None)} {line.level:5} {escape_odd(line.text)}"
    echo(paint(text, logging.getLevelName(LEVELS[line.level]), colours=wants_colours(os.environ)))
