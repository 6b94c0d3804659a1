"""This file holds the house that answers now, and builds another one when the configuration file changes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from app.credentials.watcher import Watcher
from app.errors import ConfigError
from app.house import House, build_house
from app.routing.mounts import strip_mount
from app.settings import Settings, load_settings
from app.transport import ActiveRequests

log = logging.getLogger("dragoman")

PERIOD = 1.0  # seconds between two looks at the configuration file


class Household:
    """`house` is replaced as a whole; `problem` says why a changed file was not taken over, None while all is well."""

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.house: House = build_house(settings, environ, Path.home())
        self.problem: str | None = None
        self.active = ActiveRequests()
        self._watcher = Watcher()
        self._kinds = {name: provider.settings.kind for name, provider in self.house.providers.items()}
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
        self._watch_credentials(self.house)
        self._watcher.start()
        source = self.house.settings.source
        if source is not None:
            threading.Thread(target=self._follow, args=(source, _stamp(source)), daemon=True).start()

    def _follow(self, source: Path, seen: object) -> None:
        while True:
            time.sleep(PERIOD)
            stamp = _stamp(source)
            if stamp != seen:
                seen = stamp
                self.reload(lambda: load_settings(source, self._environ, {}))

    def reload(self, load: Callable[[], Settings]) -> None:
        """Takes over a changed configuration, or keeps the old one and says why."""
        try:
            house = build_house(load(), self._environ, Path.home(), self.house)
        except ConfigError as error:
            self.problem = str(error)
            log.warning("the changed configuration was not taken over: %s", error)
            return
        self.problem = None
        self._kinds = {name: provider.settings.kind for name, provider in house.providers.items()}
        self._plain.clear()
        self._release_credentials(self.house)
        self._watch_credentials(house)
        self.house = house
        log.info("the changed configuration is in force")

    def _watch_credentials(self, house: House) -> None:
        for provider in house.providers.values():
            if provider.source is not None:
                self._watcher.watch(provider.source)

    def _release_credentials(self, house: House) -> None:
        for provider in house.providers.values():
            if provider.source is not None:
                self._watcher.release(provider.source)


def _stamp(path: Path) -> object:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
