"""Turns our settings into gunicorn's."""

from __future__ import annotations

import gc
from typing import Any

from app.settings import ServerSettings

WORKER_CLASSES = {"gateway": "app.server.gateway_worker.GatewayWorker", "gevent": "gevent"}
# gunicorn counts idle connections too, and silently refuses those beyond the limit.
WORKER_CONNECTIONS = 8192
# Room for the large heads of single sign-on: 32 KB of headers, and the request line.
MAX_HEAD = 34 * 1024
# A worker without heartbeats is killed and loses all its streams, so only a real hang may count.
HANG_SECONDS = 120
# gunicorn's levels for ours. Its start-up lines repeat what `dragoman serve` has printed, and its debug level quotes
# the beginnings of requests, with credentials.
LOG_LEVELS = {"debug": "info", "info": "warning", "warn": "warning", "error": "error"}


def gunicorn_options(server: ServerSettings) -> dict[str, Any]:
    """gunicorn's settings by name, for its configuration file or `Config.set`."""
    return {
        "bind": [_address(server.host, server.port)],
        "umask": 0o777 & ~int(server.socket_mode, 8) if server.host.startswith("unix:") else 0,
        "workers": server.workers,
        "worker_class": WORKER_CLASSES[server.worker],
        "worker_connections": WORKER_CONNECTIONS,
        "backlog": 2048,
        # SDKs' pools reuse connections after minutes. With gunicorn's default of 2 s they would get resets.
        "keepalive": max(1, round(server.client_timeout)),
        "limit_request_field_size": MAX_HEAD,
        "timeout": HANG_SECONDS,
        "graceful_timeout": round(server.graceful_timeout),
        "loglevel": LOG_LEVELS[server.log_level],
        # The gateway logs each request itself, in one line, with facts that gunicorn cannot know.
        "accesslog": None,
        "logger_class": "app.server.gunicorn_logs.CleanLogger",
        "control_socket_disable": True,
        "forwarded_allow_ips": ",".join(server.trusted_proxies),
        "post_worker_init": start_worker,
        "worker_exit": stop_worker,
    }


def start_worker(worker: Any) -> None:
    """gunicorn's hook in each worker, after the application is loaded and before the first request."""
    # Imported here: the master and a checkout's gunicorn.conf.py must not load the application.
    from app.server.heap import share_heap
    from app.server.worker import start

    share_heap()
    app = worker.app
    reloaded = "broken" if getattr(app, "problem", None) else "changed"
    start(worker.wsgi, reloaded=reloaded if getattr(app, "reloading", False) else None)
    # Everything loaded so far lives as long as the worker, so the collector can skip it.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    gc.enable()


def stop_worker(_arbiter: Any, worker: Any) -> None:
    """gunicorn's hook in each worker after its last request, and in the master for a worker that was killed."""
    from app.server.worker import stop

    if getattr(worker, "wsgi", None) is not None:
        # Heartbeats have ended by now, and the master waits no longer than HANG_SECONDS without them.
        cut = getattr(worker, "cut", False)
        stop(worker.wsgi, 0.0 if cut else min(worker.cfg.graceful_timeout, HANG_SECONDS / 2))


def _address(host: str, port: int) -> str:
    if host.startswith("unix:"):
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
