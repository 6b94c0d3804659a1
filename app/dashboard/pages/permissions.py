"""Shows permission requests as they arrive, and answers them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from flask import Response, request

from app.blueprints.forms import read_form
from app.blueprints.operations.rights import while_allowed
from app.blueprints.turnstile import Turnstile, until_client_leaves
from app.blueprints.views import runtime, services
from app.dashboard.blueprint import blueprint
from app.dashboard.live import encode_html, send_events, watch
from app.dashboard.page import show
from app.dashboard.rendering import redirect_to, render_part
from app.dashboard.visitors import Visitor, check_change, find_visitor, form_mark, name_visitor
from app.errors import DragomanError, Forbidden
from app.permissions.pending import Permission, Permissions
from app.runtime import Runtime

# Maximum pages that one worker updates.
MAX_PAGES = 10
# Characters per piece: a page would cut a longer text.
PIECE = 1000


_pages = Turnstile(MAX_PAGES, "too many dashboard pages are receiving live updates; close some of them", MAX_PAGES // 2)


@blueprint.get("/permissions")
def permissions() -> Response:
    visitor = find_visitor()
    return show("permissions.html", visitor, rows=list_rows(visitor), may_answer=_may_answer(visitor))


@blueprint.post("/permissions/answer")
def answer_permission() -> Response:
    pending, form = services().permissions, read_form()
    visitor = check_change(by_anybody=True)
    if not _may_answer(visitor):
        raise Forbidden("only an admin may answer these; sign in with an admin's key")
    allowed = form.get("answer") == "allow"
    by = f"{name_visitor(visitor)} at {request.remote_addr or '-'}, in the dashboard"
    pending.answer(visitor.own, form.get("id", "")[:64], allowed=allowed, by=by)
    return redirect_to("/_/permissions")


@blueprint.get("/live/permissions")
def follow_permissions() -> Response:
    visitor = find_visitor()
    pages = while_allowed(find_visitor, _follow(runtime(), services().permissions, visitor, form_mark()))
    return send_events(_pages.hold(until_client_leaves(pages), visitor.own.get("tenant", "")))


def list_rows(visitor: Visitor) -> list[dict[str, Any]]:
    """The requests that the visitor may see: the open ones first, then the latest."""
    pending = services().permissions
    return _list(pending, pending.find(visitor.own))


def _list(pending: Permissions, found: list[Permission]) -> list[dict[str, Any]]:
    rows = [pending.describe(each) for each in reversed(found)]
    for row in rows:
        arguments = row["input"] if isinstance(row["input"], dict) else {"input": row["input"]}
        row["input"] = {name: _split(value) for name, value in arguments.items()}
    return sorted(rows, key=lambda row: row["status"] != "pending")


def _split(value: Any) -> list[str]:
    """A value in pieces that the page shows in full: whoever allows it must have seen all of it."""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return [text[start : start + PIECE] for start in range(0, len(text), PIECE)]


def _may_answer(visitor: Visitor) -> bool:
    return visitor.is_admin or services().settings.permissions.answered_by == "tenant"


def _follow(owner: Runtime, pending: Permissions, visitor: Visitor, mark: str) -> Iterator[bytes]:
    """The list, sent again whenever it changes. The request context no longer exists by then."""
    may_answer = visitor.is_admin or pending.settings.answered_by == "tenant"
    message = ""

    def look() -> bytes:
        nonlocal message
        try:
            html = render_part(
                "permission_list.html", "permission_list", _list(pending, pending.look(visitor.own)), may_answer, mark
            )
        except DragomanError:
            return b""  # the ledger is unavailable for a moment; the pages say so when they are loaded
        if html == message:
            return b""
        message = html
        return encode_html(f'<hx-partial hx-target="#permissions" hx-swap="innerHTML">{html}</hx-partial>')

    return watch(owner, look)
