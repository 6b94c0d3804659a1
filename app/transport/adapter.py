"""Mounts our connection pool in requests.

`send` implements requests' contract on the pool's connections, for calls other than to models: logins, lists of models.
It leaves calls to requests' own adapter if the pool does not support them, and while that adapter is replaced, so that
`responses` can mock it.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from http.cookiejar import DefaultCookiePolicy
from typing import Any

from requests import ConnectTimeout, PreparedRequest, ReadTimeout, Response, Session
from requests.adapters import HTTPAdapter
from requests.exceptions import ConnectionError as NoConnection
from urllib3 import HTTPResponse
from urllib3.exceptions import ProtocolError
from urllib3.util import Timeout

from app.errors import UpstreamError, UpstreamTimeout
from app.transport.call import Call, Limits, Origin, locate
from app.transport.connections.pool import ConnectionPool
from app.transport.exchange import Exchange, SocketExchange


class UpstreamSession(Session):
    """A session without features that are unsafe in a gateway for many users.

    No netrc, no proxies from the environment, no cookies left by one user's call for the next, no redirects, which
    would carry a credential elsewhere, and no compressed replies.
    """

    def __init__(self, adapter: HTTPAdapter, proxies: dict[str, str], ca_bundle: str | None) -> None:
        super().__init__()
        self.trust_env = False
        self.proxies = dict(proxies)
        self.verify = ca_bundle or True
        self.headers.clear()
        self.headers["accept-encoding"] = "identity"
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self.mount("http://", adapter)
        self.mount("https://", adapter)

    def get_redirect_target(self, resp: Response) -> None:
        return None


class PoolAdapter(HTTPAdapter):
    """An adapter for requests that uses the connection pool. `can_reach` tells which origins the pool can reach."""

    def __init__(self, pool: ConnectionPool, can_reach: Callable[[Origin], bool]) -> None:
        super().__init__()
        self._pool = pool
        self._can_reach = can_reach

    def send(
        self, request: PreparedRequest, stream: bool = False, timeout: Any = None, *args: Any, **kwargs: Any
    ) -> Response:
        """As requests' adapter: returns once the reply's head has arrived, and raises requests' exceptions.

        Bodies other than bytes or text, and upstreams behind a special proxy, are left to requests.
        """
        url = request.url or ""
        body = request.body.encode() if isinstance(request.body, str) else request.body or b""
        if not isinstance(body, bytes) or not self._can_reach(locate(url).origin):
            return super().send(request, stream, timeout, *args, **kwargs)
        headers = {_text(name): _text(value) for name, value in request.headers.items()}
        call = Call(request.method or "GET", url, headers, body, _limits(timeout))
        try:
            exchange = SocketExchange(self._pool, call, locate(url))
            exchange.wait_head()
        except UpstreamTimeout as error:
            raise (ConnectTimeout if error.phase == "connect" else ReadTimeout)(error, request=request) from error
        except UpstreamError as error:
            raise NoConnection(error, request=request) from error
        raw = HTTPResponse(
            body=io.BufferedReader(_BodyFile(exchange)),
            headers=exchange.headers,
            status=exchange.status,
            preload_content=False,
            decode_content=False,
        )
        return self.build_response(request, raw)


class _BodyFile(io.RawIOBase):
    """The body of an exchange as a file, for requests."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            part = self._rest or self._exchange.read_part() or b""
        except UpstreamTimeout as error:
            raise TimeoutError(str(error)) from error
        except UpstreamError as error:
            raise ProtocolError(str(error), error) from error
        size = min(len(buffer), len(part))
        buffer[:size] = part[:size]
        self._rest = part[size:]
        return size

    def close(self) -> None:
        self._exchange.close()
        super().close()


def _limits(timeout: Any) -> Limits:
    """Limits from requests' timeout: None, seconds for both, (connect, read), or urllib3's Timeout, which has a total
    too. Our defaults fill the gaps."""
    total = None
    if isinstance(timeout, Timeout):
        given: Any = timeout
        connect, read, total = given.connect_timeout, given.read_timeout, given.total
    else:
        connect, read = timeout if isinstance(timeout, tuple) else (timeout, timeout)
    usual = Limits()
    return Limits(
        connect=usual.connect if connect is None else connect,
        first_byte=usual.first_byte if read is None else read,
        idle=usual.idle if read is None else read,
        total=total,
    )


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")
