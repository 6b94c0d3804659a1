"""Shows the log of all workers live, filtered by level and text."""

from __future__ import annotations

import time

import gevent
import msgspec
from flask import Response, request

from app.blueprints.operations.reports import LONGEST_VALUE
from app.blueprints.operations.rights import own_rows, while_allowed
from app.blueprints.turnstile import Turnstile, until_client_leaves
from app.blueprints.views import runtime, services
from app.dashboard.blueprint import blueprint
from app.dashboard.live import send_events, watch
from app.dashboard.page import show
from app.dashboard.rendering import PAGE_HEADERS
from app.dashboard.visitors import find_admin, find_visitor
from app.errors import Forbidden, TooMany
from app.gateway.recording.observers import LOG_PERIOD
from app.gateway.recording.shared_log import sort_lines
from app.logs import LEVELS
from app.logs.reading import LogLine, read_line

# Maximum lines that the page shows initially, and that it keeps.
MAX_SHOWN = 500
MAX_KEPT = 5000
MAX_FOLLOWERS = 10
# Maximum seconds that a page waits for the lines of the other workers, and between two looks.
GATHERING, LOOK_AGAIN = LOG_PERIOD + 0.1, 0.02
_REFUSAL = "too many pages are following the log; close some of them"

_followers = Turnstile(MAX_FOLLOWERS, _REFUSAL)
_encode_json = msgspec.json.Encoder().encode


@blueprint.get("/logs")
def logs() -> Response:
    visitor = find_admin("the log")
    level, text = _read_filters()
    lines = _gather(level, text)[-MAX_SHOWN:]
    return show("logs.html", visitor, lines=lines, levels=tuple(LEVELS), level=level, text=text, kept_lines=MAX_KEPT)


@blueprint.get("/logs/stream")
def follow_logs() -> Response:
    find_admin("the log")
    return _stream(as_page=True)


@blueprint.get("/logs.txt")
def download_logs() -> Response:
    find_admin("the log")
    lines = _gather(*_read_filters())
    headers = {**PAGE_HEADERS, "content-disposition": 'attachment; filename="dragoman.log"'}
    text = "".join(f"{line.raw}\n" for line in lines)
    return Response(text, headers=headers, content_type="text/plain; charset=utf-8")


def stream_for_programs() -> Response:
    """`/api/logs/stream`: the lines as server-sent events, for an admin's key or the user of this machine. With
    `follow=no`, only those that are there."""
    if own_rows():
        raise Forbidden("only an admin may see the log; send an admin's key")
    if request.args.get("follow") == "no":
        return send_events(iter([_encode(line, as_page=False) for line in _gather(*_read_filters())]))
    return _stream(as_page=False)


def _gather(level: str, text: str) -> list[LogLine]:
    """The existing lines of all workers."""
    shared = runtime().observers.shared_log
    if shared is None:
        return []
    look, end = shared.follow(), time.monotonic() + GATHERING
    found = look()
    while shared.count_writers() < services().settings.server.workers and time.monotonic() < end:
        gevent.sleep(LOOK_AGAIN)
    return [line for line in map(read_line, sort_lines(found + look())) if _is_wanted(line, level, text)]


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
        return b"".join(_encode(line, as_page=as_page) for line in lines[-MAX_KEPT:])

    parts = while_allowed(find_visitor if as_page else own_rows, watch(owner, find))
    return send_events(_followers.hold(until_client_leaves(parts)))


def _encode(line: LogLine, *, as_page: bool) -> bytes:
    """An event: the line as it is, or as the page's script shows it."""
    if not as_page:
        return f"data: {line.raw.replace(chr(13), ' ').replace(chr(10), ' ')}\n\n".encode("utf-8", "replace")
    shown = {"when": line.when, "clock": line.clock(), "level": line.level, "text": line.text, "fields": line.fields}
    return b"data: %s\n\n" % _encode_json(shown)


def _read_filters() -> tuple[str, str]:
    level = request.args.get("level", "")
    return (level if level in LEVELS else ""), request.args.get("text", "")[:LONGEST_VALUE]


def _is_wanted(line: LogLine, level: str, text: str) -> bool:
    return (not level or LEVELS[line.level] >= LEVELS[level]) and text.lower() in f"{line.raw}\n{line.text}".lower()
