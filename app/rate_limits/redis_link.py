"""Connects to the shared Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from redis import Redis

# Seconds that a call may take, since a request waits for it.
TIMEOUT = 0.5


def open_redis(url: str) -> Redis:
    """A client that is not connected yet. Raises OSError if the package is missing."""
    try:
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError as error:
        raise OSError("shared.redis needs the extra: pip install 'dragoman[redis]'") from error
    # One immediate retry, in case Redis has closed an idle connection.
    return Redis.from_url(url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT, retry=Retry(NoBackoff(), 1))
