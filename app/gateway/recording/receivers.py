"""Delivers to what operators have set up to receive alerts or metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from requests import Session

# Seconds that a receiver has to send the head of its answer; the body is not read.
TIMEOUT = 5.0


def deliver(session: Session, method: str, url: str, **content: Any) -> str | None:
    """Sends `content`, given as requests takes it. Returns None if it was accepted, else why not: without the address,
    which may hold a secret."""
    # Imported here: a worker without receivers needs neither this nor requests.
    from urllib3.util import Timeout

    limit: Any = Timeout(TIMEOUT, TIMEOUT, TIMEOUT)  # requests' type stubs do not allow it
    try:
        answer = session.request(method, url, timeout=limit, allow_redirects=False, stream=True, **content)
    except OSError as error:  # requests' exceptions are OSErrors
        return type(error).__name__
    answer.close()
    return None if answer.status_code < 300 else f"HTTP {answer.status_code}"
