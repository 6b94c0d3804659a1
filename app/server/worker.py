"""Starts what runs beside the requests in each gunicorn worker."""

from __future__ import annotations

from typing import Any

from app.logs import request_log, start_logs
from app.server.sweeper import start_sweeper


def start(wsgi_app: Any) -> None:
    """Called once in each worker before its first request. `wsgi_app` is what `create_app` made."""
    runtime = wsgi_app.runtime
    start_logs(runtime.services.settings.server)
    start_sweeper(runtime.active, request_log.flush)
    runtime.watch()


def stop(wsgi_app: Any, seconds: float) -> None:
    """Called once in each worker after its last request; takes `seconds` at most."""
    wsgi_app.runtime.services.background.finish(seconds)
