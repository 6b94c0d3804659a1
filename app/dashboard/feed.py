"""What a program is sent of a running gateway: requests as they end, what runs, and the providers' state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from app.accounts.queries import Query, list_new, list_requests
from app.accounts.record import RequestRecord
from app.blueprints.operations.provider_states import describe_providers
from app.blueprints.operations.reports import ask_accounts, describe_row, describe_running
from app.blueprints.operations.rights import is_own
from app.dashboard.live import Seen
from app.errors import DragomanError
from app.fairness import give_way
from app.known_secrets import known_secrets
from app.runtime import Runtime
from app.sql import Connection

# Maximum rows that a program is sent after one poll (others follow after the next), and running requests.
MAX_ROWS = 200
MAX_RUNNING = 200
# Seconds that a poll may wait for the accounts.
READ_LIMIT = 2.0


class Feed:
    """What one program is sent. It never holds rows: it notes the number of the last one, and reads on from there."""

    def __init__(self, owner: Runtime, query: Query, own: Mapping[str, str], *, with_running: bool) -> None:
        self._runtime = owner
        self._query = query
        self._own = own
        self._with_running = with_running
        self._place = 0
        self._waiting = b""
        self._providers = b""

    def begin(self, last: str) -> None:
        """Reads the latest rows; or none if `last` is the number of the last one that was sent. Raises
        AccountsUnavailable."""
        if self._with_running and self._runtime.accounts is None:
            return
        known = int(last) if last.isascii() and last.isdecimal() and len(last) <= 15 else None

        def read(connection: Connection) -> tuple[int, list[dict[str, Any]]]:
            _, newest = list_new(connection, None, 0)
            return newest, list_requests(connection, self._query)[::-1] if known is None else []

        newest, rows = ask_accounts(read)
        self._place = newest if known is None else min(known, newest)
        self._waiting = b"".join(map(self._encode_row, rows)) + _encode("ready", {}, self._place)

    def render(self, seen: Seen) -> bytes:
        """The events after one poll."""
        parts, self._waiting = [self._waiting], b""
        if seen.newest > self._place:
            parts += map(self._encode_row, self._read_on(seen.newest))
        if self._with_running and seen.running is not None:
            providers = _encode("providers", describe_providers(self._runtime.services.providers, detailed=True))
            if providers != self._providers:
                self._providers = providers
                parts.append(providers)
            parts.append(self._encode_running(seen, seen.running))
        return b"".join(parts)

    def _read_on(self, newest: int) -> list[dict[str, Any]]:
        """The next rows; none while the accounts cannot be read."""
        query = msgspec.structs.replace(self._query, after=self._place, limit=MAX_ROWS)
        try:
            assert self._runtime.accounts is not None
            rows = self._runtime.accounts.read(lambda connection: list_requests(connection, query), READ_LIMIT)
        except DragomanError:
            return []
        last = rows[-1]["seq"] if rows else newest
        self._place = last if len(rows) == MAX_ROWS else max(newest, last)
        return rows

    def _encode_row(self, row: Mapping[str, Any]) -> bytes:
        give_way()
        return _encode("request", describe_row(row), row["seq"])

    def _encode_running(self, seen: Seen, running: list[RequestRecord]) -> bytes:
        """What runs, encoded once for all programs that may see the same."""
        kind = ("running", self._own.get("tenant", ""))
        if kind not in seen.encoded:
            mine = [record for record in running if is_own(record.tenant, self._own)][:MAX_RUNNING]
            body = {"running": _describe_all(mine), "workers": seen.workers, "complete": seen.complete}
            seen.encoded[kind] = _encode("running", body)
        return seen.encoded[kind]


def _describe_all(running: list[RequestRecord]) -> list[dict[str, Any]]:
    described = []
    for record in running:
        described.append(describe_running(record))
        give_way()
    return described


def _encode(name: str, body: Any, number: int | None = None) -> bytes:
    mark = b"" if number is None else b"id: %d\n" % number
    data = known_secrets.mask_bytes(msgspec.json.encode(body, enc_hook=str))
    return b"event: %s\n%sdata: %s\n\n" % (name.encode(), mark, data)
