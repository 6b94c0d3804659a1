"""This file is gunicorn's configuration for the relay of the sweeper's tests."""

from typing import Any

bind = "127.0.0.1:0"
worker_class = "gevent"
control_socket_disable = True
accesslog = None


def post_worker_init(worker: Any) -> None:
    from app.server.sweeper import start_sweeper
    from tests.server.relay import active

    start_sweeper(active)
