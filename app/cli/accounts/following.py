"""Follows requests as they end: by the stream of a running gateway, else by the accounts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from app.accounts.queries import MAX_ROWS, Query, list_requests
from app.cli.accounts.reading import ask, open_accounts
from app.cli.options import read_settings
from app.cli.running_gateway import (
    LIVE,
    GatewayUnreachable,
    find_address,
    follow_events,
    open_gateway_session,
    own_key,
)
from app.cli.terminal import echo
from app.json_values import decode_object

# Seconds between two looks into the accounts.
PERIOD = 1.0

Rows = list[dict[str, Any]]


def follow_requests(path: Path | None, url: str | None, query: Query) -> Iterator[Rows]:
    """First the latest rows, then new ones, oldest first. Without a `url`, the accounts do where no gateway runs."""
    settings = read_settings(path)
    try:
        with open_gateway_session(own_key(settings)) as session:
            events = follow_events(session, find_address(settings.server, url), LIVE, _format_query(query))
            latest: Rows = []
            is_ready = False
            for event in events:
                if event.event == "request":
                    latest.append(decode_object(event.data))
                if is_ready or event.event == "ready":
                    is_ready = True
                    yield latest
                    latest = []
    except GatewayUnreachable as error:
        if url is not None:
            raise
        echo(f"{error.message}. The accounts are read instead, every second.", err=True)
    yield from _poll(path, query)


def _format_query(query: Query) -> dict[str, str]:
    """A list's parameters for the gateway."""
    given = {"client" if column == "agent" else column: value for column, value in query.where.items()}
    given["limit"] = str(query.limit)
    if query.failed:
        given["failed"] = "1"
    if query.since is not None:
        given["since"] = str(query.since)
    return given


def _poll(path: Path | None, query: Query) -> Iterator[Rows]:
    accounts = open_accounts(path)
    rows = ask(accounts, lambda connection: list_requests(connection, query))[::-1]
    last = max((row["seq"] for row in rows), default=0)
    yield rows
    while True:
        time.sleep(PERIOD)
        newer = msgspec.structs.replace(query, after=last, limit=MAX_ROWS)
        rows = ask(accounts, lambda connection, newer=newer: list_requests(connection, newer))  # type: ignore[misc]
        if rows:
            yield rows
            last = rows[-1]["seq"]
