"""`dragoman permissions`: answers permission requests at a terminal."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
import msgspec
import requests

from app.cli.options import config_option, read_settings
from app.cli.running_gateway import (
    CONNECT,
    explain_refusal,
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
from app.logs import clean_line

PATH = "/permissions/stream"
# Characters per piece: a longer text would be cut, but whoever allows it must have seen all of it.
PIECE = 1000


@click.command()
@click.option("--url", "-u", "--api-url", help="The gateway's address. Default: the address in the settings.")
@click.option(
    "--key", "-t", "--auth-token", envvar=KEY_VARIABLE, help="An admin's key. Default: one from the settings."
)
@click.option("--no-reconnect", is_flag=True, help="Exit when the connection ends.")
@config_option
def permissions(url: str | None, key: str | None, no_reconnect: bool, path: Path | None) -> None:
    """Answer programs that ask for permission to use a tool. Press Ctrl-C to stop.

    Each request waits for `permissions.timeout_seconds`; if nobody allows it in time, it is denied.
    """
    settings = read_settings(path)
    address = find_address(settings.server, url)
    with open_gateway_session(key or own_key(settings)) as session, until_interrupted():
        read = read_events if no_reconnect else follow_events
        for event in read(session, address, PATH):
            _handle_event(session, address, event.event, decode_object(event.data))
        raise click.ClickException(f"the connection to {address} ended")


def _handle_event(session: requests.Session, address: str, name: str, data: dict[str, Any]) -> None:
    match name:
        case "ping" if data.get("message") != "keepalive":
            echo("✓ Connected. Waiting for requests…", err=True)
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
