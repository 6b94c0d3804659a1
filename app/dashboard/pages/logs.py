"""Shows the log of all workers live, filtered by level and text."""

from __future__ import annotations

import re

from flask import Response, request
from msgspec import Struct

from app.blueprints.operations.reports import LONGEST_VALUE
from app.blueprints.operations.rights import own_rows
from app.blueprints.turnstile import Turnstile, until_client_leaves
from app.blueprints.views import family, refuse, runtime
from app.dashboard.blueprint import blueprint
from app.dashboard.live import send_events, watch
from app.dashboard.page import need_admin, show
from app.dashboard.rendering import PAGE_HEADERS
from app.dashboard.visitors import find_visitor
from app.errors import DragomanError, Forbidden, TooMany
from app.logs import hide_secrets
from app.runtime import Runtime

LEVELS = ("debug", "info", "warn", "error")
# Maximum lines that the page shows initially, and that it keeps.
MAX_SHOWN = 500
MAX_KEPT = 5000
MAX_FOLLOWERS = 10
_REFUSAL = "too many pages are following the log; close some of them"
_COLOURS = re.compile(r"\x1b\[[0-9;]{0,10}m")
_LEVEL = re.compile(r'"level": ?"(\w{4,8})"|^[\dT:.+Z-]{8,40} (\w{4,8}) ')
_NAMES = {"warning": "warn", "critical": "error"}
_LONGEST_LINE = 8000


class Line(Struct, frozen=True):
    level: str
    text: str


_followers = Turnstile(MAX_FOLLOWERS, _REFUSAL)


@blueprint.get("/logs")
def logs() -> Response:
    visitor = find_visitor()
    need_admin(visitor, "the log")
    level, text = _read_filters()
    lines = [line for line in map(read_line, _look_once(runtime())) if _is_wanted(line, level, text)]
    return show(
        "logs.html", visitor, lines=lines[-MAX_SHOWN:], levels=LEVELS, level=level, text=text, kept_lines=MAX_KEPT
    )


@blueprint.get("/logs/stream")
def follow_logs() -> Response:
    need_admin(find_visitor(), "the log")
    return _stream(as_page=True)


@blueprint.get("/logs.txt")
def download_logs() -> Response:
    need_admin(find_visitor(), "the log")
    level, text = _read_filters()
    lines = [line.text for line in map(read_line, _look_once(runtime())) if _is_wanted(line, level, text)]
    headers = {**PAGE_HEADERS, "content-disposition": 'attachment; filename="dragoman.log"'}
    return Response("".join(f"{line}\n" for line in lines), headers=headers, content_type="text/plain; charset=utf-8")


def stream_for_programs() -> Response:
    """`/api/logs/stream`: the lines as server-sent events, for an admin's key or the user of this machine."""
    try:
        if own_rows():
            raise Forbidden("only an admin may see the log; send an admin's key")
        return _stream(as_page=False)
    except DragomanError as error:
        return refuse(family(), error.failure)


def read_line(line: bytes) -> Line:
    """A line of the log without colours and secrets, and its level."""
    text = _COLOURS.sub("", hide_secrets(line[:_LONGEST_LINE].decode("utf-8", "replace").rstrip("\n")))
    found = _LEVEL.search(text[:300])
    level = (found[1] or found[2]).lower() if found else "info"
    return Line(_NAMES.get(level, level) if _NAMES.get(level, level) in LEVELS else "info", text)


def _look_once(owner: Runtime) -> list[bytes]:
    shared = owner.observers.shared_log
    return shared.follow()() if shared is not None else []


def _stream(*, as_page: bool) -> Response:
    owner = runtime()
    shared = owner.observers.shared_log
    if shared is None:
        raise TooMany(_REFUSAL)
    level, text = _read_filters()
    look = shared.follow()

    # A page has already shown the existing lines.
    if as_page:
        look()

    def find() -> bytes:
        lines = [line for line in map(read_line, look()) if _is_wanted(line, level, text)]
        return b"".join(_encode(line, as_page) for line in lines[-MAX_KEPT:])

    return send_events(_followers.hold(until_client_leaves(watch(owner, find))))


def _encode(line: Line, as_page: bool) -> bytes:
    text = line.text.replace("\r", " ").replace("\n", " ")
    name = f"event: level-{line.level}\n" if as_page else ""
    return f"{name}data: {text}\n\n".encode("utf-8", "replace")


def _read_filters() -> tuple[str, str]:
    level = request.args.get("level", "")
    return (level if level in LEVELS else ""), request.args.get("text", "")[:LONGEST_VALUE]


def _is_wanted(line: Line, level: str, text: str) -> bool:
    return (not level or LEVELS.index(line.level) >= LEVELS.index(level)) and text.lower() in line.text.lower()
