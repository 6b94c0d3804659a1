"""Permissions over HTTP: listing, streaming and answering them, and the MCP server for programs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec
from flask import Blueprint, Response, request

from app.blueprints.bodies import read_body
from app.blueprints.operations.rights import json_view, own_rows, while_allowed
from app.blueprints.operations.versions import own_version
from app.blueprints.turnstile import Turnstile, until_client_leaves
from app.blueprints.views import runtime, services
from app.errors import DragomanError, Forbidden, InvalidRequest
from app.headers import read_headers
from app.permissions import mcp
from app.permissions.pending import PERIOD, Permission, Permissions
from app.permissions.prompt import read_ticket
from app.sse import encode_event

if TYPE_CHECKING:
    from app.runtime import Runtime

blueprint = Blueprint("permissions", __name__)

MAX_BYTES = 1024 * 1024
# The most streams and waiting programs per worker, and per tenant among them.
MAX_WATCHERS = 128
MAX_OF_ONE = 64
# Seconds between two keepalive messages.
KEEPALIVE = 30.0
# An SSE comment, which keeps a program waiting.
_ALIVE = b": waiting\n\n"


class _Answer(msgspec.Struct):
    allowed: bool
    message: str = ""


_watchers = Turnstile(MAX_WATCHERS, "too many permission requests are waiting; try again soon", MAX_OF_ONE)


@blueprint.get("/permissions")
@json_view()
def list_permissions(own: Mapping[str, str]) -> Any:
    """The open requests for permission, and those answered or expired within the last minutes."""
    pending = services().permissions
    return {"permissions": [pending.describe(each) for each in pending.find(own)]}


@blueprint.get("/permissions/<permission_id>")
@json_view()
def show_permission(own: Mapping[str, str], permission_id: str) -> Any:
    pending = services().permissions
    return pending.describe(pending.get(own, permission_id[:64]))


@blueprint.post("/permissions/<permission_id>/respond")
@json_view()
def respond(own: Mapping[str, str], permission_id: str) -> Any:
    pending = services().permissions
    if own and pending.settings.answered_by == "admin":
        raise Forbidden(
            'only an admin key may answer permission requests; to change it, set permissions.answered_by = "tenant"'
        )
    try:
        given = msgspec.json.decode(_read(), type=_Answer)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest('the body must be {"allowed": true} or {"allowed": false}', param="allowed") from error
    message = given.message[:1000]
    resolved = pending.answer(own, permission_id[:64], allowed=given.allowed, message=message, by=_name_caller())
    return {"status": "success", "permission_id": resolved.id, "allowed": given.allowed}


@blueprint.get("/permissions/stream")
def stream() -> Response:
    """Streams requests for permission as they arrive, are answered and expire. Starts with those already open."""
    own, pending = own_rows(), services().permissions
    parts = while_allowed(own_rows, _follow(runtime(), pending, own))
    return _sse(_watchers.hold(until_client_leaves(parts), own.get("tenant", "")))


def _follow(owner: Runtime, pending: Permissions, own: Mapping[str, str]) -> Iterator[bytes]:
    yield _event("ping", {"message": "Connected to permission stream"})
    sent: dict[str, str] = {}
    quiet_since = time.monotonic()
    first = True
    while not owner.draining:
        for event in _changes(pending, own, sent, only_open=first):
            quiet_since = time.monotonic()
            yield event
        first = False
        if time.monotonic() - quiet_since >= KEEPALIVE:
            quiet_since = time.monotonic()
            yield _event("ping", {"message": "keepalive"})
        time.sleep(PERIOD)


def _changes(pending: Permissions, own: Mapping[str, str], sent: dict[str, str], *, only_open: bool) -> Iterator[bytes]:
    """The events since the last call. `sent` holds the last status reported for each request, and is updated."""
    try:
        found = pending.look(own)
    except DragomanError:
        return  # the ledger is unavailable for now, which `/health` reports
    for name in sent.keys() - {each.id for each in found}:
        del sent[name]
    for each in found:
        before, status = sent.get(each.id), pending.status(each)
        if before == status:
            continue
        sent[each.id] = status
        if before is None and (status == "pending" or not only_open):
            asked = ("request_id", "tool_name", "input", "created_at", "expires_at")
            timeout = round(each.expires_at - each.created_at, 3)
            shown = pending.describe(each)
            yield _event("permission_request", {name: shown[name] for name in asked} | {"timeout_seconds": timeout})
        if status == "expired" and (before is not None or not only_open):
            yield _event("permission_expired", {"request_id": each.id, "expired_at": each.expires_at})
        elif status in ("allowed", "denied") and (before is not None or not only_open):
            resolved = {"request_id": each.id, "allowed": status == "allowed", "resolved_at": each.resolved_at}
            yield _event("permission_resolved", resolved)


@blueprint.post("/mcp")
def mcp_message() -> Response:
    """Answers one MCP message of a program. A call of the tool is answered once a person has decided."""
    message_id = None
    try:
        tenant = _find_tenant()
        message = mcp.read_message(_read())
        message_id = message.id
        if message.id is None or message.method is None:
            return Response(b"", 202)
        result = mcp.answer_at_once(message, own_version() or "")
        if result is not None:
            return _json(mcp.encode_result(message.id, result))
        question = mcp.read_question(message)
        return _wait_for_person(message.id, tenant, question)
    except mcp.McpError as error:
        return _json(mcp.encode_error(message_id, error), 400 if message_id is None else 200)


def _wait_for_person(message_id: int | str, tenant: str, question: mcp.Question) -> Response:
    pending = services().permissions
    try:
        asked = pending.ask(tenant, question.tool_name, question.input)
        return _sse(_watchers.hold(until_client_leaves(_await_decision(pending, asked, message_id)), tenant))
    except DragomanError as error:
        return _json(mcp.encode_result(message_id, mcp.deny(f"Cannot ask for permission: {error.failure.message}")))


def _await_decision(pending: Permissions, asked: Permission, message_id: int | str) -> Iterator[bytes]:
    yield _ALIVE
    last = time.monotonic()
    while True:
        try:
            decided = pending.wait(asked)
        except DragomanError as error:
            result = mcp.deny(f"Cannot ask for permission: {error.failure.message}")
            break
        if decided is not None:
            result = mcp.decision(decided)
            break
        if time.monotonic() - last >= KEEPALIVE / 2:
            last = time.monotonic()
            yield _ALIVE
    yield encode_event(mcp.encode_result(message_id, result), "message")


def _find_tenant() -> str:
    """The tenant that a request for permission belongs to: by the ticket of a program that the gateway started, else by
    a client's key. Raises Unauthorized or Forbidden."""
    headers = read_headers(request.environ)
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        tenant = read_ticket(services().permission_secret, token.strip(), time.time())
        if tenant is not None:
            return tenant
    if not services().access.demands_key:
        return own_rows().get("tenant", "")
    return services().access.check_key(headers).tenant


def _name_caller() -> str:
    """Who asks, and from where, for the log."""
    access = services().access
    who = access.check_key(read_headers(request.environ)).name if access.demands_key else "the user of this machine"
    return f"{who} at {request.environ.get('REMOTE_ADDR') or 'a local socket'}"


def _read() -> bytes:
    encoding = request.headers.get("content-encoding", "")
    return read_body(request.environ["wsgi.input"], request.content_length, encoding, MAX_BYTES)


def _json(body: bytes, status: int = 200) -> Response:
    return Response(body, status, content_type="application/json", headers={"cache-control": "no-store"})


def _sse(parts: Iterator[bytes]) -> Response:
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return Response(parts, content_type="text/event-stream", headers=headers)


def _event(name: str, data: Mapping[str, Any]) -> bytes:
    return encode_event(msgspec.json.encode(data), name)
