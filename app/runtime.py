"""Holds the house that answers now, and builds another one when the configuration file changes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from os.path import exists
from pathlib import Path
from typing import Any

import requests

from app.credentials.locations import find_claude_files, own_oca_file
from app.credentials.login_source import LoginSource
from app.credentials.watcher import Watcher
from app.errors import ConfigError
from app.gateway.body_budget import MEGABYTE, BodyBudget, default_budget
from app.logs import start_logs
from app.routing.mounts import strip_mount
from app.services import Services, build_services
from app.settings import Settings, load_settings
from app.transport import ActiveRequests

log = logging.getLogger("dragoman")

PERIOD = 1.0  # seconds between two looks at the configuration file


class Runtime:
    """`house` is replaced as a whole; `problem` says why a changed file was not taken over, None while all is well."""

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.services: Services = build_services(settings, environ, Path.home())
        self.problem: str | None = None
        self.active = ActiveRequests()
        server = settings.server
        most = server.bodies_mb * MEGABYTE if server.bodies_mb else default_budget(server.workers)
        self.bodies = BodyBudget(most)
        self._watcher = Watcher()
        self._kinds = {name: provider.settings.kind for name, provider in self.services.providers.items()}
        self._plain: set[str] = set()

    def unmount(self, environ: dict[str, Any]) -> None:
        """Rewrites the path of a mounted request; plain paths that were seen once cost one look-up."""
        path = environ["PATH_INFO"]
        if path in self._plain:
            return
        mounted = strip_mount(path, self._kinds)
        if mounted is None:
            return
        if mounted.path == path:
            if len(self._plain) < 64 and "models/" not in path:
                self._plain.add(path)
            return
        environ["PATH_INFO"] = mounted.path
        if mounted.provider is not None:
            environ["dragoman.provider"] = mounted.provider
        if mounted.session is not None:
            environ["dragoman.session"] = mounted.session

    def watch(self) -> None:
        """Starts the threads that follow the configuration and the credentials; to be called once in each worker."""
        self._watch_credentials(self.services)
        self._watcher.start()
        source = self.services.settings.source
        seen = _stamp(source)
        threading.Thread(target=self._follow, args=(source, seen, self._find_logins()), daemon=True).start()

    def take_up_login(self, name: str) -> None:
        """Use what the login of provider `name` is now, or is no more; other workers notice within seconds."""
        provider = self.services.providers.get(name)
        if provider is not None and isinstance(provider.source, LoginSource):
            provider.source.forget()
        else:
            self.reload(lambda: load_settings(self.services.settings.source, self._environ, {}))

    def find_session(self, name: str) -> requests.Session:
        """The way by which calls around the models of provider `name` go: logins, renewals."""
        provider = self.services.providers.get(name)
        return (provider.transport if provider is not None else self.services.transport).session

    def _follow(self, source: Path | None, seen: object, logins: frozenset[Path]) -> None:
        while True:
            time.sleep(PERIOD)
            stamp, found = _stamp(source), self._find_logins()
            # The first login there ever was may make a provider; one that goes leaves a provider that says so.
            changed = stamp != seen or found > logins
            seen, logins = stamp, found
            if changed:
                self.reload(lambda: load_settings(source, self._environ, {}))

    def reload(self, load: Callable[[], Settings]) -> None:
        """Takes over a changed configuration, or keeps the old one and says why."""
        try:
            services = build_services(load(), self._environ, Path.home(), self.services)
        except ConfigError as error:
            self.problem = str(error)
            log.warning("the changed configuration was not taken over: %s", error)
            return
        self.problem = None
        self._kinds = {name: provider.settings.kind for name, provider in services.providers.items()}
        self._plain.clear()
        self._release_credentials(self.services)
        self._watch_credentials(services)
        if _log_settings(services) != _log_settings(self.services):
            start_logs(services.settings.server)
        self.services = services
        log.info("the changed configuration is in force")

    def _find_logins(self) -> frozenset[Path]:
        """The login files that `dragoman login` writes, as far as they exist."""
        home = Path.home()
        return frozenset(path for path in (own_oca_file(home), *find_claude_files(self._environ, home)) if exists(path))

    def _watch_credentials(self, services: Services) -> None:
        for provider in services.providers.values():
            if provider.source is not None:
                self._watcher.watch(provider.source)

    def _release_credentials(self, services: Services) -> None:
        for provider in services.providers.values():
            if provider.source is not None:
                self._watcher.release(provider.source)


def _log_settings(services: Services) -> tuple[str, str]:
    return services.settings.server.log_level, services.settings.server.log_format


def _stamp(path: Path | None) -> object:
    if path is None:
        return None
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
