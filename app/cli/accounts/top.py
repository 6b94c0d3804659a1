"""`dragoman top`: shows the requests running now, the latest ones, and the providers."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
import requests

from app.cli.accounts.reading import format_count, print_table
from app.cli.accounts.requests import HEADINGS as FINISHED
from app.cli.accounts.requests import NUMBERS, format_row
from app.cli.options import config_option, json_option, print_json, read_settings
from app.cli.running_gateway import find_address, open_gateway_session, own_key

HEADINGS = ("id", "key", "client", "model", "target", "age s", "first s", "bytes out", "silent s", "attempts")
PROVIDERS = ("name", "credential", "last success", "last failure")
# The latest finished requests that are shown, and characters of a failure.
LATEST = 5
_LONGEST_FAILURE = 120
# Seconds between two polls, and the timeout for an answer.
PERIOD = 1.0
TIMEOUT = 5.0
_LONGEST = 32  # characters of a name; an id has as many


@click.command()
@click.option("--url", help="The gateway's address. Default: the address in the settings.")
@click.option("--key", envvar="DRAGOMAN_API_KEY", help="A client key. Default: one from the settings.")
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
    with open_gateway_session(key or own_key(settings)) as session:
        while True:
            answer = _look(session, address)
            if as_json:
                print_json(answer)
            else:
                latest = _ask(session, f"{address}/_/api/requests?limit={LATEST}").get("requests")
                providers = _ask(session, f"{address}/health").get("providers")
                if not once:
                    click.clear()
                _print(answer)
                _print_latest(latest if isinstance(latest, list) else [])
                _print_providers(providers if isinstance(providers, dict) else {})
            if once or as_json:
                return
            time.sleep(PERIOD)


def _look(session: requests.Session, address: str) -> dict[str, Any]:
    try:
        reply = session.get(f"{address}/_/api/running", timeout=TIMEOUT, allow_redirects=False)
        answer = reply.json()
    except (requests.RequestException, ValueError, RecursionError) as error:
        raise click.ClickException(
            f"no gateway answers at {address} ({type(error).__name__}); start one with dragoman serve, "
            "or name another with --url"
        ) from error
    match answer:
        case {"running": [*_], "workers": int()}:
            return dict(answer)
        case {"error": {"message": str(message)}}:
            raise click.ClickException(message)
    raise click.ClickException(
        f"the server at {address} is not a gateway of this version; restart the gateway, or name another with --url"
    )


def _ask(session: requests.Session, url: str) -> dict[str, Any]:
    """What the gateway says beside; empty if it does not."""
    try:
        answer = session.get(url, timeout=TIMEOUT, allow_redirects=False).json()
    except (requests.RequestException, ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _print(answer: dict[str, Any]) -> None:
    running = answer["running"]
    some = "" if answer.get("complete") else " (one worker only)"
    workers = "1 worker" if answer["workers"] == 1 else f"{answer['workers']} workers"
    click.echo(f"{time.strftime('%H:%M:%S')}  {len(running)} running, {workers}{some}")
    print_table([_cells(each) for each in running], HEADINGS, right=(5, 6, 7, 8, 9))


def _print_latest(rows: list[Any]) -> None:
    if rows:
        click.echo("\nlatest")
        print_table([format_row(row) for row in rows], FINISHED, right=NUMBERS)


def _print_providers(providers: dict[str, Any]) -> None:
    if providers:
        click.echo("\nproviders")
        print_table([_describe(name, entry) for name, entry in providers.items()], PROVIDERS)


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
        *(_plain(str(name)) for name in names),
        f"{times.get('end', 0) / 1000:.1f}",
        "-" if first is None else f"{first / 1000:.1f}",
        format_count(each.get("bytes_out", 0)),
        f"{silent / 1000:.1f}" if (silent := each.get("silent")) is not None else "-",
        str(len(each.get("attempts", ()))),
    )


def _plain(name: str) -> str:
    """A foreign name with control characters replaced, which a terminal would otherwise obey."""
    return "".join(character if character.isprintable() else "?" for character in name[:_LONGEST])
