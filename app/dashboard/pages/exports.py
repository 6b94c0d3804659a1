"""Downloads lists as CSV or JSON, streamed page by page."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import msgspec
from flask import Response

from app.accounts.queries import Query
from app.accounts.queries import list_requests as find_rows
from app.accounts.reports import COUNTS, guard_cell
from app.blueprints.operations.reports import read_filters
from app.blueprints.views import runtime
from app.dashboard.blueprint import blueprint
from app.dashboard.page import read_range
from app.dashboard.pages.requests import read_asked
from app.dashboard.pages.usage import find_usage, read_groups
from app.dashboard.reading import READ_LIMIT, list_requests
from app.dashboard.rendering import PAGE_HEADERS
from app.dashboard.visitors import find_visitor
from app.errors import DragomanError, NotFound
from app.known_secrets import known_secrets

PAGE = 500
MAX_ROWS = 200_000
COLUMNS = (
    *("id", "received", "key", "agent", "session", "path", "operation", "model", "rule", "provider", "target"),
    *("status", "terminal", "error", "ms", "first_byte_ms", "attempts"),
    *("fresh", "cache_read", "cache_written", "output", "reasoning", "cost"),
)
TYPES = {"csv": "text/csv; charset=utf-8", "json": "application/json"}


@blueprint.get("/requests.<kind>")
def export_requests(kind: str) -> Response:
    visitor, wanted, asked = find_visitor(), read_range("30d"), read_asked()
    query: dict[str, Any] = {
        **wanted.chosen(),
        **{name: asked[name] for name in ("failed", "status", "where")},
    }
    first = list_requests(visitor, limit=PAGE, **query)
    # The rest is read while it is sent, when the request context no longer exists.
    accounts, where = runtime().accounts, {**asked["where"], **visitor.own}

    def rows() -> Iterator[Mapping[str, Any]]:
        page, count = first, 0
        while page and count < MAX_ROWS:
            yield from page
            count += len(page)
            if len(page) < PAGE or accounts is None:
                return
            following = Query(limit=PAGE, before=page[-1]["seq"], **{**query, "where": where})
            try:
                page = accounts.read(partial(find_rows, query=following), READ_LIMIT)
            except DragomanError:
                return  # a started download can only be cut off

    return _send("requests", kind, COLUMNS, rows())


@blueprint.get("/usage.<kind>")
def export_usage(kind: str) -> Response:
    visitor, wanted = find_visitor(), read_range("7d")
    groups = read_groups()
    where = {**read_filters(("session",)), **visitor.own}
    return _send("usage", kind, (*groups, *COUNTS), find_usage(groups, wanted.begin, wanted.end, where))


def _send(name: str, kind: str, columns: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> Response:
    if kind not in TYPES:
        raise NotFound(f"{name} can be exported as csv or json")
    names = tuple(columns)
    parts = _render_csv(names, rows) if kind == "csv" else _render_json(names, rows)
    headers = {**PAGE_HEADERS, "content-disposition": f'attachment; filename="dragoman-{name}.{kind}"'}
    return Response(parts, headers=headers, content_type=TYPES[kind])


def _render_csv(columns: tuple[str, ...], rows: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(columns)
    for row in rows:
        writer.writerow([guard_cell(row.get(name)) for name in columns])
        if file.tell() > 32_768:
            yield _take(file)
    yield _take(file)


def _render_json(columns: tuple[str, ...], rows: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    before = b"[\n"
    for row in rows:
        encoded = msgspec.json.encode({name: row.get(name) for name in columns})
        yield before + known_secrets.mask_bytes(encoded)
        before = b",\n"
    yield b"[]\n" if before == b"[\n" else b"\n]\n"


def _take(file: io.StringIO) -> bytes:
    text = file.getvalue()
    file.seek(0)
    file.truncate()
    return known_secrets.mask(text).encode("utf-8", "replace")
