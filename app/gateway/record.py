"""The record of one request: the one line that the log gets of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

from app.conversation.response import Usage
from app.errors import STATUS, DragomanError, FailureKind
from app.gateway.paused_turn import PausedTurn
from app.logs import request_log

log = logging.getLogger("dragoman")

# Characters of an error's sentence, and of a name that a client has chosen.
LONGEST_MESSAGE = 300
LONGEST_WORD = 200

# How a request ended, as its client saw it.
Terminal = Literal["completed", "error", "client_closed", "upstream_cut", "stopped"]


class Record:
    """Collects what is known of a request while it runs; `write` logs it once. Times are seconds."""

    __slots__ = (
        "agent",
        "attempts",
        "client",
        "credential",
        "dropped",
        "error",
        "first_byte",
        "id",
        "key",
        "lowered",
        "matched",
        "message",
        "method",
        "model",
        "origin",
        "path",
        "paused_turn",
        "peer",
        "quiet",
        "session",
        "started",
        "status",
        "stream",
        "terminal",
        "upstream",
        "upstream_dialect",
        "upstream_request_id",
        "upstream_status",
        "usage",
        "watch",
        "written",
    )

    def __init__(self, request_id: str, client: str, environ: Mapping[str, Any] | None = None) -> None:
        self.id = request_id
        self.client = client
        # What WSGI says of the request; a mount is no longer on its path.
        known = environ or {}
        self.method: str = known.get("REQUEST_METHOD", "")
        self.path: str = known.get("dragoman.path") or known.get("PATH_INFO", "")
        self.agent: str | None = known.get("HTTP_USER_AGENT")
        self.peer: str | None = known.get("REMOTE_ADDR")
        self.key: str | None = None  # the name of the client's key, never the key
        self.matched = ""  # what led the model's name to its upstream
        self.message: str | None = None
        self.quiet = False  # one of many that only help another one, worth a line at debug
        self.session: str | None = None
        self.started = time.monotonic()
        self.model = ""
        self.credential = ""  # what a pool calls the one that was shown
        self.stream = False
        self.upstream = ""
        self.upstream_dialect = ""
        self.upstream_status: int | None = None
        self.upstream_request_id: str | None = None
        self.status = 0
        self.attempts = 0
        self.first_byte: float | None = None
        self.usage: Usage | None = None
        self.paused_turn: PausedTurn | None = None  # where the answer may come in several, each of which costs
        self.watch: Callable[[Usage], None] | None = None  # who wants to know the usage
        self.dropped: tuple[str, ...] = ()
        self.lowered: tuple[str, ...] = ()
        self.error: FailureKind | None = None
        self.origin: str | None = None
        self.terminal: Terminal = "completed"
        self.written = False

    def begin_output(self) -> None:
        if self.first_byte is None:
            self.first_byte = time.monotonic() - self.started

    def fail(self, error: DragomanError, terminal: Terminal = "error") -> None:
        self.terminal = terminal
        self.error, self.origin = error.failure.kind, error.failure.origin
        self.message = error.failure.message[:LONGEST_MESSAGE]

    def fault(self, fault: Exception) -> DragomanError:
        """A fault of ours: the log gets all of it, the client only an id to look for there."""
        log.error("request %s failed", self.id, exc_info=fault)
        error = DragomanError(f"internal error of the gateway; its log tells more about request {self.id}")
        self.fail(error)
        return error

    def write(self) -> None:
        """Logs the line. Bodies and credentials are in none of its fields."""
        if self.written:
            return
        self.written = True
        if self.watch is not None and self.usage is not None and not self.usage.estimated:
            self.watch(self.usage)
        if not request_log.enabled:
            return
        level = self._level()
        if level < request_log.level:
            return
        line: dict[str, object] = {
            "id": self.id,
            "method": self.method,
            "path": self.path[:LONGEST_WORD],
            "in": self.client,
            "out": self.upstream_dialect,
            "model": self.model[:LONGEST_WORD],
            "upstream": self.upstream,
            "status": self.status,
            "terminal": self.terminal,
            "stream": self.stream,
            "attempts": self.attempts,
            "ttfb_ms": None if self.first_byte is None else round(self.first_byte * 1000),
            "ms": round((time.monotonic() - self.started) * 1000),
        }
        usage = (self.paused_turn and self.paused_turn.spent) or self.usage
        if usage is not None:
            line["tokens_in"] = usage.input
            line["tokens_cached"] = usage.cache_read
            line["tokens_out"] = usage.output
            if usage.estimated:
                line["tokens_estimated"] = True
        for name in ("session", "key", "agent", "peer", "upstream_status", "upstream_request_id", "error", "origin"):
            value = getattr(self, name)
            if value is not None:
                line[name] = value[:LONGEST_WORD] if isinstance(value, str) else value
        for name in ("credential", "message", "matched", "dropped", "lowered"):
            value = getattr(self, name)
            if value:
                line[name] = value
        request_log.tell(line, level)

    def _level(self) -> int:
        """What an operator must see stands out: faults of upstreams and of ours, and credentials that are refused."""
        if self.error is not None:
            lasting = self.error == "upstream_auth" or STATUS.get(self.error, 0) >= 500
            return logging.WARNING if lasting or self.status >= 500 else logging.INFO
        return logging.DEBUG if self.quiet else logging.INFO
