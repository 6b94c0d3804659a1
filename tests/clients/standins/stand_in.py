"""What all stand-ins share: a server on a loopback port that admits, refuses and remembers requests."""

from __future__ import annotations

import json
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from flask import Flask, Response, jsonify, request
from werkzeug.serving import WSGIRequestHandler, make_server

from tests.clients.standins.scripted_model import ScriptedModel

KEY = "key-of-the-upstream"


@dataclass(frozen=True)
class Asked:
    """A request that arrived; header names are in lower case."""

    path: str
    headers: dict[str, str]
    body: Any


class Refusal(Exception):
    """A request that the vendor would refuse."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class StandIn(ABC):
    """An upstream for tests, to be used in a `with`. A subclass adds its routes and says how it refuses.

    `asked` is what arrived, `refused` what it had to object to: a gateway that renders well leaves that empty.
    """

    model: ClassVar[str]

    def __init__(self, script: ScriptedModel) -> None:
        self.script = script
        self.asked: list[Asked] = []
        self.refused: list[str] = []
        self.weather: deque[Callable[[StandIn, Response], Response]] = deque()
        self.app = Flask(__name__)
        self.app.before_request(self._admit)
        self.app.after_request(self._expose)
        self.app.register_error_handler(Refusal, self._refuse)
        self.app.register_error_handler(LookupError, self._refuse)
        self._server = make_server("127.0.0.1", 0, self.app, threaded=True, request_handler=_Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    @abstractmethod
    def settings(self) -> dict[str, str]:
        """Its table in the gateway's configuration."""

    @abstractmethod
    def is_proven(self, headers: dict[str, str]) -> bool:
        """Whether the credential is the one that `settings` name."""

    @abstractmethod
    def error_body(self, status: int, message: str) -> dict[str, Any]:
        """An error as the vendor words it."""

    def play(self, script: ScriptedModel) -> None:
        """Begins anew with another script."""
        self.script = script
        self.asked.clear()
        self.refused.clear()

    def __enter__(self) -> StandIn:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _admit(self) -> None:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.asked.append(Asked(request.path, headers, request.get_json(silent=True)))
        if not self.is_proven(headers):
            raise Refusal("the credential is missing or wrong", 401)

    def _expose(self, response: Response) -> Response:
        """The answer, after the weather that comes next, if any."""
        return self.weather.popleft()(self, response) if request.method == "POST" and self.weather else response

    def _refuse(self, error: Refusal | LookupError) -> tuple[Response, int]:
        """A field that is not there, or a tool that is not offered, is the request's fault as well."""
        status = error.status if isinstance(error, Refusal) else 400
        self.refused.append(f"{request.path}: {error!r}")
        return jsonify(self.error_body(status, str(error))), status


def event_stream(events: Iterable[str]) -> Response:
    return Response(events, content_type="text/event-stream")


def sse(data: Any, event: str | None = None) -> str:
    """One server-sent event of JSON."""
    name = f"event: {event}\n" if event else ""
    return f"{name}data: {json.dumps(data)}\n\n"


def keys(names: str) -> frozenset[str]:
    return frozenset(names.split())


def refuse_unknown_keys(body: dict[str, Any], known: frozenset[str], where: str) -> None:
    for name in body.keys() - known:
        raise Refusal(f"{where}{name}: Extra inputs are not permitted")


class _Handler(WSGIRequestHandler):
    """Keeps connections, as vendors do, and writes no access log."""

    protocol_version = "HTTP/1.1"

    def log(self, *_: Any) -> None:
        pass
