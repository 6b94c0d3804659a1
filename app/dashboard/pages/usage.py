"""Shows usage: sums, charts, comparison with the preceding period, budgets and quotas."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from flask import Response, request

from app.accounts.reports import GROUPS, report_usage
from app.blueprints.operations.provider_states import describe_provider
from app.blueprints.operations.reports import LONGEST_VALUE, read_filters
from app.blueprints.views import runtime, services
from app.dashboard.blueprint import blueprint
from app.dashboard.page import Range, read_range, show
from app.dashboard.reading import ask
from app.dashboard.visitors import Visitor, find_visitor
from app.errors import InvalidRequest
from app.gateway.use_limits.in_force import format_use, read_use

USUAL = "7d"
MAX_SHOWN = 200
# Maximum lines of the chart.
MAX_LINES = 6
MAX_POINTS = 500
METRICS = {
    "cost": "Cost",
    "requests": "Requests",
    "input": "Input tokens",
    "cache_read": "Cached tokens",
    "output": "Output tokens",
    "failed": "Failed",
}
HOURS_A_CHART = 72
SECONDS = {"hour": 3600, "day": 86_400}
_WEEK = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@blueprint.get("/usage")
def usage() -> Response:
    visitor, wanted = find_visitor(), read_range(USUAL)
    groups = read_groups()
    by, also = groups[0], groups[1] if len(groups) > 1 else ""
    metric = request.args.get("metric") or "cost"
    if metric not in METRICS:
        raise InvalidRequest(f"metric: {metric[:LONGEST_VALUE]!r} is not one of {', '.join(METRICS)}", param="metric")
    where = {**read_filters(("session",)), **visitor.own}
    rows = find_usage(groups, wanted.begin, wanted.end, where, MAX_SHOWN + 1)
    total = find_usage([], wanted.begin, wanted.end, where)
    period = "hour" if wanted.seconds <= HOURS_A_CHART * 3600 else "day"
    # Sums cover whole hours or days, and none may count on both sides.
    begin = wanted.begin // SECONDS[period] * SECONDS[period]
    before = find_usage([], begin - wanted.seconds, begin - 1, where)
    lines = [by] if by not in ("day", "hour") else []
    course = find_usage([period, *lines], wanted.begin, wanted.end, where)
    return show(
        "usage.html",
        visitor,
        rows=rows[:MAX_SHOWN],
        more=len(rows) > MAX_SHOWN,
        by=by,
        also=also,
        groups=list(GROUPS),
        grouped=groups,
        metric=metric,
        metrics=METRICS,
        total=_add(total),
        before=_add(before),
        course=_draw(course, period, by if lines else "", metric, wanted),
        heat=_week_of_hours(
            find_usage(["hour"], max(wanted.begin, wanted.end - 35 * 86_400), wanted.end, where), metric
        ),
        limits=_list_limits(visitor),
        quotas=_list_quotas() if visitor.is_admin else [],
        span=wanted.since or USUAL,
    )


def find_usage(
    groups: Sequence[str], since: float, until: float, where: Mapping[str, str], limit: int | None = None
) -> list[dict[str, Any]]:
    rows = ask(lambda connection: report_usage(connection, groups, since, until, where, limit))
    for row in rows:
        row["input"] = row["fresh"] + row["cache_read"] + row["cache_written"]
    return rows


def read_groups() -> list[str]:
    """The one or two groupings in the address. Raises InvalidRequest."""
    by, also = _read_group("by", "model"), _read_group("also", "")
    return [by] if also in ("", by) else [by, also]


def _read_group(name: str, usual: str) -> str:
    group = request.args.get(name) or usual
    if group and group not in GROUPS:
        raise InvalidRequest(f"{name}: {group[:LONGEST_VALUE]!r} is not one of {', '.join(GROUPS)}", param=name)
    return group


def _add(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    names = ("requests", "failed", "input", "fresh", "cache_read", "cache_written", "output", "cost", "unpriced")
    return {name: sum(row[name] for row in rows) for name in names}


def _draw(rows: Sequence[Mapping[str, Any]], period: str, by: str, metric: str, wanted: Range) -> dict[str, Any]:
    """A metric over time: the times, and a line for each of the largest groups and one for the rest."""
    seconds = SECONDS[period]
    totals: dict[str, int] = {}
    for row in rows:
        name = str(row[by]) if by else METRICS[metric]
        totals[name] = totals.get(name, 0) + row[metric]
    largest = sorted(totals, key=lambda name: -totals[name])[:MAX_LINES]
    names = [*largest, *(["others"] if len(totals) > len(largest) else [])]
    first, last = int(wanted.begin) // seconds * seconds, int(wanted.end) // seconds * seconds
    if last - first > MAX_POINTS * seconds:
        # Nobody has data of so long a time: the chart begins with the first.
        first = min((int(row[period]) for row in rows), default=last)
    times = list(range(first, last + 1, seconds))
    values = {at: dict.fromkeys(names, 0) for at in times}
    for row in rows:
        name = str(row[by]) if by else METRICS[metric]
        place = values.get(int(row[period]))
        if place is not None:
            place[name if name in totals and name in largest else "others"] += row[metric]
    return {"names": names, "points": [{"at": at, "values": [values[at][name] for name in names]} for at in times]}


def _week_of_hours(rows: Sequence[Mapping[str, Any]], metric: str) -> list[dict[str, Any]]:
    """The hours of the week, each with the sum of a metric and its intensity relative to the others, from 0 to 4."""
    sums = [[0] * 24 for _ in _WEEK]
    for row in rows:
        moment = datetime.datetime.fromtimestamp(row["hour"], datetime.UTC)
        sums[moment.weekday()][moment.hour] += row[metric]
    maximum = max(max(hours) for hours in sums) or 1
    return [
        {"day": day, "hours": [{"value": value, "heat": -(-value * 4 // maximum)} for value in hours]}
        for day, hours in zip(_WEEK, sums, strict=True)
    ]


def _list_limits(visitor: Visitor) -> list[dict[str, Any]]:
    """The limits in force that a visitor may see, the most used first, with the use of each."""
    tenant = visitor.own.get("tenant")
    limited = [each for each in runtime().find_limited() if tenant is None or each.tenant == tenant]
    uses = read_use(limited, runtime().limiter.counts)
    return [
        {"owner": use.owner, "name": use.name, "limit": use.limit.replace("_", " "), "said": format_use(use)}
        | {"share": min(1.0, use.share), "resets": use.resets}
        for use in sorted(uses, key=lambda use: -use.share)
    ]


def _list_quotas() -> list[dict[str, Any]]:
    return [
        {"provider": name, "account": account, "seen": provider.health.last_success, **window}
        for name, provider in services().providers.items()
        for account, windows in describe_provider(provider, detailed=True).get("quotas", {}).items()
        for window in windows
    ]
