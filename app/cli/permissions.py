"""`dragoman permissions`: answers permission requests at a terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec
import requests
import sseclient

from app.cli.options import config_option, read_settings
from app.cli.running_gateway import explain_refusal, find_address, open_gateway_session
from app.cli.terminal import echo
from app.logs import clean_line

# Seconds: to connect, without a sign of life, and before the next try.
CONNECT, SILENCE, PAUSE = 5.0, 75.0, 2.0
# Characters per piece: a longer text would be cut, but whoever allows it must have seen all of it.
PIECE = 1000


@click.command()
@click.option("--url", "-u", "--api-url", help="The gateway's address. Default: the address in the settings.")
@click.option("--key", "-t", "--auth-token", envvar="DRAGOMAN_API_KEY", help="An admin's key, if the gateway has keys.")
@click.option("--no-reconnect", is_flag=True, help="Exit when the connection ends.")
@config_option
def permissions(url: str | None, key: str | None, no_reconnect: bool, path: Path | None) -> None:
    """Answer programs that ask for permission to use a tool. Press Ctrl-C to stop.

    Each request waits for `permissions.timeout_seconds`; if nobody allows it in time, it is denied.
    """
    address = find_address(read_settings(path).server, url)
    was_connected = told = False
    with open_gateway_session(key) as session:
        while True:
            try:
                for name, data in _listen(session, address):
                    was_connected, told = True, False
                    _handle_event(session, address, name, data)
            except (requests.RequestException, ValueError) as error:
                if not was_connected:
                    said = f"no gateway answers at {address} ({type(error).__name__}); start it: dragoman serve"
                    raise click.ClickException(said) from error
            if no_reconnect:
                raise click.ClickException(f"the connection to {address} ended")
            if not told:
                echo(f"The connection to {address} ended; trying again…", err=True)
                told = True
            time.sleep(PAUSE)


def _listen(session: requests.Session, address: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The gateway's events, each with its name."""
    reply = session.get(f"{address}/permissions/stream", stream=True, timeout=(CONNECT, SILENCE), allow_redirects=False)
    with reply:
        if reply.status_code != 200:
            raise click.ClickException(explain_refusal(reply))
        echo("✓ Connected. Waiting for requests…", err=True)
        for event in sseclient.SSEClient(reply.iter_content(None)).events():
            data = msgspec.json.decode(event.data)
            if isinstance(data, dict):
                yield event.event, data


def _handle_event(session: requests.Session, address: str, name: str, data: dict[str, Any]) -> None:
    match name:
        case "permission_request":
            _ask(session, address, data)
        case "permission_resolved":
            echo(f"{data['request_id'][:8]} was {'allowed' if data['allowed'] else 'denied'}.")
        case "permission_expired":
            echo(f"{data['request_id'][:8]} expired, so it was denied.")


def _ask(session: requests.Session, address: str, asked: dict[str, Any]) -> None:
    remaining = max(0.0, asked["expires_at"] - time.time())
    echo(f"\n{asked['request_id'][:8]}  {clean_line(asked['tool_name'])}  ({remaining:.0f} s left)")
    for field, value in asked["input"].items():
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        pieces = [text[start : start + PIECE] for start in range(0, len(text), PIECE)]
        echo(f"  {clean_line(field)}: {''.join(map(clean_line, pieces))}")
    allowed = click.confirm("Allow it?", default=False)
    answer = f"{address}/permissions/{asked['request_id']}/respond"
    body = {"allowed": allowed}
    with session.post(answer, json=body, timeout=CONNECT, stream=True, allow_redirects=False) as reply:
        if reply.status_code != 200:
            echo(explain_refusal(reply), err=True)
