"""The way to a collector of OpenTelemetry: that of every other call of the gateway."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import Any

import requests
from requests import PreparedRequest, Response
from urllib3.exceptions import HTTPError
from urllib3.util import Timeout

from app.transport import Transport

FindTransport = Callable[[], Transport]

# Seconds for one export where the SDK says nothing.
TIMEOUT = 10.0
# Bytes of a collector's answer that are read; it tells of what it did not take.
MOST_ANSWER = 64 * 1024
_CREDENTIALS = "OTEL_PYTHON_EXPORTER_OTLP_HTTP_"


class ExportSession(requests.Session):
    """What the SDK's exporters send by, in place of a session of their own: the proxies and certificates of the
    configuration in force, except for those that the SDK's own variables name; a limit of all that one export takes,
    in seconds and in bytes of its answer; no redirects, cookies or netrc."""

    def __init__(self, find_transport: FindTransport) -> None:
        super().__init__()
        self._find_transport = find_transport
        self.trust_env = False
        self.headers.clear()
        self.headers["accept-encoding"] = "identity"

    def send(self, request: PreparedRequest, **kwargs: Any) -> Response:
        limit = kwargs.get("timeout")
        seconds = limit if isinstance(limit, int | float) else TIMEOUT
        whole: Any = Timeout(seconds, seconds, seconds)  # which the types of requests do not know
        answer = self._find_way().session.send(request, timeout=whole, allow_redirects=False, stream=True)
        told = Response()
        told.status_code, told.reason, told.url, told.request = answer.status_code, answer.reason, answer.url, request
        told.headers = answer.headers
        try:
            told.raw = io.BytesIO(answer.raw.read(MOST_ANSWER))
        except HTTPError as error:
            raise requests.ConnectionError(error, request=request) from error
        finally:
            answer.close()
        return told

    def _find_way(self) -> Transport:
        transport = self._find_transport()
        own: dict[str, Any] = {}
        if isinstance(self.verify, str):
            own["ca_bundle"] = self.verify
        if self.cert:
            own["client_cert"], own["client_key"] = self.cert if isinstance(self.cert, tuple) else (self.cert, None)
        return transport.variant(**own) if own else transport


def find_session(find_transport: FindTransport, signal: str) -> requests.Session | None:
    """The session for the exporter of a `signal`; None where a variable names a package that brings its own."""
    if any(os.environ.get(f"{_CREDENTIALS}{part}CREDENTIAL_PROVIDER") for part in ("", f"{signal}_")):
        return None
    return ExportSession(find_transport)
