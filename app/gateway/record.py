"""The record of one request: the one line that the log gets of it."""

from __future__ import annotations

import logging
import time
from typing import Literal

import msgspec

from app.conversation.response import Usage
from app.errors import DragomanError
from app.gateway.paused_turn import PausedTurn
from app.logs import request_log

log = logging.getLogger("dragoman")

_encode = msgspec.json.Encoder().encode

# How a request ended, as its client saw it.
Terminal = Literal["completed", "error", "client_closed", "upstream_cut", "stopped"]


class Record:
    """Collects what is known of a request while it runs; `write` logs it once. Times are seconds."""

    __slots__ = (
        "attempts",
        "client",
        "dropped",
        "error",
        "first_byte",
        "id",
        "model",
        "origin",
        "paused_turn",
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
        "written",
    )

    def __init__(self, request_id: str, client: str) -> None:
        self.id = request_id
        self.client = client
        self.session: str | None = None
        self.started = time.monotonic()
        self.model = ""
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
        self.dropped: tuple[str, ...] = ()
        self.error: str | None = None
        self.origin: str | None = None
        self.terminal: Terminal = "completed"
        self.written = False

    def begin_output(self) -> None:
        if self.first_byte is None:
            self.first_byte = time.monotonic() - self.started

    def fail(self, error: DragomanError, terminal: Terminal = "error") -> None:
        self.terminal = terminal
        self.error, self.origin = error.failure.kind, error.failure.origin

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
        if not request_log.enabled:
            return
        line: dict[str, object] = {
            "id": self.id,
            "in": self.client,
            "out": self.upstream_dialect,
            "model": self.model,
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
        for name in ("session", "upstream_status", "upstream_request_id", "error", "origin"):
            value = getattr(self, name)
            if value is not None:
                line[name] = value
        if self.dropped:
            line["dropped"] = self.dropped
        request_log.write(_encode(line))
