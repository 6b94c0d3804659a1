"""Usage, requests, limits and prices as JSON, with the data of the commands `usage`, `requests`, `show`, `prices` and
`top`."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec
from flask import Blueprint, request

from app.accounts.apart import READ_LIMIT, AccountsUnavailable
from app.accounts.queries import Query, find_request, list_requests, list_sessions
from app.accounts.record import RequestRecord
from app.accounts.reports import ALONE, CREDENTIAL, GROUPS, SESSION, read_span, report_usage
from app.blueprints.operations.rights import is_own, json_view
from app.blueprints.views import runtime, services
from app.errors import Forbidden, InvalidRequest, NotFound
from app.gateway.use_limits.in_force import read_use
from app.sql import Connection

T = TypeVar("T")

blueprint = Blueprint("reports", __name__, url_prefix="/_/api")

DAY = 86_400.0
# The most characters of a value in the query that are used.
LONGEST_VALUE = 300
_STATUS = re.compile(r"([1-5])xx|([1-5]\d\d)", re.ASCII)
MAX_ROWS = 1000
# The filters of lists: names in the query, and their columns.
FILTERS = {
    "key": "key",
    "session": "session",
    "model": "model",
    "provider": "provider",
    "target": "target",
    "client": "agent",
}
# What lists are asked by.
LIST_PARAMETERS = ("failed", "status", "since", "limit", *FILTERS)
# What sums can be narrowed by: those by several properties, and those by one alone.
USAGE_FILTERS = ("until", *(name for name in FILTERS if name != "session"))
ALONE_FILTERS = {SESSION: ("key",), CREDENTIAL: ("until", "provider")}


@blueprint.get("/usage")
@json_view()
def usage(own: Mapping[str, str]) -> Any:
    groups = list(dict.fromkeys(request.args.getlist("by"))) or ["model"]
    unknown = next((group for group in groups if group not in (*GROUPS, *ALONE)), None)
    if unknown is not None:
        known = ", ".join((*GROUPS, *ALONE))
        raise InvalidRequest(f"by: {unknown[:LONGEST_VALUE]!r} is not one of {known}", param="by")
    alone = next((group for group in groups if group in ALONE), None)
    if alone is not None and len(groups) > 1:
        raise InvalidRequest(f"by: {alone} cannot be combined with another group", param="by")
    if alone == CREDENTIAL and own:
        raise Forbidden("by: only an admin may see the credentials of providers; send an admin's key", param="by")
    check_parameters("by", "since", *(USAGE_FILTERS if alone is None else ALONE_FILTERS[alone]))
    since, until = read_time("since") or time.time() - 7 * DAY, read_time("until")
    where = {**read_filters(), **own}
    rows = ask_accounts(lambda connection: report_usage(connection, groups, since, until, where))
    return {"since": since, "until": until, "by": groups, "usage": rows}


@blueprint.get("/requests")
@json_view()
def requests(own: Mapping[str, str]) -> Any:
    check_parameters(*LIST_PARAMETERS, "until", "before", "after")
    query = msgspec.structs.replace(
        read_query(own), until=read_time("until"), before=read_number("before"), after=read_number("after")
    )
    rows = ask_accounts(lambda connection: list_requests(connection, query))
    full = len(rows) >= query.limit and query.after is None
    return {"requests": [describe_row(row) for row in rows], "next": rows[-1]["seq"] if full else None}


@blueprint.get("/requests/<request_id>")
@json_view()
def one_request(own: Mapping[str, str], request_id: str) -> Any:
    found = ask_accounts(lambda connection: find_request(connection, request_id[:LONGEST_VALUE]))
    if found is None or not is_own(found["tenant"], own):
        raise NotFound(f"no request has the id {request_id[:LONGEST_VALUE]!r}")
    return describe_row(found)


@blueprint.get("/sessions")
@json_view()
def sessions(own: Mapping[str, str]) -> Any:
    check_parameters("key", "since", "before", "limit")
    named = {name: value for name, value in read_filters().items() if name == "key"}
    before, since, limit = read_time("before"), read_time("since"), _read_limit()
    rows = ask_accounts(
        lambda connection: list_sessions(connection, before=before, since=since, where={**named, **own}, limit=limit)
    )
    return {
        "sessions": [describe_row(row) for row in rows],
        "next": rows[-1]["last"] if len(rows) >= limit else None,
    }


@blueprint.get("/running")
@json_view()
def running(own: Mapping[str, str]) -> Any:
    """The requests that run now, on all workers of this server."""
    running = runtime().workers.look_running()
    mine = [record for record in running.records if is_own(record.tenant, own)]
    return {
        "running": [describe_running(record) for record in mine],
        "workers": running.workers,
        "complete": running.complete,
    }


@blueprint.get("/limits")
@json_view()
def limits(own: Mapping[str, str]) -> Any:
    """The limits in force and their use. Only admins see those of providers."""
    limited = [each for each in runtime().find_limited() if not own or each.tenant == own["tenant"]]
    return {"limits": read_use(limited, runtime().limiter.counts)}


@blueprint.get("/prices")
@json_view()
def prices(_own: Mapping[str, str]) -> Any:
    """All prices, or the one of `model`, in dollars per million tokens."""
    check_parameters("model")
    table = runtime().recorder.prices
    assert table is not None, "a runtime has prices"
    model = request.args.get("model")
    if model is None:
        return {"prices": {name: msgspec.structs.asdict(row) for name, row in table.rows().items()}}
    provider, _, name = model[:LONGEST_VALUE].rpartition("/")
    price = table.find(provider, name)
    if price is None:
        raise NotFound(
            f"no price is known for {model[:LONGEST_VALUE]!r}; [prices] in the configuration file can add one"
        )
    return {"prices": {model[:LONGEST_VALUE]: msgspec.structs.asdict(price)}}


def ask_accounts(work: Callable[[Connection], T], limit: float = READ_LIMIT) -> T:
    """The result of `work` on the accounts, within `limit` seconds. Raises AccountsUnavailable."""
    accounts = runtime().accounts
    if accounts is None:
        off = not services().settings.accounts.enabled
        why = "accounts.enabled is false" if off else "this process does not keep accounts"
        raise AccountsUnavailable(f"accounts are not available: {why}")
    return accounts.read(work, limit)


def describe_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row without its tenant, which serves only to tell keys apart."""
    return {name: value for name, value in row.items() if name != "tenant"}


def describe_running(record: RequestRecord) -> dict[str, Any]:
    fields = msgspec.to_builtins(record)
    return {name: value for name, value in fields.items() if name not in ("tenant", "peer", "method", "rate_limits")}


def read_query(own: Mapping[str, str]) -> Query:
    """The list that the LIST_PARAMETERS ask for. Raises InvalidRequest."""
    return Query(
        since=read_time("since"),
        failed=request.args.get("failed", "") in ("1", "true", "yes"),
        status=read_status(request.args.get("status", "")[:LONGEST_VALUE]),
        where={**read_filters(), **own},
        limit=_read_limit(),
    )


def read_filters(without: tuple[str, ...] = ()) -> dict[str, str]:
    given = {column: request.args.get(name) for name, column in FILTERS.items() if name not in without}
    return {column: value[:LONGEST_VALUE] for column, value in given.items() if value}


def read_status(text: str) -> tuple[int, int] | None:
    """The lowest and highest status of `429` or `5xx`; None for an empty text. Raises InvalidRequest."""
    if not text:
        return None
    found = _STATUS.fullmatch(text.lower())
    if found is None:
        raise InvalidRequest("status must be a number such as 429, or a class such as 5xx", param="status")
    if found[1]:
        return int(found[1]) * 100, int(found[1]) * 100 + 99
    return int(found[2]), int(found[2])


def check_parameters(*known: str) -> None:
    """Refuses a query with a parameter that would be ignored: the answer would not be what was asked for. Raises
    InvalidRequest."""
    unknown = next((name for name in request.args if name not in known), None)
    if unknown is not None:
        unknown = unknown[:LONGEST_VALUE]
        raise InvalidRequest(f"there is no parameter {unknown!r} here, only {', '.join(known)}", param=unknown)


def read_number(name: str) -> int | None:
    text = request.args.get(name)
    if text is None:
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > 15:
        raise InvalidRequest(f"{name} must be a whole number", param=name)
    return int(text)


def _read_limit() -> int:
    limit = read_number("limit")
    if limit is not None and not 1 <= limit <= MAX_ROWS:
        raise InvalidRequest(f"limit must be between 1 and {MAX_ROWS}", param="limit")
    return limit or 50


def read_time(name: str) -> float | None:
    """A time in the query, as Unix seconds: given as such, or as a span before now. Raises InvalidRequest."""
    text = request.args.get(name)
    if text is None:
        return None
    span = read_span(text)
    if span is not None:
        return time.time() - span
    try:
        moment = float(text[:30])
    except ValueError:
        moment = -1.0
    if not 0 <= moment < 1e11:
        raise InvalidRequest(f"{name} must be a time span such as 30m, 12h or 7d, or unix time in seconds", param=name)
    return moment
