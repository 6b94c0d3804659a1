"""A small application that relays an upstream's reply, for the sweeper's tests; it runs under gunicorn."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import gevent
from flask import Flask, Response, request

from app.transport import ActiveRequests, Call, Exchange, Transport, TransportSettings

active = ActiveRequests()
transport = Transport(TransportSettings())
application = Flask(__name__)


@application.post("/whole")
def relay_whole() -> Response:
    with watched_exchange(request.environ) as exchange:
        exchange.wait_head()
        return Response(exchange.read_body())


@application.post("/stream")
def relay_stream() -> Response:
    environ = request.environ

    def parts() -> Iterator[bytes]:
        with watched_exchange(environ) as exchange:
            exchange.wait_head()
            while part := exchange.read_part():
                yield part

    return Response(parts())


@application.get("/running")
def count_running() -> str:
    return str(len(active))


@contextmanager
def watched_exchange(environ: dict[str, object]) -> Iterator[Exchange]:
    token = active.register(environ["gunicorn.socket"], gevent.getcurrent())  # type: ignore[arg-type]
    exchange = transport.send(Call("POST", os.environ["UPSTREAM_URL"], {}, b"{}"))
    try:
        yield exchange
    finally:
        exchange.close()
        active.unregister(token)
