"""Shows one request: a waterfall of its steps, routing, losses, usage and recording."""

from __future__ import annotations

from typing import Any

from flask import Response, request

from app.accounts.queries import find_request
from app.accounts.recordings import find_recording
from app.blueprints.operations.reports import LONGEST_VALUE
from app.blueprints.operations.rights import is_own
from app.blueprints.views import runtime
from app.dashboard.blueprint import blueprint
from app.dashboard.inspection import compare, render_curl, render_panes
from app.dashboard.page import show
from app.dashboard.reading import ask
from app.dashboard.visitors import Visitor, find_visitor
from app.errors import NotFound


@blueprint.get("/requests/<request_id>")
def one_request(request_id: str) -> Response:
    visitor = find_visitor()
    row = find_own(visitor, request_id)
    prices = runtime().recorder.prices
    provider, _, model = row["target"].partition("/")
    price = prices.find(provider, model) if prices is not None and model else None
    recorded = find_recorded(request_id)
    return show(
        "request.html",
        visitor,
        row=row,
        get=row.get,
        steps=_list_steps(row),
        price=price,
        recorded=recorded,
        panes=render_panes(recorded) if recorded else [],
        difference=compare(recorded) if recorded else [],
        curl=render_curl(recorded, request.url_root.rstrip("/")) if recorded else "",
    )


def find_recorded(request_id: str) -> dict[str, Any] | None:
    """The recording of a request; the caller must have checked that the visitor may see it."""
    return ask(lambda connection: find_recording(connection, request_id[:LONGEST_VALUE]))


def find_own(visitor: Visitor, request_id: str) -> dict[str, Any]:
    """A request that the visitor may see. Raises NotFound."""
    row = ask(lambda connection: find_request(connection, request_id[:LONGEST_VALUE]))
    if row is None or not is_own(row["tenant"], visitor.own):
        raise NotFound(f"no request has the id {request_id[:LONGEST_VALUE]!r}")
    return row


def _list_steps(row: dict[str, Any]) -> list[dict[str, Any]]:
    """The steps of a request with begin and end in milliseconds, for a bar chart of the whole time."""
    whole = max(1, row["ms"])
    steps: list[dict[str, Any]] = []

    def add(name: str, begin: int, end: int, lines: str = "", kind: str = "") -> None:
        at, to = min(begin, whole), min(max(begin, end), whole)
        steps.append(
            {"name": name, "begin": begin, "end": end, "said": lines, "kind": kind}
            | {"x": round(at * 1000 / whole), "width": max(4, round((to - at) * 1000 / whole))}
        )

    if row["routed_ms"] is not None:
        add("routed", 0, row["routed_ms"], f"by {row['rule']}" if row["rule"] else "")
    for step in row.get("steps", ()):
        add(step["name"], step["started"], step["ended"], step["about"], "wait")
    for number, tried in enumerate(row["tried"], 1):
        lines = [f"✗ {tried['error']}" if tried["error"] else "✓ answered"]
        lines += [f"status {tried['status']}"] if tried["status"] else []
        lines += [f"credential {tried['credential']}"] if tried["credential"] else []
        lines += [tried["message"]] if tried["message"] else []
        add(
            f"attempt {number}: {tried['target']}", tried["started_ms"], tried["ended_ms"],
            ", ".join(lines), "bad" if tried["error"] else "",
        )  # fmt: skip
        if tried["waited_ms"]:
            add("waited", tried["ended_ms"], tried["ended_ms"] + tried["waited_ms"], "", "wait")
    head = row["upstream_head_ms"]
    if head is not None:
        if not row["tried"]:
            add(f"attempt 1: {row['target']}", row["routed_ms"] or 0, head, "✓ answered")
        first = row["first_token_ms"] if row["first_token_ms"] is not None else row["first_byte_ms"]
        if first is not None:
            add("first token" if row["first_token_ms"] is not None else "first byte", head, first, "", "cached")
            add("answer", first, row["ms"], "", "out")
        else:
            add("answer", head, row["ms"], "", "out")
    return steps
