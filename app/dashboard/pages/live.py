"""Updates open pages live."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from flask import Response, current_app

from app.accounts.record import RequestRecord
from app.blueprints.operations.rights import is_own
from app.blueprints.views import runtime
from app.dashboard.blueprint import blueprint
from app.dashboard.live import Live, Seen
from app.dashboard.pages.overview import MAX_RUNNING
from app.dashboard.pages.requests import read_asked
from app.dashboard.rendering import render_part
from app.dashboard.visitors import Visitor, find_visitor


@blueprint.get("/live/overview")
def follow_overview() -> Response:
    """Running requests, and the latest finished ones."""
    visitor = find_visitor()

    def render(seen: Seen) -> Iterator[str]:
        yield from _render_rows([row for row in seen.rows if is_own(row["tenant"], visitor.own)])
        if seen.running is not None:
            yield from _render_running(seen, seen.running, visitor)

    return find_live().show(render, visitor.own.get("tenant", ""))


@blueprint.get("/live/requests")
def follow_requests() -> Response:
    """The requests that match the address's filters, as they end."""
    visitor, asked = find_visitor(), read_asked()

    def render(seen: Seen) -> Iterator[str]:
        return _render_rows([row for row in seen.rows if is_own(row["tenant"], visitor.own) and is_asked(row, asked)])

    return find_live().show(render, visitor.own.get("tenant", ""))


def is_asked(row: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
    """Whether a row matches the filters of an address, as the database would decide."""
    for column, wanted in asked["where"].items():
        have = row[column]
        if not (fnmatchcase(have.lower(), _format_glob(wanted)) if "*" in wanted else have == wanted):
            return False
    if asked["failed"] and not row["failed"]:
        return False
    if not asked["operations"] and row["operation"] in ("count_tokens", "models") and not row["failed"]:
        return False
    return asked["status"] is None or asked["status"][0] <= row["status"] <= asked["status"][1]


def _format_glob(wanted: str) -> str:
    """The same pattern for fnmatch, with its other special characters escaped."""
    return "".join(f"[{letter}]" if letter in "?[" else letter for letter in wanted.lower())


def _render_rows(rows: list[dict[str, Any]]) -> Iterator[str]:
    """The rows, newest first; each is rendered once for all pages."""
    if not rows:
        return
    yield '<hx-partial hx-target="#rows" hx-swap="afterbegin">'
    for row in reversed(rows):
        if "html" not in row:
            row["html"] = render_part("rows.html", "request_row", row, True)
        yield row["html"]
    yield "</hx-partial>"


def _render_running(seen: Seen, running: Sequence[RequestRecord], visitor: Visitor) -> Iterator[str]:
    yield '<hx-partial hx-target="#running" hx-swap="innerHTML">'
    kind = (visitor.is_admin, *visitor.own.items())
    rendered = seen.rendered.get(kind)
    if rendered is None:
        mine = [each for each in running if is_own(each.tenant, visitor.own)][:MAX_RUNNING]
        rendered = []
        for few in [[each] for each in mine] or [[]]:
            rendered.append(render_part("running.html", "running_rows", few, visitor.is_admin))
            yield rendered[-1]
        seen.rendered[kind] = rendered
    else:
        yield from rendered
    yield "</hx-partial>"


def find_live() -> Live:
    """This worker's polling for all pages."""
    found: Live | None = current_app.extensions.get("dragoman.live")
    if found is None:
        found = current_app.extensions["dragoman.live"] = Live(runtime())
    return found
