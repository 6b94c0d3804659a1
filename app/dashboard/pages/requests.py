"""Lists requests: search, filters, range, paging and live updates."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from flask import Response, request

from app.accounts.queries import Query, find_request
from app.accounts.queries import list_requests as list_rows
from app.accounts.views import count_along
from app.blueprints.operations.reports import FILTERS, LONGEST_VALUE, read_filters, read_number, read_status
from app.blueprints.operations.rights import is_own
from app.dashboard.blueprint import blueprint
from app.dashboard.page import read_range, show
from app.dashboard.reading import ask, list_requests
from app.dashboard.rendering import redirect_to
from app.dashboard.visitors import Visitor, find_visitor
from app.errors import InvalidRequest

PAGE = 50
# Range of the bar chart above the list if none was chosen.
USUAL = "24h"
# The properties that a list can be narrowed by.
_FILTERS = {**FILTERS, "error": "error"}
_TERM = re.compile(r"(\w{1,20}):(\"[^\"]{0,300}\"|\S{1,300})")


@blueprint.get("/requests")
def requests() -> Response:
    visitor = find_visitor()
    asked = read_asked()
    wanted = read_range(USUAL)
    before = read_number("before")
    rows = list_requests(
        visitor,
        before=before,
        **wanted.chosen(),
        failed=asked["failed"],
        status=asked["status"],
        where=asked["where"],
        limit=PAGE,
    )
    more = {"before": rows[-1]["seq"]} if len(rows) >= PAGE else None
    given = {name: value[:LONGEST_VALUE] for name, value in request.args.items() if name != "before" and value}
    return show(
        "requests.html",
        visitor,
        lines=fold(rows, asked["operations"]),
        terms=asked["terms"],
        given=given,
        following={**given, **more} if more else None,
        bars=_count(visitor, wanted.begin, wanted.end, asked["where"]) if before is None else [],
        live=before is None and not wanted.until and request.args.get("live") != "no",
    )


@blueprint.get("/search")
def search() -> Response:
    """The search field at the top: finds a request by its id, a session, or the requests for a model."""
    visitor, text = find_visitor(), request.args.get("q", "").strip()[:LONGEST_VALUE]

    if not text:
        return redirect_to("/_/requests")
    if ":" in text and _TERM.search(text):
        return redirect_to("/_/requests", q=text)
    found = ask(lambda connection: find_request(connection, text))
    if found is not None and is_own(found["tenant"], visitor.own):
        return redirect_to(f"/_/requests/{found['id']}")
    session = ask(lambda connection: list_rows(connection, Query(where={"session": text, **visitor.own}, limit=1)))
    if session:
        return redirect_to("/_/sessions/show", session=text)
    return redirect_to("/_/requests", model=text if "*" in text else f"*{text}*")


def read_asked() -> dict[str, Any]:
    """The filters in the address: parameters, and terms such as `status:5xx` in `q`. Raises InvalidRequest."""
    text = request.args.get("q", "").strip()[:LONGEST_VALUE]
    where = read_filters()
    if error := request.args.get("error", "")[:LONGEST_VALUE]:
        where["error"] = error
    failed = bool(request.args.get("failed"))
    status_text, operations = request.args.get("status", "")[:3], bool(request.args.get("operations"))
    rest = text
    for found in _TERM.finditer(text):
        name, value = found[1].lower(), found[2].strip('"')
        if name == "status":
            status_text = value[:3]
        elif name == "failed":
            failed = value not in ("no", "0", "false")
        elif name in _FILTERS:
            where[_FILTERS[name]] = value
        else:
            known = ", ".join((*_FILTERS, "status", "failed"))
            raise InvalidRequest(f"q: {name!r} is not one of {known}", param="q")
        rest = rest.replace(found[0], "", 1)
    if rest.strip():
        where["model"] = rest.strip() if "*" in rest else f"*{rest.strip()}*"
    return {
        "terms": text,
        "where": where,
        "failed": failed or "error" in where,
        "status": read_status(status_text),
        "operations": operations,
    }


def fold(rows: Sequence[Mapping[str, Any]], operations: bool = False) -> list[dict[str, Any]]:
    """The lines of the list: one per request, except that consecutive count or listing requests share a line."""
    lines: list[dict[str, Any]] = []
    for row in rows:
        helps = not operations and row["operation"] in ("count_tokens", "models") and not row["failed"]
        if helps and lines and lines[-1].get("operation") == row["operation"]:
            lines[-1]["rows"].append(row)
        else:
            lines.append({"operation": row["operation"], "rows": [row]} if helps else {"rows": [row]})
    return lines


def _count(visitor: Visitor, since: float, until: float, where: Mapping[str, str]) -> list[dict[str, Any]]:

    # The sums have no sessions and no errors.
    if not where.keys().isdisjoint(("session", "error")):
        return []
    return ask(lambda connection: count_along(connection, since, until, {**where, **visitor.own}))
