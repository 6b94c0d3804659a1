"""Sends to an OpenTelemetry collector by the same transport as the gateway's other calls."""

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

# Seconds for one export if the SDK sets no limit.
TIMEOUT = 10.0
# Maximum bytes read of a collector's answer, which lists what it rejected.
MAX_ANSWER = 64 * 1024
_CREDENTIALS = "OTEL_PYTHON_EXPORTER_OTLP_HTTP_"


class ExportSession(requests.Session):
    """The session that the SDK's exporters use instead of their own. It uses the proxies and certificates of the
    current configuration, except for certificates named by the SDK's own variables. It limits an export's time and the
    bytes of its answer, and uses no redirects, cookies or netrc."""

    def __init__(self, find_transport: FindTransport) -> None:
        super().__init__()
        self._find_transport = find_transport
        self.trust_env = False
        self.headers.clear()
        self.headers["accept-encoding"] = "identity"

    def send(self, request: PreparedRequest, **kwargs: Any) -> Response:
        limit = kwargs.get("timeout")
        seconds = limit if isinstance(limit, int | float) else TIMEOUT
        whole: Any = Timeout(seconds, seconds, seconds)  # requests' type stubs do not allow it
        answer = self._find_way().session.send(request, timeout=whole, allow_redirects=False, stream=True)
        response = Response()
        response.status_code, response.reason = answer.status_code, answer.reason
        response.url, response.request = answer.url, request
        response.headers = answer.headers
        try:
            response.raw = io.BytesIO(answer.raw.read(MAX_ANSWER))
        except HTTPError as error:
            raise requests.ConnectionError(error, request=request) from error
        finally:
            answer.close()
        return response

    def _find_way(self) -> Transport:
        transport = self._find_transport()
        own: dict[str, Any] = {}
        if isinstance(self.verify, str):
            own["ca_bundle"] = self.verify
        if self.cert:
            own["client_cert"], own["client_key"] = self.cert if isinstance(self.cert, tuple) else (self.cert, None)
        return transport.variant(**own) if own else transport


def find_session(find_transport: FindTransport, signal: str) -> requests.Session | None:
    """The session for the exporter of a `signal`; None if a variable names a package that provides its own."""
    if any(os.environ.get(f"{_CREDENTIALS}{part}CREDENTIAL_PROVIDER") for part in ("", f"{signal}_")):
        return None
    return ExportSession(find_transport)
