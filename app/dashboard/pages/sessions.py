"""Shows client sessions, and one session turn by turn against its model's window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flask import Response, request

from app.accounts.queries import list_sessions
from app.accounts.views import read_last_turns
from app.blueprints.operations.reports import LONGEST_VALUE, read_filters, read_time
from app.blueprints.views import services
from app.dashboard.blueprint import blueprint
from app.dashboard.page import read_range, show
from app.dashboard.pages.requests import fold
from app.dashboard.reading import ask, list_requests
from app.dashboard.visitors import find_visitor
from app.errors import DragomanError, NotFound

PAGE = 50
MAX_TURNS = 200
USUAL = "30d"


@blueprint.get("/sessions")
def sessions() -> Response:
    visitor, wanted = find_visitor(), read_range(USUAL)
    where = {**{name: value for name, value in read_filters().items() if name == "key"}, **visitor.own}
    before = read_time("before")
    since = wanted.chosen()["since"]
    rows = ask(lambda connection: list_sessions(connection, before=before, since=since, where=where, limit=PAGE))
    names = [row["session"] for row in rows]
    turns = ask(lambda connection: read_last_turns(connection, names, visitor.own))
    windows = {target: find_window(target) for target in {turn["target"] for turn in turns.values()}}
    for row in rows:
        turn = turns.get(row["session"])
        row["context"] = turn["context"] if turn else None
        row["window"] = windows[turn["target"]] if turn else None
    return show(
        "sessions.html",
        visitor,
        rows=rows,
        before=rows[-1]["last"] if len(rows) >= PAGE else None,
        key=where.get("key", ""),
    )


@blueprint.get("/sessions/show")
def one_session() -> Response:
    """Shows one session. Its name is the client's own text, so it is passed in the query."""
    visitor = find_visitor()
    name = request.args.get("session", "")[:LONGEST_VALUE]
    rows = list_requests(visitor, where={"session": name}, limit=MAX_TURNS) if name else []
    if not rows:
        raise NotFound(f"no session is named {name!r}")
    windows = {target: find_window(target) for target in {row["target"] for row in rows}}
    turns = [_describe_turn(row, windows) for row in reversed(rows) if row["output"] is not None]
    return show(
        "session.html",
        visitor,
        name=name,
        rows=rows,
        lines=fold(rows, True),
        turns=turns,
        whole=_add_up(rows),
        cut=len(rows) >= MAX_TURNS,
        window=next((turn["window"] for turn in reversed(turns) if turn["window"]), None),
        maximum=max([turn["whole"] for turn in turns] + [turn["window"] or 0 for turn in turns], default=1) or 1,
    )


def _add_up(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the requests of a session make together."""
    fresh, read, written, output, cost = (
        sum(row[name] or 0 for row in rows) for name in ("fresh", "cache_read", "cache_written", "output", "cost")
    )
    return {
        "first": min(row["received"] for row in rows),
        "last": max(row["received"] for row in rows),
        "failed": sum(bool(row["failed"]) for row in rows),
        "input": fresh + read + written,
        "cached": read / (fresh + read + written) if read else 0.0,
        "output": output,
        "cost": cost,
        **{name: sorted({row[name] for row in rows if row[name]}) for name in ("agent", "key", "model", "target")},
    }


def find_window(target: str) -> int | None:
    """The context window of `provider/model`, if known."""
    if not target:
        return None
    try:
        return services().router.resolve(target)[0].capabilities.context_window
    except DragomanError:
        return None


def _describe_turn(row: dict[str, Any], windows: Mapping[str, int | None]) -> dict[str, Any]:
    fresh, written = row["fresh"] or 0, row["cache_written"] or 0
    turn = {
        "id": row["id"],
        "received": row["received"],
        "fresh": fresh + written,
        "cached": row["cache_read"] or 0,
        "out": row["output"] or 0,
        "window": windows[row["target"]],
        "target": row["target"],
        "cost": row["cost"],
    }
    turn["whole"] = turn["fresh"] + turn["cached"] + turn["out"]
    before = turn["fresh"] + turn["cached"]
    turn["share"] = turn["cached"] / before if before else 0.0
    return turn
