"""The pages: what each shows, from the same rows and with the same rights as its twin below `/_/api`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from flask import Blueprint, Response, request
from gevent.lock import BoundedSemaphore

from app.accounts.apart import AccountsUnavailable
from app.accounts.reports import GROUPS, report_usage
from app.blueprints.api import runtime, services
from app.blueprints.operations.reports import LONGEST_VALUE, ask_accounts, read_filters, read_number, read_time
from app.blueprints.operations.system import describe_provider
from app.dashboard.rendering import render
from app.dashboard.sign_in import dress, need_dashboard, show_error
from app.dashboard.visitors import Visitor, find_visitor
from app.errors import DragomanError, Forbidden, InvalidRequest, NotFound, TooMany
from app.settings import ProviderSettings, Settings, masked

if TYPE_CHECKING:
    from sqlalchemy import Connection

T = TypeVar("T")

blueprint = Blueprint("dashboard", __name__, url_prefix="/_")

# Seconds that a page waits for the accounts, and pages of one worker that may read them at a time.
READ_LIMIT = 2.0
MOST_READING = 4
DAY = 86_400.0
LATEST = 10
PAGE = 50
MOST_SHOWN = 500

_UNSET = masked(ProviderSettings(kind=""))

_reading = BoundedSemaphore(MOST_READING)


@blueprint.get("/")
def overview() -> Response:
    visitor = find_visitor()
    latest: list[dict[str, Any]] = []
    troubles = list(_find_troubles(visitor))
    try:
        latest = _list_requests(visitor, limit=LATEST)
    except AccountsUnavailable as error:
        troubles.append(str(error))
    whole = runtime().workers.look()
    mine = [each for each in whole.running if all(getattr(each, name) == value for name, value in visitor.own.items())]
    providers = {name: describe_provider(each, detailed=True) for name, each in services().providers.items()}
    return render(
        "overview.html",
        visitor=visitor,
        troubles=troubles,
        running=mine,
        complete=whole.complete,
        now=time.time(),
        providers=providers,
        latest=latest,
        base_url=request.url_root.rstrip("/"),
        asks_key=services().access.demands_key,
    )


@blueprint.get("/requests")
def requests() -> Response:
    visitor = find_visitor()
    # Names as the query has them, for the form and for the link to the next page.
    names = ("model", "provider", "target", "client", "key", "session", "since", "failed")
    given = {name: request.args.get(name, "")[:LONGEST_VALUE] for name in names}
    # A form sends its empty fields too.
    since = read_time("since") if given["since"] else None
    rows = _list_requests(
        visitor,
        before=read_number("before"),
        since=since,
        failed=bool(given["failed"]),
        where={**read_filters(), **visitor.own},
        limit=PAGE,
    )
    following = {**given, "before": rows[-1]["seq"]} if len(rows) >= PAGE else None
    return render("requests.html", visitor=visitor, rows=rows, given=given, following=following)


@blueprint.get("/requests/<request_id>")
def one_request(request_id: str) -> Response:
    from app.accounts.queries import find_request

    visitor = find_visitor()
    row = _ask(lambda connection: find_request(connection, request_id[:LONGEST_VALUE]))
    if row is None or any(row[column] != value for column, value in visitor.own.items()):
        raise NotFound(f"no request has the id {request_id[:LONGEST_VALUE]!r}")
    return render("request.html", visitor=visitor, row=row, get=row.get)


@blueprint.get("/usage")
def usage() -> Response:
    visitor = find_visitor()
    by = request.args.get("by") or "model"
    if by not in GROUPS:
        raise InvalidRequest(f"by: {by[:LONGEST_VALUE]!r} is none of {', '.join(GROUPS)}", param="by")
    span = (request.args.get("since") or "7d")[:LONGEST_VALUE]
    since = (read_time("since") if request.args.get("since") else None) or time.time() - 7 * DAY
    rows = _ask(lambda connection: report_usage(connection, [by], since, None, visitor.own))
    shown = rows[:MOST_SHOWN]
    return render(
        "usage.html",
        visitor=visitor,
        rows=shown,
        left_out=len(rows) - len(shown),
        by=by,
        groups=list(GROUPS),
        span=span,
    )


@blueprint.get("/models")
def models() -> Response:
    visitor = find_visitor()
    listing = services().listing
    listed = listing.models()
    return render(
        "models.html",
        visitor=visitor,
        models=listed[:MOST_SHOWN],
        left_out=max(0, len(listed) - MOST_SHOWN),
        problems=listing.problems(),
    )


@blueprint.get("/settings")
def settings() -> Response:
    visitor = find_visitor()
    if not visitor.is_admin:
        raise Forbidden("the settings are shown to an admin alone")
    held = services().settings
    return render(
        "settings.html", visitor=visitor, tables=_describe_settings(held), source=held.source, problem=runtime().problem
    )


def _list_requests(visitor: Visitor, **query: Any) -> list[dict[str, Any]]:
    from app.accounts.queries import Query, list_requests

    query.setdefault("where", visitor.own)
    return _ask(lambda connection: list_requests(connection, Query(**query)))


def _ask(work: Callable[[Connection], T]) -> T:
    """What `work` finds; a page that waits too long gives up, so that pages never hold up what writes the accounts."""
    if not _reading.acquire(timeout=READ_LIMIT):
        raise TooMany("too many pages are being read at once; try again soon")
    try:
        return ask_accounts(work, READ_LIMIT)
    finally:
        _reading.release()


def _find_troubles(visitor: Visitor) -> Iterator[str]:
    """What is wrong now, in the words of /health. What failed before it succeeded again is over."""
    owner = runtime()
    if owner.problem is not None:
        yield (
            f"the changed configuration was not taken over: {owner.problem}"
            if visitor.is_admin
            else ("the changed configuration was not taken over")
        )
    yield from owner.complaints()
    for name, provider in services().providers.items():
        trouble = provider.health.problem
        if trouble is not None:
            yield f"{name}: {trouble.message}"


def _describe_settings(held: Settings) -> dict[str, list[tuple[str, str, bool]]]:
    """Rows of name, value and whether the value is another one than without any settings; by table. Of a provider
    only what is set is told: most of its keys are for other kinds."""
    shown, usual = masked(held), masked(Settings())
    tables: dict[str, list[tuple[str, str, bool]]] = {}
    for table, values in shown.items():
        if table == "providers":
            for name, provider in values.items():
                rows = [(key, _spell(value), True) for key, value in provider.items() if value != _UNSET[key]]
                tables[f"{table}.{name}"] = rows
        elif isinstance(values, dict):
            before = usual[table]
            tables[table] = [(name, _spell(value), value != before.get(name)) for name, value in values.items()]
    return tables


def _spell(value: Any) -> str:
    """A value as JSON, which is much as the file has it."""
    return "none" if value is None else msgspec.json.encode(value, enc_hook=str).decode()


blueprint.before_request(need_dashboard)
blueprint.after_request(dress)
blueprint.register_error_handler(DragomanError, show_error)
