"""Starts and stops what runs besides requests in each worker."""

from __future__ import annotations

import logging
from typing import Any

import gevent

from app.log_target import flush_standard_streams, guard_standard_streams
from app.logs import request_log, start_logs
from app.loops import Loop
from app.server.connections.slots import raise_descriptor_limit
from app.transport.active import ActiveRequests

log = logging.getLogger("dragoman")

_READY: dict[str | None, str] = {
    None: "ready",
    "changed": "ready: the configuration was reloaded and is in force",
    "broken": "ready: the configuration is broken, so the last good one stays in force",
}
# Seconds. Half of the time within which an upstream's connection must be closed after the client left.
PERIOD = 0.25


def start(wsgi_app: Any, *, reloaded: str | None = None) -> None:
    """Must be called once in each worker, before its first request. `wsgi_app` is our application. `reloaded` says
    whether a reload accepted the configuration, if a reload started this worker."""
    runtime = wsgi_app.runtime
    raise_descriptor_limit()
    guard_standard_streams()
    start_logs(runtime.services.settings.server)
    gevent.get_hub().print_exception = _log_fault
    log_flush = Loop("log flush", _flush_logs, PERIOD)
    log_flush.start()
    runtime.loops += [start_sweeper(runtime.active, runtime.followers), log_flush]
    runtime.watch()
    log.info(_READY[reloaded])


def stop(wsgi_app: Any, seconds: float) -> None:
    """Must be called once in each worker, after its last request. Takes `seconds` at most."""
    wsgi_app.runtime.finish(seconds)
    log.info("stopped")
    _flush_logs()


def _log_fault(context: Any, kind: Any, fault: Any, trace: Any) -> None:
    """Logs an unhandled exception, with secrets masked, which gevent would print to standard error as it is. Those of
    thread pools are skipped, since they are raised again where the result is awaited."""
    if not isinstance(context, tuple):
        log.error("a greenlet failed", exc_info=(kind, fault, trace))


def _flush_logs() -> None:
    request_log.flush()
    flush_standard_streams()


def start_sweeper(*watched: ActiveRequests) -> Loop:
    """Starts a loop that ends abandoned requests every quarter of a second, as long as the process lives.

    Must be called once in each gevent worker, from gunicorn's `post_worker_init`. Without it, a client that left is
    only noticed at the next write to it.
    """

    def sweep() -> None:
        for active in watched:
            active.end_abandoned()

    loop = Loop("sweeper", sweep, PERIOD)
    loop.start()
    return loop
