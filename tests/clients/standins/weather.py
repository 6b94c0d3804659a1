"""What may befall an upstream's answer on its way."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator

from flask import Response, jsonify, request

from tests.clients.standins.stand_in import StandIn

Weather = Callable[[StandIn, Response], Response]


def calm(_: StandIn, response: Response) -> Response:
    return response


def refused(status: int, message: str, **headers: str) -> Weather:
    """The answer is an error in the vendor's words; headers have `_` for `-`."""

    def befall(upstream: StandIn, _: Response) -> Response:
        response = jsonify(upstream.error_body(status, message))
        response.status_code = status
        response.headers.extend({name.replace("_", "-"): value for name, value in headers.items()})
        return response

    return befall


def cut_after(events: int) -> Weather:
    """The connection breaks after so many events of the stream."""

    def befall(_: StandIn, response: Response) -> Response:
        response.response = _break(response.response, events, request.environ["werkzeug.socket"])
        return response

    return befall


def _break(parts: Iterable[bytes | str], events: int, connection: socket.socket) -> Iterator[bytes | str]:
    for number, part in enumerate(parts):
        if number == events:
            connection.shutdown(socket.SHUT_RDWR)
            raise ConnectionResetError
        yield part
