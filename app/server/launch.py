"""Runs gunicorn with our settings. `dragoman serve` turns into this.

gevent must patch the standard library before any other module of ours is loaded, so `dragoman.py` does that first. With
`--reload`, this module is run as a script instead, so that workers start with nothing loaded. gunicorn's own command is
not used: it puts the working folder first in the module path, and a user's folder may contain another `app` or `wsgi`.
"""

# ruff: noqa: E402
import gc
import os
import signal

# Imported modules are never garbage, and searching them again and again takes a twelfth of the start-up time.
gc.disable()
# If standard streams are closed, our first files and sockets would get their numbers, and the lines of the log.
for descriptor in (0, 1, 2):
    try:
        os.fstat(descriptor)
    except OSError:
        os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
# Until gunicorn's master handles signals, Ctrl-C ends this process silently.
signal.signal(signal.SIGINT, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})

from app.patching import prepare_process

prepare_process()

import argparse
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.config import Config

from app.credentials.oauth.browser import has_browser
from app.errors import ConfigError
from app.log_target import guard_standard_streams
from app.server.connections.slots import ENOUGH, max_connections, raise_descriptor_limit
from app.server.gunicorn_settings import WORKER_CONNECTIONS, gunicorn_options
from app.server.master import Master
from app.server.ports import check_port
from app.settings import Settings, load_settings
from app.settings.places import is_blank_file

# The most settings that are kept, so that a new worker can fall back to earlier ones if the newest fail.
MAX_KNOWN = 4


class Gateway(BaseApplication):  # type: ignore[misc]
    """The gateway as a gunicorn application. A reload (HUP) with a broken configuration keeps the last good one.

    gunicorn itself would end, with all streams, if its master cannot read the settings or a new worker cannot start.
    """

    def __init__(self, *, reload: bool, page: str | None, for_agent: bool) -> None:
        self.known: list[Settings] = []  # the valid settings read so far, newest first
        self.had_content = False
        self.problem: str | None = None
        self.reloading = False
        self.master = os.getpid()
        self.watch_code = reload
        self.page = page
        self.parent = os.getppid() if for_agent else None
        super().__init__()

    def load_config(self) -> None:
        fresh = self._read()
        if fresh is not None:
            self.known.insert(0, fresh)
        del self.known[MAX_KNOWN:]
        for name, value in gunicorn_options(self.known[0].server).items():
            self.cfg.set(name, value)
        self.cfg.set("reload", self.watch_code)
        if self.page is not None:
            self.cfg.set("when_ready", self.show_page)

    def run(self) -> None:
        if not self.watch_code:
            # Loaded in the master, so that workers share the memory and start at once.
            import app.application
            import app.server.worker  # noqa: F401

            gc.collect()
            gc.freeze()
        gc.enable()
        Master(self, self.parent).run()

    def _read(self) -> Settings | None:
        """The current settings, or None if they are invalid but older ones are in force. The first time, raises."""
        try:
            settings = load_settings(None, os.environ, {})
            if self.known:
                self._check_change(settings)
        except Exception as fault:
            if not self.known:
                raise
            self._report_problem(fault)
        else:
            self.problem = None
            self.had_content = not _is_unconfigured(settings)
            return settings
        return None

    def _report_problem(self, fault: Exception) -> None:
        self.problem = str(fault) if isinstance(fault, ConfigError) else f"{type(fault).__name__}: {fault}"[:500]
        message = f"the configuration is broken, so the last good one stays in force: {self.problem}"
        print(f"dragoman: {message}", file=sys.stderr)

    def _check_change(self, settings: Settings) -> None:
        """Raises ConfigError for changes that would make the master fail after the old workers have ended."""
        before, now = self.known[0], settings
        if self.had_content and _is_unconfigured(now):
            raise ConfigError(f"{now.source} is empty; restore the settings, or restart to run without any")
        for name, value in gunicorn_options(now.server).items():
            Config().set(name, value)
        if os.getpid() == self.master and _place(before) != _place(now):
            check_port(now.server)

    def show_page(self, _arbiter: Any) -> None:
        """Opens the page in the user's browser, once: gunicorn calls this again after each reload."""
        if self.page is not None and has_browser(os.environ):
            # In a separate process: some browsers block until they are closed.
            subprocess.Popen([sys.executable, "-P", "-m", "webbrowser", self.page], stdout=subprocess.DEVNULL)
        elif self.page is not None:
            print(f"dragoman: log in at {self.page}")
        self.page = None

    def load(self) -> Any:
        # A worker that replaces another one uses changes that the master has not read yet.
        fresh = self._read()
        for settings in (*([fresh] if fresh else []), *self.known[:-1]):
            try:
                return self._build(settings)
            except Exception as fault:
                self._report_problem(fault)
        return self._build(self.known[-1])

    def _build(self, settings: Settings) -> Any:
        # Enabled again by `start_worker`.
        gc.disable()
        from app.application import build_application

        application = build_application(settings)
        application.runtime.problem = self.problem
        return application


def check_descriptors() -> None:
    """Raises the limit of file descriptors as far as possible, and reports if it is still low."""
    descriptors = raise_descriptor_limit()
    if descriptors < ENOUGH:
        maximum = max_connections(descriptors, WORKER_CONNECTIONS)
        print(
            f"dragoman: only {descriptors} file descriptors are allowed, so a worker serves {maximum} connections at a "
            "time; raise the limit with ulimit -n, or LimitNOFILE of systemd",
            file=sys.stderr,
        )


def _place(settings: Settings) -> tuple[str, int]:
    return settings.server.host, settings.server.port


def _is_unconfigured(settings: Settings) -> bool:
    return settings.source is None or is_blank_file(settings.source)


def main(arguments: Sequence[str] | None = None) -> None:
    """Becomes the master, and ends the process. `arguments` default to those of the process."""
    guard_standard_streams()
    parser = argparse.ArgumentParser()
    parser.add_argument("--reload", action="store_true")
    parser.add_argument("--open", dest="page", metavar="URL")
    parser.add_argument("--for-agent", action="store_true")
    gateway = Gateway(**vars(parser.parse_args(arguments)))
    check_descriptors()
    gateway.run()


if __name__ == "__main__":
    main()
