"""A call made by requests: through a special proxy, or against a mock."""

from __future__ import annotations

from typing import Any

from requests import ConnectTimeout, ReadTimeout, Request, RequestException, Response, Session
from requests.exceptions import ConnectionError as NoConnection
from requests.exceptions import ProxyError, SSLError
from urllib3.exceptions import HTTPError, ProtocolError, ReadTimeoutError

from app.errors import UpstreamCut, UpstreamError, UpstreamTimeout, UpstreamUnreachable
from app.transport.call import Call, Limits
from app.transport.connections.dialer import describe_failure
from app.transport.exchange import Exchange

_READ_SIZE = 64 * 1024


class ResponseExchange(Exchange):
    """An exchange over a response of requests.

    It is simpler than one on our own connection. The constructor waits for the head, so no pings can be sent before it.
    Reads wait up to the call's limits and ignore the caller's shorter ones. The total limit is not enforced.
    """

    def __init__(self, session: Session, call: Call) -> None:
        self._limits = call.limits
        self._response = _request(session, call)
        self.status = self._response.status_code
        headers = {name.lower(): value for name, value in self._response.headers.items()}
        if headers.pop("content-encoding", None):
            headers.pop("content-length", None)
        self.headers = headers

    def wait_head(self, wait: float | None = None) -> bool:
        return True

    def read_part(self, wait: float | None = None) -> bytes | None:
        raw: Any = self._response.raw
        try:
            return bytes(raw.read1(_READ_SIZE, decode_content=True))
        except ReadTimeoutError as error:
            raise UpstreamTimeout("idle", self._limits.idle) from error
        except (HTTPError, OSError) as error:
            raise UpstreamCut("the connection to the upstream broke", began=True) from error

    def close(self) -> None:
        self._response.close()


def _request(session: Session, call: Call) -> Response:
    limits: Limits = call.limits
    request = session.prepare_request(Request(call.method, call.url, call.headers, data=call.body))
    try:
        return session.send(
            request,
            stream=True,
            timeout=(limits.connect, limits.first_byte),
            proxies=session.proxies,
            allow_redirects=False,
        )
    except ConnectTimeout as error:
        raise UpstreamTimeout("connect", limits.connect) from error
    except ReadTimeout as error:
        raise UpstreamTimeout("first_byte", limits.first_byte) from error
    except RequestException as error:
        raise _failure(error) from error


def _failure(error: RequestException) -> UpstreamError:
    cause = error.args[0] if error.args else None
    if isinstance(error, ProxyError):
        return UpstreamUnreachable(f"the proxy does not connect to the upstream: {_innermost_error(error)}")
    if isinstance(error, SSLError):
        return UpstreamUnreachable(f"cannot connect to the upstream: {_innermost_error(error)}")
    if isinstance(error, NoConnection) and isinstance(cause, ProtocolError):
        return UpstreamCut("the upstream closed the connection without a reply", began=False)
    return UpstreamUnreachable(f"cannot reach the upstream: {_innermost_error(error)}")


def _innermost_error(error: BaseException) -> str:
    """A description of the innermost error. requests' own messages quote URLs, with their passwords."""
    seen = 0
    while (cause := error.__cause__ or error.__context__) is not None and seen < 10:
        error, seen = cause, seen + 1
    return describe_failure(error) if isinstance(error, OSError) else type(error).__name__
