"""The inspector: starts and ends recordings, exports and replays them."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from flask import Response

from app.accounts.recordings import forget_recordings as forget
from app.accounts.recordings import list_recordings
from app.accounts.reports import read_span
from app.blueprints.forms import read_form
from app.blueprints.views import runtime, services
from app.dashboard.blueprint import blueprint
from app.dashboard.inspection import render_panes
from app.dashboard.page import show
from app.dashboard.pages.one_request import find_own, find_recorded
from app.dashboard.reading import ask
from app.dashboard.rendering import PAGE_HEADERS, redirect_to
from app.dashboard.trial import send, settle
from app.dashboard.visitors import check_change, find_visitor, log_change
from app.dialects.registry import DIALECTS
from app.errors import DragomanError, InvalidRequest, NotFound
from app.gateway.inspection.orders import (
    MAX_ORDERS,
    RecordingOrder,
    add_order,
    orders_file,
    read_orders,
    write_orders,
)
from app.gateway.messages import MAX_NAME

# Maximum bytes read of the answer to a replayed request.
MAX_ANSWER = 8 << 20
_PLACEHOLDERS = re.compile(r'"\[[\w./ +-]{1,80}, \d{1,12} bytes, sha256 [0-9a-f]{16}\]"')


@blueprint.get("/recording")
def recording() -> Response:
    visitor = find_visitor()
    tenant = visitor.own.get("tenant")
    return show(
        "recording.html",
        visitor,
        orders=runtime().observers.inspector.orders,
        recordings=ask(lambda connection: list_recordings(connection, tenant)),
        possible=runtime().accounts is not None,
        hours=services().settings.accounts.recording_hours,
        megabytes=services().settings.accounts.recording_mb,
    )


@blueprint.post("/recording/start")
def start_recording() -> Response:
    visitor, form = check_change(), read_form()
    share = form.get("share", "100").strip()
    if not share.isascii() or not share.isdecimal() or not 1 <= int(share[:4]) <= 100:
        raise InvalidRequest("the percentage of requests must be between 1 and 100", param="share")
    with _writing():
        order = add_order(
            read_span(form.get("for", "15m").strip()),
            key=form.get("key", "").strip()[:MAX_NAME],
            model=form.get("model", "").strip()[:MAX_NAME],
            errors=form.get("only") == "errors",
            share=int(share),
            by=visitor.key,
        )
    log_change(visitor, f"records {order.describe()} for {form.get('for', '15m')}")
    return redirect_to("/_/recording")


@blueprint.post("/recording/stop")
def stop_recording() -> Response:
    visitor, wanted = check_change(), read_form().get("id", "")
    kept = [order for order in read_orders(orders_file(), time.time()) if wanted and order.id != wanted]
    with _writing():
        write_orders(orders_file(), kept)
    log_change(visitor, "ends recording")
    return redirect_to("/_/recording")


@blueprint.post("/recording/forget")
def forget_recordings() -> Response:
    visitor, accounts = check_change(), runtime().accounts
    if accounts is not None:
        accounts.change(forget)
    log_change(visitor, "deletes all recordings")
    return redirect_to("/_/recording")


@blueprint.get("/requests/<request_id>/export")
def preview_export(request_id: str) -> Response:
    """Shows what an export would contain, before it is given to somebody else."""
    visitor = find_visitor()
    row = find_own(visitor, request_id)
    found = _need_recorded(request_id)
    page = f"/_/requests/{quote(request_id)}"
    return show(
        "export.html", visitor, text=_render_export(row, found), back=page, download=f"{page}/export.json",
        about="keys, credentials and files are left out, but the conversation is not",
    )  # fmt: skip


@blueprint.get("/requests/<request_id>/export.json")
def export(request_id: str) -> Response:
    row = find_own(find_visitor(), request_id)
    text = _render_export(row, _need_recorded(request_id))
    headers = {**PAGE_HEADERS, "content-disposition": f'attachment; filename="request-{row["id"]}.json"'}
    return Response(text, headers=headers, content_type="application/json")


@blueprint.post("/requests/<request_id>/replay")
def replay(request_id: str) -> Response:
    """Sends the client's request again, to a target chosen by the visitor; the new request is recorded too."""
    visitor, target = check_change(), read_form().get("target", "").strip()[:MAX_NAME]
    find_own(visitor, request_id)
    found = _need_recorded(request_id)
    asked: dict[str, Any] = next((pane for pane in found["panes"] if pane["name"] == "client request"), {})
    body = asked.get("body", "")
    if asked.get("cut") or _PLACEHOLDERS.search(body) or "[masked]" in body:
        raise InvalidRequest(
            "this recording cannot be replayed: it is incomplete (truncated, or files or secrets were left out)"
        )
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("this recording cannot be replayed: it is not JSON") from error
    if not isinstance(fields, dict):
        raise InvalidRequest("this recording cannot be replayed: it is not a request")
    if target:
        services().router.resolve(target)
        fields["model"] = target
    now = time.time()
    order = RecordingOrder(secrets.token_hex(4), now + 120, model=str(fields.get("model", "")), by=visitor.key)
    with _writing():
        write_orders(orders_file(), [*read_orders(orders_file(), now), order][-MAX_ORDERS:])
    log_change(visitor, f"replays request {request_id} to {target or 'where its model leads'}")
    dialect = DIALECTS[found["dialect"]]
    new_id, _, parts = send(visitor, dialect, found["path"], json.dumps(fields).encode())
    if not isinstance(parts, DragomanError):
        with contextlib.closing(parts):
            left = MAX_ANSWER
            for part in parts:
                left -= len(part)
                if left < 0:
                    break
    settle()
    return redirect_to(f"/_/requests/{new_id}")


def _need_recorded(request_id: str) -> dict[str, Any]:
    found = find_recorded(request_id)
    if found is None:
        raise NotFound("this request was not recorded, or its recording is gone")
    return found


def _render_export(row: dict[str, Any], found: dict[str, Any]) -> str:
    shown = {name: value for name, value in row.items() if name not in ("tenant", "key", "seq")}
    return json.dumps({"request": shown, "panes": render_panes(found)}, indent=2, ensure_ascii=False, default=str)


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InvalidRequest(f"cannot start or stop recording: {error.strerror}") from error
    runtime().observers.follow_orders()
