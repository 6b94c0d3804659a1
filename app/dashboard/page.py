"""Renders a page with the parts that all pages share: status, recording, time range."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import msgspec
from flask import Response, request

from app.blueprints.operations.reports import LONGEST_VALUE
from app.blueprints.views import runtime, services
from app.dashboard.changes import form_mark
from app.dashboard.ranges import SPANS
from app.dashboard.rendering import render
from app.dashboard.visitors import Visitor
from app.errors import Forbidden

# Maximum parameters that the address keeps when another range is chosen.
MAX_KEPT = 20


def show(
    template: str, visitor: Visitor, status: int = 200, *, troubles: list[Trouble] | None = None, **values: Any
) -> Response:
    """A rendered page. `troubles` are passed by pages that list them themselves."""
    found = list(find_troubles(visitor)) if troubles is None else troubles
    return render(
        template,
        status,
        visitor=visitor,
        trouble_count=len(found),
        troubles=found,
        csrf=form_mark(),
        spans=SPANS,
        since=request.args.get("since", "")[:LONGEST_VALUE],
        until=request.args.get("until", "")[:LONGEST_VALUE],
        path=request.path,
        kept={
            name: value[:LONGEST_VALUE]
            for name, value in list(request.args.items())[:MAX_KEPT]
            if name not in ("since", "until", "before")
        },
        recording=runtime().observers.inspector.describe(),
        now=time.time(),
        **values,
    )


def need_admin(visitor: Visitor, what: str) -> None:
    """Raises Forbidden unless the visitor is an admin."""
    if not visitor.is_admin:
        raise Forbidden(f"only an admin may see {what}; sign in with an admin's key")


class Trouble(msgspec.Struct, frozen=True):
    """One problem. A provider's says since when (unix seconds)."""

    message: str
    provider: str = ""
    since: float | None = None


def find_troubles(visitor: Visitor) -> Iterator[Trouble]:
    """The current problems, in the words of /health. A failure followed by a success is over."""
    owner = runtime()
    if owner.problem is not None:
        message = f": {owner.problem}" if visitor.is_admin else ""
        yield Trouble(f"the changed configuration was rejected{message}")
    yield from map(Trouble, owner.complaints())
    for name, provider in services().providers.items():
        trouble = provider.health.problem
        if trouble is not None:
            yield Trouble(trouble.message, name, provider.health.failing_since)
