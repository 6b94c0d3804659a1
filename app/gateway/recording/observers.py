"""Sets up everything that observes requests: log, metrics, accounts, hooks, alerts, recordings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from app.accounts.accounts import Accounts
from app.accounts.apart import AccountsThread
from app.accounts.prices import load_prices
from app.accounts.record import Sink
from app.gateway.inspection.inspector import Inspector
from app.gateway.inspection.raw_log import RawLog
from app.gateway.inspection.wiretap import Wiretaps
from app.gateway.recording.alerts import Alert, Alerts
from app.gateway.recording.hooks import load_hooks
from app.gateway.recording.metrics import Gauge, Metrics
from app.gateway.recording.record_log import RecordLog
from app.gateway.recording.recorder import Recorder
from app.gateway.recording.shared_log import SharedLog
from app.gateway.recording.telemetry.exported_logs import ExportedLogs, open_exported_logs
from app.gateway.recording.telemetry.push import Push
from app.gateway.recording.telemetry.traces import Traces, open_traces
from app.gateway.recording.worker_files import server_folder
from app.gateway.recording.workers import Workers
from app.loops import Loop
from app.settings import Settings
from app.transport import Transport

if TYPE_CHECKING:
    from requests import Session

# Seconds between rounds of each loop. The accounts' period is also the time whose records a crash loses.
ACCOUNTS_PERIOD = 1.0
METRICS_PERIOD = 0.25
HOOKS_PERIOD = 0.5
ALERTS_PERIOD = 5.0
EXPORTS_PERIOD = 1.0
LOG_PERIOD = 0.5


class Observers:
    """All observers of one worker. A change of the configuration replaces only those whose settings changed."""

    def __init__(self, settings: Settings) -> None:
        """Raises ConfigError if a required hook is missing."""
        self.recorder = Recorder()
        self.find_version: Callable[[], str | None] = lambda: None  # the program's version for metrics
        self.metrics = Metrics()
        self.workers = Workers(self.recorder, self.metrics)
        self.accounts: AccountsThread | None = None
        self._accounts_loop = Loop("accounts", self._flush_accounts, ACCOUNTS_PERIOD)
        self.hooks = load_hooks(settings.hooks.off, settings.hooks.required)
        self.alerts = Alerts(settings.alerts)
        self.push = Push(settings.push)
        self.exports: dict[str, Traces | ExportedLogs] = {}
        self.raw_log: RawLog | None = None
        self.inspector = Inspector(settings.server)
        # None while nothing observes the wire.
        self.wiretaps: Wiretaps | None = None
        self.shared_log: SharedLog | None = None
        self._started = False
        self.workers.gauges.append(self._gauges)
        self.apply_settings(settings, None)

    def apply_settings(self, settings: Settings, old: Settings | None) -> None:
        """Applies `settings` to all requests from now on. Accounts are opened only after `start`, whose loop writes
        them. Raises ConfigError without having changed anything."""
        self.recorder.hand_out()
        if old is not None:
            self._replace(settings, old)
        if old is None or old.raw_log != settings.raw_log:
            self._flush_raw_log()
            self.raw_log = RawLog(settings.raw_log) if settings.raw_log.enabled and self._started else None
        self._keeping = (settings.accounts.recording_hours, settings.accounts.recording_mb)
        self.set_wiretaps()
        if old is None or old.prices != settings.prices:
            self.recorder.prices = load_prices(settings.prices)
        kept = old is not None and (old.accounts, old.ledger.url) == (settings.accounts, settings.ledger.url)
        if self._started and not kept:
            before, self.accounts = self.accounts, self._open_accounts(settings)
            if before is not None:
                before.close()
        self.recorder.sinks = tuple(self._list_sinks())

    def _replace(self, settings: Settings, old: Settings) -> None:
        """Replaces the observers whose settings changed. Raises ConfigError without having changed anything."""
        if old.hooks != settings.hooks:
            self.hooks = load_hooks(settings.hooks.off, settings.hooks.required)
        if old.alerts != settings.alerts:
            self.alerts = Alerts(settings.alerts)
        if old.push != settings.push:
            self.push = Push(settings.push)
        if old.server.record != settings.server.record:
            self.inspector.apply_settings(settings.server)

    def _list_sinks(self) -> Iterator[Sink]:
        yield from (RecordLog(), self.metrics)
        if self.accounts is not None:
            yield self.accounts.accounts
        if self._started and self.hooks.look_at_records:
            yield self.hooks
        yield from self.exports.values()

    def start(
        self,
        settings: Settings,
        environ: Mapping[str, str],
        find_transport: Callable[[], Transport],
        find_troubles: Callable[[], list[Alert]],
    ) -> list[Loop]:
        """Begins observing in this worker. Returns the loops, which the caller must start. `find_transport` returns
        what exporters and alerts are sent with, `find_troubles` the current alerts."""
        self._started = self.recorder.batched = True
        opened = {
            "traces": open_traces(environ, find_transport),
            "exported_logs": open_exported_logs(environ, find_transport),
        }
        self.exports = {name: export for name, export in opened.items() if export is not None}
        self.apply_settings(settings, None)
        folder = server_folder(environ)
        self.workers.join(folder)
        self.shared_log = SharedLog(folder)

        def find_session() -> Session:
            return find_transport().session

        def notify_operators() -> None:
            if self.alerts.enabled:
                if self.workers.leads():
                    self.alerts.compare(find_troubles())
                self.alerts.send(find_session)
            if self.push.enabled and self.workers.leads():
                self.push.round(self.workers.look, self.find_version() or "unknown", find_session)

        return [
            self._accounts_loop,
            Loop("metrics", self.workers.round, METRICS_PERIOD),
            Loop("hooks", lambda: self.hooks.hand_out(), HOOKS_PERIOD),
            Loop("alerts", notify_operators, ALERTS_PERIOD),
            Loop("raw log", self._flush_raw_log, HOOKS_PERIOD),
            Loop("inspector", self.follow_orders, HOOKS_PERIOD),
            Loop("shared log", self.shared_log.round, LOG_PERIOD),
            *(Loop(name.replace("_", " "), export.hand_out, EXPORTS_PERIOD) for name, export in self.exports.items()),
        ]

    def finish(self) -> None:
        """Writes everything that is still waiting."""
        self.recorder.batched = False
        self.recorder.hand_out()
        if self.accounts is not None:
            self.accounts.close()
        self.hooks.hand_out()
        self._flush_raw_log()
        for export in self.exports.values():
            export.close()
        self.workers.leave()

    def follow_orders(self) -> None:
        """Reads once what the inspector is to record, and stores what it has recorded."""
        self.inspector.follow()
        self.set_wiretaps()
        self.inspector.flush(self.accounts, *self._keeping)

    def set_wiretaps(self) -> None:
        """Opens or removes the wiretaps, depending on whether the raw log or the inspector currently needs them."""
        listens = self._started and self.inspector.active
        if self.raw_log is None and not listens:
            self.wiretaps = None
        else:
            self.wiretaps = Wiretaps(self.raw_log, self.inspector if listens else None)

    def complaints(self) -> list[str]:
        """Sentences about what does not work."""
        problems = []
        accounts = self.accounts and self.accounts.accounts
        if accounts and accounts.problem is not None:
            problems.append(f"requests are missing from the accounts, {accounts.lost} so far: {accounts.problem}")
        if self.push.problem is not None:
            problems.append(self.push.problem)
        problems += [f"the {name} has lost {count} records" for name, count in self.recorder.lost.items()]
        problems += [
            f"the hook {name} has failed {count} times" for name, count in self.hooks.failures.items() if count
        ]
        return problems

    def _open_accounts(self, settings: Settings) -> AccountsThread | None:
        if not settings.accounts.enabled:
            return None
        return AccountsThread(Accounts(settings.accounts, settings.ledger.url, on_batch=self._accounts_loop.wake))

    def _flush_accounts(self) -> None:
        self.recorder.hand_out()
        if self.accounts is not None:
            self.accounts.flush()

    def _flush_raw_log(self) -> None:
        if self.raw_log is not None:
            self.raw_log.flush()

    def _gauges(self) -> list[Gauge]:
        gauges = [
            Gauge("dragoman_active_requests", "Requests running now", len(self.recorder), merge="sum"),
            Gauge("dragoman_alerts_sent", "Alerts that were delivered", self.alerts.sent, merge="sum"),
            Gauge("dragoman_alerts_lost", "Alerts that were not delivered", self.alerts.lost, merge="sum"),
        ]
        lost = dict(self.recorder.lost)
        if self.accounts is not None:
            accounts = self.accounts.accounts
            lost["accounts"] = lost.get("accounts", 0) + accounts.lost
            up = accounts.problem is None
            gauges.append(Gauge("dragoman_accounts_up", "Whether the accounts are written", up, merge="min"))
            gauges.append(
                Gauge("dragoman_accounts_waiting", "Records waiting to be written", accounts.waiting, merge="sum")
            )
        if self.hooks.names:
            lost["hooks"] = lost.get("hooks", 0) + self.hooks.lost
        if self.raw_log is not None:
            lost["raw_log"] = self.raw_log.lost
        if self.inspector.active or self.inspector.lost:
            lost["inspector"] = self.inspector.lost
        for name, export in self.exports.items():
            lost[name] = lost.get(name, 0) + export.lost
        for sink, count in lost.items():
            gauges.append(Gauge("dragoman_records_lost", "Records that a sink lost", count, {"sink": sink}, "sum"))
        for name, count in self.hooks.failures.items():
            labels = {"hook": name}
            gauges.append(Gauge("dragoman_hook_failures", "Failures of a hook", count, labels, "sum"))
        return gauges
