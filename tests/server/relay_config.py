"""Gunicorn's configuration for the relay of the sweeper's tests."""

from typing import Any


def post_worker_init(worker: Any) -> None:
    from app.server.worker import start_sweeper
    from tests.server.relay import active

    start_sweeper(active)
