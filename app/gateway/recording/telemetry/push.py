"""Pushes metrics to a Prometheus Pushgateway."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import requests
from urllib3.util import Timeout

from app.gateway.recording.workers import Whole
from app.settings import PushSettings

log = logging.getLogger("dragoman")

# Seconds that a receiver has to send the head of its answer; the body is not read.
TIMEOUT = 5.0


class Push:
    """`problem` says why the last push failed; None if it succeeded."""

    def __init__(self, settings: PushSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self.problem: str | None = None
        self._settings = settings
        self._clock = clock
        self._next = 0.0

    @property
    def enabled(self) -> bool:
        return self._settings.url is not None

    def round(self, look: Callable[[], Whole], version: str, find_session: Callable[[], requests.Session]) -> None:
        """Pushes once if the interval is over. Does not raise if the receiver fails."""
        settings, now = self._settings, self._clock()
        if settings.url is None or now < self._next:
            return
        self._next = now + settings.interval
        from app.gateway.recording.exposition import CONTENT_TYPE, write_metrics

        text = write_metrics(look(), version)
        limit: Any = Timeout(TIMEOUT, TIMEOUT, TIMEOUT)  # requests' type stubs do not allow it
        try:
            answer = find_session().put(
                self._address(), data=text, headers={"content-type": CONTENT_TYPE},
                timeout=limit, allow_redirects=False, stream=True,
            )  # fmt: skip
            answer.close()
            if answer.status_code >= 300:
                raise requests.HTTPError(f"HTTP {answer.status_code}")
        except requests.RequestException as error:
            # The message may contain the address, which may hold a login.
            message = str(error) if isinstance(error, requests.HTTPError) else type(error).__name__
            self.problem = f"cannot push metrics: {message}"
            log.warning("%s", self.problem)
            return
        self.problem = None

    def _address(self) -> str:
        settings = self._settings
        group = {"job": settings.job, "instance": settings.instance or socket.gethostname()}
        steps = "/".join(f"{name}/{quote(value, safe='')}" for name, value in group.items())
        return f"{(settings.url or '').rstrip('/')}/metrics/{steps}"
