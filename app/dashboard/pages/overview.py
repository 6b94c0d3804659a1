"""The overview: problems, running requests, providers, recent requests, and how to connect."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from flask import Response, request

from app.accounts.apart import AccountsUnavailable
from app.accounts.queries import sum_usage
from app.accounts.record import RequestRecord
from app.accounts.views import list_first_bytes
from app.blueprints.forms import read_form
from app.blueprints.operations.provider_states import describe_providers
from app.blueprints.operations.rights import is_own
from app.blueprints.views import runtime, services
from app.dashboard.blueprint import blueprint
from app.dashboard.page import Range, Trouble, find_troubles, read_range, show
from app.dashboard.pages.requests import fold
from app.dashboard.reading import ask, list_requests
from app.dashboard.rendering import redirect_to
from app.dashboard.visitors import Visitor, check_change, find_visitor, log_change
from app.errors import NotFound

LATEST = 10
MAX_RUNNING = 50
USUAL = "24h"
_REQUEST_ID = re.compile(r"[0-9a-f]{32}")


@blueprint.get("/")
def overview() -> Response:
    visitor, wanted = find_visitor(), read_range(USUAL)
    troubles = list(find_troubles(visitor))
    latest: list[dict[str, Any]] = []
    numbers: dict[str, Any] | None = None
    by_provider: dict[str, dict[str, Any]] = {}
    try:
        latest = list_requests(visitor, limit=LATEST)
        numbers, by_provider = _sum_up(visitor, wanted)
    except AccountsUnavailable as error:
        troubles.append(Trouble(str(error)))
    running, complete = look_running(visitor)
    return show(
        "overview.html",
        visitor,
        troubles=troubles,
        running=running,
        complete=complete,
        most_running=MAX_RUNNING,
        numbers=numbers,
        by_provider=by_provider,
        providers=describe_providers(services().providers, detailed=True),
        latest=latest,
        latest_lines=fold(latest),
        base_url=request.url_root.rstrip("/"),
        asks_key=services().access.demands_key,
    )


@blueprint.post("/running/end")
def end_request() -> Response:
    """Ends a running request, on whichever worker it runs."""
    visitor, wanted = check_change(), read_form().get("id", "")[:64]
    if not _REQUEST_ID.fullmatch(wanted):
        raise NotFound("no request with that id is running")
    runtime().workers.end(wanted)
    log_change(visitor, f"ends the request {wanted}")
    return redirect_to("/_/")


def look_running(visitor: Visitor) -> tuple[list[RequestRecord], bool]:
    """The running requests that a visitor may see, and whether all workers replied."""
    running = runtime().workers.look_running()
    return [each for each in running.records if is_own(each.tenant, visitor.own)], running.complete


def _sum_up(visitor: Visitor, wanted: Range) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The totals of a range with their hourly course, and the totals per provider."""
    since, until, own = wanted.begin, wanted.end, visitor.own
    courses = ask(lambda connection: sum_usage(connection, ["hour"], max(since, until - 72 * 3600), until, own))
    providers = ask(lambda connection: sum_usage(connection, ["provider"], since, until, own))
    timed = ask(lambda connection: list_first_bytes(connection, since, until, own))
    courses.sort(key=lambda row: row["hour"])
    total = {name: sum(row[name] for row in providers) for name in ("requests", "failed", "output", "cost", "unpriced")}
    fresh, read, written = (sum(row[name] for row in providers) for name in ("fresh", "cache_read", "cache_written"))
    total |= {"input": fresh + read + written, "cached": read / (fresh + read + written) if read else 0.0}
    total |= _percentiles([ms for _, ms in timed])
    total["courses"] = {
        "requests": [row["requests"] for row in courses],
        "tokens": [row["fresh"] + row["cache_read"] + row["cache_written"] + row["output"] for row in courses],
        "cached": [_share(row) for row in courses],
        "cost": [row["cost"] for row in courses],
        "first": [row["first_byte_ms"] / row["first_bytes"] if row["first_bytes"] else 0 for row in courses],
    }
    by_provider = {
        row["provider"]: {**row, **_percentiles([ms for name, ms in timed if name == row["provider"]])}
        for row in providers
    }
    return total, by_provider


def _share(row: Mapping[str, Any]) -> float:
    whole = row["fresh"] + row["cache_read"] + row["cache_written"]
    return float(row["cache_read"] / whole) if whole else 0.0


def _percentiles(times: Sequence[int]) -> dict[str, int | None]:
    """The median and the 95th percentile."""
    ordered = sorted(times)
    if not ordered:
        return {"p50": None, "p95": None}
    return {f"p{part}": ordered[math.ceil(len(ordered) * part / 100) - 1] for part in (50, 95)}
