"""`dragoman top`: shows the requests running now, the latest ones, and the providers."""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path
from typing import Any

import click

from app.cli.accounts.reading import format_count, print_table
from app.cli.accounts.requests import HEADINGS as FINISHED
from app.cli.accounts.requests import NUMBERS, format_row
from app.cli.options import config_option, json_option, print_json, read_settings
from app.cli.running_gateway import (
    LIVE,
    find_address,
    follow_events,
    open_gateway_session,
    own_key,
    read_events,
    until_interrupted,
)
from app.cli.serving.start_screen import KEY_VARIABLE
from app.cli.terminal import echo
from app.json_values import decode_object

HEADINGS = ("id", "key", "client", "model", "target", "age s", "first s", "bytes out", "silent s", "attempts")
PROVIDERS = ("name", "credential", "last success", "last failure")
# The latest finished requests that are shown, and characters of a failure.
LATEST = 5
_LONGEST_FAILURE = 120
_LONGEST = 32  # characters of a name; an id has as many


@click.command()
@click.option("--url", help="The gateway's address. Default: the address in the settings.")
@click.option("--key", envvar=KEY_VARIABLE, help="A client key. Default: one from the settings.")
@click.option("--once", is_flag=True, help="Print once and exit.")
@json_option
@config_option
def top(url: str | None, key: str | None, once: bool, as_json: bool, path: Path | None) -> None:
    """Show the requests that are running now, oldest first, the latest finished ones, and the providers. Press Ctrl-C
    to stop.

    With an admin's key, or on the machine of a gateway without keys, shows all requests; otherwise only those of the
    key.
    """
    settings = read_settings(path)
    address = find_address(settings.server, url)
    with open_gateway_session(key or own_key(settings)) as session, until_interrupted():
        read = read_events if once or as_json else follow_events
        shown = Shown()
        for event in read(session, address, LIVE, {"running": "yes", "limit": str(LATEST)}):
            if not shown.take(event.event, decode_object(event.data)):
                continue
            if as_json:
                print_json(shown.running)
            else:
                shown.print(clear=not once)
            if once or as_json:
                return
    raise click.ClickException(f"the connection to {address} ended")


class Shown:
    """What the gateway last told."""

    def __init__(self) -> None:
        self.running: dict[str, Any] = {}
        self._providers: dict[str, Any] = {}
        self._latest: deque[dict[str, Any]] = deque(maxlen=LATEST)

    def take(self, name: str, data: dict[str, Any]) -> bool:
        """Notes an event. True for what runs, which comes after the others, each second."""
        match name, data:
            case "running", {"running": [*_], "workers": int()}:
                self.running = data
                return True
            case "providers", _:
                self._providers = data
            case "request", _:
                self._latest.append(data)
        return False

    def print(self, *, clear: bool) -> None:
        if clear:
            click.clear()
        _print_running(self.running)
        if self._latest:
            echo("\nlatest")
            print_table([format_row(row) for row in self._latest], FINISHED, right=NUMBERS)
        if self._providers:
            echo("\nproviders")
            print_table([_describe(name, entry) for name, entry in self._providers.items()], PROVIDERS)


def _print_running(answer: dict[str, Any]) -> None:
    running = answer["running"]
    some = "" if answer.get("complete") else " (one worker only)"
    workers = "1 worker" if answer["workers"] == 1 else f"{answer['workers']} workers"
    echo(f"{time.strftime('%H:%M:%S')}  {len(running)} running, {workers}{some}")
    print_table([_cells(each) for each in running], HEADINGS, right=(5, 6, 7, 8, 9))


def _describe(name: str, entry: dict[str, Any]) -> tuple[str, ...]:
    usable = "ready" if entry.get("authenticated", True) else entry.get("problem") or "not usable"
    failure = entry.get("last_failure")
    failed = f"{failure.get('time')}  {failure.get('message')}" if isinstance(failure, dict) else "-"
    return name, str(usable), str(entry.get("last_success") or "-"), failed[:_LONGEST_FAILURE]


def _cells(each: dict[str, Any]) -> tuple[str, ...]:
    times = each.get("times", {})
    first = times.get("first_token", times.get("first_byte"))
    names = (each.get(name) or "-" for name in ("id", "key", "agent", "model", "target"))
    return (
        *(str(name)[:_LONGEST] for name in names),
        f"{times.get('end', 0) / 1000:.1f}",
        "-" if first is None else f"{first / 1000:.1f}",
        format_count(each.get("bytes_out", 0)),
        f"{silent / 1000:.1f}" if (silent := each.get("silent")) is not None else "-",
        str(len(each.get("attempts", ()))),
    )
