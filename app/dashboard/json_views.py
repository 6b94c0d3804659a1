"""The pages as JSON, for programs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import msgspec
from flask import Blueprint, Response, request

from app.accounts.queries import Query, list_new, list_requests
from app.accounts.record import RequestRecord
from app.blueprints.operations.provider_states import describe_providers
from app.blueprints.operations.reports import (
    LIST_PARAMETERS,
    ask_accounts,
    check_parameters,
    describe_row,
    describe_running,
    read_query,
)
from app.blueprints.operations.rights import is_own, json_view, own_rows
from app.blueprints.views import runtime, services
from app.dashboard.live import Seen
from app.dashboard.pages.edit import change_config, describe_config
from app.dashboard.pages.keys import list_keys
from app.dashboard.pages.live import find_live
from app.dashboard.pages.logs import stream_for_programs
from app.dashboard.pages.providers import list_providers
from app.dashboard.pages.settings import describe_reloads, describe_settings
from app.errors import DragomanError
from app.gateway.client_access.client_keys import ANYBODY, ClientKey
from app.headers import read_headers
from app.known_secrets import known_secrets
from app.runtime import Runtime
from app.sql import Connection
from app.turns import give_way

blueprint = Blueprint("json_views", __name__)

# Maximum rows that a program is sent after one poll (others follow after the next), and running requests.
MAX_ROWS = 200
MAX_RUNNING = 200
# Seconds that a poll may wait for the accounts.
READ_LIMIT = 2.0


@blueprint.get("/_/api/models")
@json_view()
def models(_own: Mapping[str, str]) -> Any:
    """The names that clients may use, as on `/_/models`."""
    key = _find_key()
    listing = services().listing
    listed = [msgspec.structs.asdict(model) for model in listing.models(key=key)]
    return {"models": listed, "problems": listing.problems(key)}


@blueprint.get("/_/api/providers")
@json_view(to_admins=True)
def providers(_own: Mapping[str, str]) -> Any:
    return {"providers": list_providers()}


@blueprint.get("/_/api/keys")
@json_view(to_admins=True)
def keys(_own: Mapping[str, str]) -> Any:
    return {"keys": list_keys()}


@blueprint.get("/_/api/settings")
@json_view(to_admins=True)
def settings(_own: Mapping[str, str]) -> Any:
    """Rows of name, value, origin and whether it is set, by table; and the last reloads."""
    return {"settings": describe_settings(services().settings, dict(os.environ)), **describe_reloads()}


@blueprint.get("/_/api/live")
def live() -> Response:
    """Server-sent events: first the latest requests, as `/_/api/requests` lists them, and `ready`; then each `request`
    as it ends. With `running=yes` also what is `running` each second, and the `providers` whenever they change.
    `Last-Event-ID` goes on where a connection ended."""
    own = own_rows()
    check_parameters(*LIST_PARAMETERS, "running")
    feed = Feed(runtime(), read_query(own), own, with_running=request.args.get("running") == "yes")
    feed.begin(request.headers.get("last-event-id", ""))
    return find_live().stream(feed.render, own.get("tenant", ""))


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


@blueprint.get("/api/models/full")
@json_view()
def full_catalogue(_own: Mapping[str, str]) -> Any:
    """The models of every provider, with everything known about each."""
    key = _find_key()
    return {
        "models": [
            {"provider": name, "name": f"{name}/{model.id}", **msgspec.structs.asdict(model)}
            for name, provider in services().providers.items()
            if key.may_use(name)
            for model in provider.models()
            if key.may_name(model.id, f"{name}/{model.id}")
        ]
    }


@blueprint.get("/api/config")
@json_view(to_admins=True)
def config(_own: Mapping[str, str]) -> Any:
    return describe_config()


@blueprint.post("/api/config")
@json_view()
def set_config(_own: Mapping[str, str]) -> Any:
    return change_config()


@blueprint.get("/api/logs/stream")
def logs() -> Response:
    return stream_for_programs()


def _find_key() -> ClientKey:
    access = services().access
    return access.check_key(read_headers(request.environ)) if access.demands_key else ANYBODY
