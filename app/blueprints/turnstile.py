"""Limits how many requests of one kind a worker answers at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import gevent
from flask import request

from app.blueprints.views import runtime
from app.errors import TooMany


class Turnstile:
    """Admits `maximum` requests at a time, by `with` or `hold`; with `hold`, at most `share` of one tenant. Others get
    TooMany with the message `refusal`."""

    def __init__(self, maximum: int, refusal: str, share: int | None = None) -> None:
        self._most = maximum
        self._refusal = refusal
        self._share = maximum if share is None else share
        self._held: Counter[str] = Counter()
        self.count = 0

    def __enter__(self) -> None:
        if self.count >= self._most:
            raise TooMany(self._refusal)
        self.count += 1

    def __exit__(self, *_fault: object) -> None:
        self.count -= 1

    def hold(self, parts: Iterator[bytes], tenant: str = "") -> Iterator[bytes]:
        """The same stream, which counts from now until it ends or is closed, even if none of it is read. Raises
        TooMany."""
        if self._held[tenant] >= self._share:
            raise TooMany(self._refusal)
        self.__enter__()
        self._held[tenant] += 1
        return _Held(self, parts, tenant)

    def let_go(self, tenant: str) -> None:
        self.__exit__()
        self._held[tenant] -= 1
        if not self._held[tenant]:
            del self._held[tenant]


class _Held:
    def __init__(self, turnstile: Turnstile, parts: Iterator[bytes], tenant: str) -> None:
        self._turnstile: Turnstile | None = turnstile
        self._tenant = tenant
        self._parts = parts

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._parts)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        turnstile, self._turnstile = self._turnstile, None
        if turnstile is not None:
            turnstile.let_go(self._tenant)
        close = getattr(self._parts, "close", None)
        if close is not None:
            close()


def until_client_leaves(parts: Iterator[bytes]) -> Iterator[bytes]:
    """The same stream, closed as soon as its client leaves. It is silent for so long that its writes would show that
    late."""
    followers, client_socket = runtime().followers, request.environ.get("gunicorn.socket")
    if client_socket is None:
        return parts

    def watched() -> Iterator[bytes]:
        token = followers.register(client_socket, gevent.getcurrent())
        try:
            yield from parts
        finally:
            followers.unregister(token)

    return watched()
