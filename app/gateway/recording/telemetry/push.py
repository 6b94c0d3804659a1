"""Pushes metrics to a Prometheus Pushgateway."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import quote

from app.gateway.recording.receivers import deliver
from app.gateway.recording.workers import Whole
from app.settings import PushSettings

if TYPE_CHECKING:
    from requests import Session

log = logging.getLogger("dragoman")


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

    def round(self, look: Callable[[], Whole], version: str, find_session: Callable[[], Session]) -> None:
        """Pushes once if the interval is over. Does not raise if the receiver fails."""
        settings, now = self._settings, self._clock()
        if settings.url is None or now < self._next:
            return
        self._next = now + settings.interval
        from app.gateway.recording.exposition import CONTENT_TYPE, write_metrics

        text = write_metrics(look(), version)
        headers = {"content-type": CONTENT_TYPE}
        failure = deliver(find_session(), "PUT", self._address(), data=text, headers=headers)
        self.problem = None if failure is None else f"cannot push metrics: {failure}"
        if self.problem is not None:
            log.warning("%s", self.problem)

    def _address(self) -> str:
        settings = self._settings
        group = {"job": settings.job, "instance": settings.instance or socket.gethostname()}
        steps = "/".join(f"{name}/{quote(value, safe='')}" for name, value in group.items())
        return f"{(settings.url or '').rstrip('/')}/metrics/{steps}"
