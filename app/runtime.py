"""Holds the current services, and replaces them when the configuration changes."""

from __future__ import annotations

import gc
import logging
import time
import weakref
from collections.abc import Callable, Mapping, Set
from os.path import exists
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.accounts.apart import AccountsThread
from app.credentials.login_source import LoginSource
from app.credentials.watcher import Watcher
from app.errors import ConfigError, Forbidden
from app.gateway.large_bodies.body_budget import MEGABYTE, BodyBudget, default_budget
from app.gateway.recording.alerts import Alert
from app.gateway.recording.observers import Observers
from app.gateway.recording.troubles import find_spent_budgets, find_troubles, is_stale
from app.gateway.recording.worker_files import server_folder
from app.gateway.recording.workers import Reload, Workers
from app.gateway.responses_api.background import Background
from app.gateway.upstream_health.shared_redis import SharedRedis
from app.gateway.upstream_health.shared_state import SharedState
from app.gateway.use_limits.in_force import Limited, find_limited, read_use
from app.gateway.use_limits.limiter import Limiter
from app.gateway.use_limits.made_keys import MadeKeys
from app.ledger import Ledger
from app.logs import start_logs
from app.loops import Loop
from app.rate_limits.shared_counts import SharedCounts
from app.routing.mounts import ROOTS, strip_mount
from app.services import Services, build_services, find_upstreams
from app.settings import Settings, data_folder, load_settings
from app.settings.discovered.login_files import find_claude_files, own_oca_file
from app.settings.places import home_folder, is_blank_file, read_text
from app.transport import ActiveRequests, Transport

if TYPE_CHECKING:
    from requests import Session

log = logging.getLogger("dragoman")

# Seconds between two looks at the configuration file. A change is loaded once two looks in a row find it the same.
PERIOD = 0.5
# Seconds between two looks at the client keys made by command.
KEYS_PERIOD = 2.0
# Seconds between two exchanges with other workers about upstreams.
SHARING_PERIOD = 1.0
# Settings of [server] that need a new worker or a new master to take effect.
NEEDS_RESTART = (
    *("host", "port", "workers", "worker", "graceful_timeout", "client_timeout", "bodies_mb"),
    *("trusted_proxies", "root_path"),
)


class Runtime:
    """One worker's state. `services` are replaced as a whole. `problem` says why a changed file was not loaded, or is
    None."""

    def __init__(self, settings: Settings, environ: Mapping[str, str], roots: Set[str] = frozenset()) -> None:
        """`roots` are the first segments of the endpoints' paths."""
        self._environ = environ
        self.observers = Observers(settings)
        self.recorder = self.observers.recorder
        # Set when this worker accepts no more requests.
        self.draining = False
        self.loops: list[Loop] = []
        self._limiter: Limiter | None = None
        self.services: Services = build_services(
            settings, environ, home_folder(self._environ), None, self.observers.recorder, self._find_limiter
        )
        self.problem: str | None = None
        # The text of the file in force.
        self.file_text = read_file(settings.source)
        self.active = ActiveRequests()
        # Open pages and the like, which end as soon as this worker drains.
        self.followers = ActiveRequests()
        self.workers.end_own = self._end_own
        server = settings.server
        maximum = server.bodies_mb * MEGABYTE if server.bodies_mb else default_budget(server.workers)
        self.bodies = BodyBudget(maximum)
        self._watcher = Watcher()
        self._seen: object = None
        self._unsettled: object = None
        self._logins: frozenset[Path] = frozenset()
        self._had_content = False
        # Parts of earlier configurations, until nothing that uses them can still run.
        self._old_backgrounds: list[Background] = []
        self._old_parts: list[weakref.ref[Ledger | Transport]] = []
        self._kinds = {name: provider.settings.kind for name, provider in self.services.providers.items()}
        self.plain_paths: set[str] = set()
        self._roots = ROOTS | roots
        self._made_keys = MadeKeys()
        self._shared = SharedState(server_folder(environ))
        self._hosts: SharedRedis | None = None
        self._hosts_settings: tuple[str | None, str | None] = (None, None)

    @property
    def workers(self) -> Workers:
        return self.observers.workers

    @property
    def accounts(self) -> AccountsThread | None:
        return self.observers.accounts

    @property
    def limiter(self) -> Limiter:
        """Counts the use of limits. Created on first use."""
        if self._limiter is None:
            counts = SharedCounts(data_folder(), self.services.settings.shared)
            self._limiter = Limiter(counts, lambda: self.recorder.prices)
        return self._limiter

    def find_limited(self) -> list[Limited]:
        """The client keys and providers that have limits."""
        return find_limited(self.services.access.limited_keys(), self.services.settings.providers)

    def _find_limiter(self) -> Limiter:
        return self.limiter

    def unmount(self, environ: dict[str, Any]) -> None:
        """Strips the mount from a request's path, and notes it in `environ`. Paths without a mount are remembered in
        `plain_paths`."""
        path = environ["PATH_INFO"]
        mounted = strip_mount(path, self._kinds, self._roots)
        if mounted is None:
            return
        if mounted.path == path:
            if len(self.plain_paths) < 64 and "models/" not in path:
                self.plain_paths.add(path)
            return
        environ["dragoman.path"], environ["PATH_INFO"] = path, mounted.path
        if mounted.provider is not None:
            environ["dragoman.provider"] = mounted.provider
        if mounted.session is not None:
            environ["dragoman.session"] = mounted.session
        if mounted.model is not None:
            environ["dragoman.model"] = mounted.model

    def watch(self) -> None:
        """Starts the loops that follow the configuration and the credentials. Must be called once in each worker."""
        self._watch_credentials(self.services)
        self._watcher.start()
        source = self.services.settings.source
        self._seen, self._logins = _stamp(source), self._find_logins()
        self._had_content = source is not None and not is_blank_file(source)
        own = [
            Loop("configuration follower", self.follow, PERIOD),
            Loop("client keys", self.follow_keys, KEYS_PERIOD),
            Loop("upstreams' state", self._share_upstreams, SHARING_PERIOD),
            *self.observers.start(
                self.services.settings, self._environ, lambda: self.services.transport, self._find_troubles
            ),
        ]
        for loop in own:
            loop.start()
        self.loops += [self._watcher.loop, *own]
        next(loop for loop in own if loop.name == "client keys").round()

    def _share_upstreams(self) -> None:
        """Exchanges news of upstreams in trouble with the other workers, and with other hosts if there are any."""
        if not self._shared.ready:
            return
        upstreams = find_upstreams(self.services)
        known = self._shared.round(upstreams)
        hosts = self._find_hosts()
        if hosts is not None and self.workers.leads() and (heard := hosts.exchange(known)) is not None:
            self._shared.round(upstreams, heard)

    def _find_hosts(self) -> SharedRedis | None:
        """The connection to other hosts by the current settings, or None."""
        settings = self.services.settings
        wanted = (settings.shared.redis, settings.ledger.url)
        if wanted != self._hosts_settings:
            if self._hosts is not None:
                self._hosts.close()
            url, ledger = wanted
            self._hosts = None if url is None else SharedRedis(url, knows_tenants=ledger is not None)
            self._hosts_settings = wanted
        return self._hosts

    def _end_own(self, request_id: str) -> bool:
        record = self.recorder.find(request_id)
        if record is None:
            return False
        return self.active.end(record.token, Forbidden("the operator of this gateway ended this request"))

    def finish(self, seconds: float) -> None:
        """Waits, at most `seconds`, for background work under any configuration, and then finishes the observers."""
        end = time.monotonic() + seconds
        for background in (*self._old_backgrounds, self.services.background):
            background.finish(max(0.0, end - time.monotonic()))
        self.observers.finish()

    def complaints(self) -> list[str]:
        """Messages about faults that do not stop requests from being served."""
        problems = [f"the {loop.name} has not run for {loop.age:.0f} s" for loop in self.loops if is_stale(loop)]
        if self.services.ledger.problem is not None:
            problems.append(f"nothing is being stored: {self.services.ledger.problem}")
        if self._limiter is not None and self._limiter.counts.problem is not None:
            problems.append(self._limiter.counts.problem)
        if self._hosts is not None and self._hosts.problem is not None:
            problems.append(self._hosts.problem)
        problems += self.observers.complaints()
        return problems

    def reload_login(self, name: str) -> None:
        """Uses the new or removed login of provider `name` at once. Other workers notice it within seconds."""
        provider = self.services.providers.get(name)
        if provider is not None and isinstance(provider.source, LoginSource):
            provider.source.forget()
        else:
            self.reload(lambda: load_settings(self.services.settings.source, self._environ, {}))

    def find_session(self, name: str) -> Session:
        """The HTTP session for calls to provider `name` other than to its models: logins, renewals."""
        provider = self.services.providers.get(name)
        return (provider.transport if provider is not None else self.services.transport).session

    def follow(self) -> None:
        """Looks at the configuration file and the logins once. A change is loaded only when the next look finds it the
        same, since it may still be being written."""
        self._let_go()
        source = self.services.settings.source
        stamp, found = _stamp(source), self._find_logins()
        # A new login may add a provider. A login that disappears leaves its provider, which reports that.
        if stamp == self._seen and not found > self._logins:
            self._logins = found
            return
        if (stamp, found) != self._unsettled:
            self._unsettled = (stamp, found)
            return
        self._seen, self._logins = stamp, found
        self.reload(lambda: self._load_changed(source))

    def follow_keys(self) -> None:
        """Looks once at the client keys made by command, and sends a sign of life to those who share the limits."""
        if self._made_keys.follow(self.accounts):
            self._made_keys.give(self.services.access, self.services.settings)
        if self._limiter is not None or self.services.settings.shared.redis is not None:
            self.limiter.counts.beat()

    def _load_changed(self, source: Path | None) -> Settings:
        hollow = source is not None and is_blank_file(source)
        if hollow and self._had_content:
            raise ConfigError(f"{source} is empty; restore the settings, or restart to run without any")
        settings = load_settings(source, self._environ, {})
        self._had_content = not hollow
        return settings

    def reload(self, load: Callable[[], Settings]) -> None:
        """Builds new services from a changed configuration. If it is wrong, keeps the old ones and notes why."""
        old = self.services
        try:
            services = build_services(
                load(), self._environ, home_folder(self._environ), old, self.observers.recorder, self._find_limiter
            )
            self.observers.apply_settings(services.settings, old.settings)
        except ConfigError as error:
            self.problem = str(error)
            self.workers.note_reload(Reload(time.time(), tuple(map(str, error.faults))))
            log.warning("the changed configuration was rejected: %s", error)
            return
        except Exception as fault:
            self.problem = f"it failed to load ({type(fault).__name__}); see the log"
            self.workers.note_reload(Reload(time.time(), (self.problem,)))
            log.error("the changed configuration was rejected", exc_info=fault)
            return
        self.problem = None
        self._kinds = {name: provider.settings.kind for name, provider in services.providers.items()}
        self.plain_paths.clear()
        self._release_credentials(old)
        self._watch_credentials(services)
        if _log_settings(services) != _log_settings(old):
            start_logs(services.settings.server)
        self._made_keys.give(services.access, services.settings)
        if services.settings.shared != old.settings.shared:
            self._limiter = None
        self.services = services
        self.file_text = read_file(services.settings.source)
        self._retire(old)
        before, now = old.settings.server, services.settings.server
        late = [name for name in NEEDS_RESTART if getattr(before, name) != getattr(now, name)]
        self.workers.note_reload(Reload(time.time(), late=tuple(f"server.{name}" for name in late)))
        if late:
            log.warning(
                "the changed configuration is in force, except server.%s: send SIGHUP to apply it", ", ".join(late)
            )
        else:
            log.info("the changed configuration is in force")

    def _find_troubles(self) -> list[Alert]:
        services = self.services
        budgets = [each for each in self.find_limited() if any(limit.kind == "budget" for limit in each.limits)]
        return [
            *find_troubles(services.providers, self.loops, services.ledger, self.problem, time.time()),
            *(find_spent_budgets(read_use(budgets, self.limiter.counts)) if budgets else ()),
        ]

    def _retire(self, old: Services) -> None:
        """Notes the parts of an old configuration, to be closed when the last request that began with it has ended."""
        if old.background is not self.services.background:
            self._old_backgrounds.append(old.background)
        now = {id(part) for part in _closable(self.services)}
        self._old_parts += [weakref.ref(part) for part in _closable(old) if id(part) not in now]

    def _let_go(self) -> None:
        """Closes the parts of earlier configurations once no background work uses them. Repeats this while requests
        refer to them, since these may open them again."""
        if not self._old_backgrounds and not self._old_parts:
            return
        self._old_backgrounds = [background for background in self._old_backgrounds if background.busy]
        if self._old_backgrounds:
            return
        for reference in self._old_parts:
            part = reference()
            if part is not None:
                part.close()
            del part
        gc.collect()
        self._old_parts = [reference for reference in self._old_parts if reference() is not None]

    def _find_logins(self) -> frozenset[Path]:
        """The existing ones of the login files that `dragoman login` writes."""
        home = home_folder(self._environ)
        return frozenset(path for path in (own_oca_file(home), *find_claude_files(self._environ, home)) if exists(path))

    def _watch_credentials(self, services: Services) -> None:
        for provider in services.providers.values():
            if provider.source is not None:
                self._watcher.watch(provider.source)

    def _release_credentials(self, services: Services) -> None:
        for provider in services.providers.values():
            if provider.source is not None:
                self._watcher.release(provider.source)


def _closable(services: Services) -> list[Ledger | Transport]:
    """The parts that hold connections or files."""
    own = (provider.transport for provider in services.providers.values())
    transports = {id(transport): transport for transport in (services.transport, *own)}
    return [services.ledger, *transports.values()]


def _log_settings(services: Services) -> tuple[object, ...]:
    server = services.settings.server
    return (
        *(server.log_level, server.log_format),
        *(server.log_file, server.log_file_mb, server.log_files, server.log_days),
    )


def _stamp(path: Path | None) -> object:
    if path is None:
        return None
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def read_file(path: Path | None) -> str:
    """The configuration file as it is now; empty if there is none that can be read."""
    try:
        return "" if path is None else read_text(path)
    except ConfigError:
        return ""
