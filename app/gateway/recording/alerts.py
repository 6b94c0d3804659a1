"""Alerts operators by webhook: a failing provider, an expiring login, a dead loop.

One worker of a server alerts for all. An alert is not repeated until its state changes or `interval` is over. Delivery
to a failing receiver is retried a few times.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from app.gateway.recording.receivers import deliver
from app.logs import hide_secrets
from app.settings import AlertsSettings

if TYPE_CHECKING:
    from requests import Session

log = logging.getLogger("dragoman")

# Maximum alerts waiting to be sent, and maximum tries of each.
MAX_WAITING = 100
MAX_TRIES = 5
# Maximum alerts in an hour: a flapping state must not bury the rest.
MAX_PER_HOUR = 60


class Alert(msgspec.Struct, frozen=True, omit_defaults=True):
    """`kind` is the type of trouble, `subject` what it concerns; `solved` means that it is over."""

    kind: str
    subject: str
    message: str
    solved: bool = False


class Alerts:
    """`tell` may be called from anywhere, at any time; `send` only from one loop."""

    def __init__(self, settings: AlertsSettings, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._clock = clock
        self._waiting: deque[tuple[Alert, str, int]] = deque()
        self._last: dict[tuple[str, str], tuple[float, bool]] = {}
        self._standing: dict[tuple[str, str], Alert] = {}
        self._hour: deque[float] = deque()
        self.sent = 0
        self.lost = 0

    @property
    def enabled(self) -> bool:
        return bool(self._settings.webhooks or self._settings.slack)

    def queue(self, alert: Alert) -> None:
        """Queues an alert, unless the same was queued within `interval`."""
        if not self.enabled or (self._settings.kinds and alert.kind not in self._settings.kinds):
            return
        now = self._clock()
        place = (alert.kind, alert.subject)
        last = self._last.get(place)
        if last is not None and last[1] == alert.solved and now - last[0] < self._settings.interval:
            return
        while self._hour and now - self._hour[0] > 3600:
            self._hour.popleft()
        receivers = [*self._settings.webhooks, *self._settings.slack]
        if len(self._hour) >= MAX_PER_HOUR or len(self._waiting) + len(receivers) > MAX_WAITING:
            self.lost += 1
            return
        self._hour.append(now)
        self._last[place] = (now, alert.solved)
        self._waiting.extend((alert, url, 0) for url in receivers)

    def compare(self, standing: Iterable[Alert]) -> None:
        """Queues alerts for what is new in `standing`, and for what is over since the last call."""
        now = {(alert.kind, alert.subject): alert for alert in standing}
        for alert in now.values():
            self.queue(alert)
        for place, alert in self._standing.items():
            if place not in now:
                message = f"{alert.subject}: {alert.kind.replace('_', ' ')} is over"
                self.queue(Alert(alert.kind, alert.subject, message, solved=True))
        self._standing = now

    def send(self, find_session: Callable[[], Session]) -> None:
        """Tries once to send each waiting alert."""
        for _ in range(len(self._waiting)):
            alert, url, tries = self._waiting.popleft()
            body = self._describe(alert) if url in self._settings.webhooks else _describe_for_slack(alert)
            failure = deliver(find_session(), "POST", url, json=body)
            if failure is None:
                self.sent += 1
            elif tries + 1 < MAX_TRIES:
                self._waiting.append((alert, url, tries + 1))
            else:
                self.lost += 1
                log.warning("an alert (%s) could not be delivered: %s", alert.kind, failure)

    def _describe(self, alert: Alert) -> Mapping[str, object]:
        when = datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="seconds")
        return {
            "source": "dragoman",
            "kind": alert.kind,
            "subject": alert.subject,
            "message": hide_secrets(alert.message),
            "solved": alert.solved,
            "time": when,
        }


def _describe_for_slack(alert: Alert) -> Mapping[str, object]:
    sign = ":white_check_mark:" if alert.solved else ":warning:"
    message = hide_secrets(alert.message).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return {"text": f"{sign} dragoman: {message}"}
