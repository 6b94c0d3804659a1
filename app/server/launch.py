"""Runs gunicorn with our settings; `dragoman serve` becomes this.

gevent must patch the standard library before anything else of ours is loaded, so `dragoman.py` does that first. With
`--reload` this module is run as a script instead, for the workers to find nothing loaded. It does not use gunicorn's
command, which puts the working folder first among the places that modules come from; a user's folder may hold an `app`
or a `wsgi` of its own.
"""

# ruff: noqa: E402
import gc
import os
import signal

# What is imported stays: looking through it for garbage again and again takes a twelfth of a start.
gc.disable()
# Without standard streams the first files and sockets of ours would get their numbers, and the lines of the log.
for descriptor in (0, 1, 2):
    try:
        os.fstat(descriptor)
    except OSError:
        os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
# Until gunicorn's master listens to signals, Ctrl-C ends this process without a word.
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
from app.server.connections.slots import ENOUGH, most_connections, raise_descriptor_limit
from app.server.gunicorn_settings import WORKER_CONNECTIONS, gunicorn_options
from app.server.master import Master
from app.server.ports import check_port
from app.settings import Settings, load_settings
from app.settings.loading import is_hollow

# Settings of earlier reloads that a new worker tries, should the newest fail it.
MOST_KNOWN = 4


class Gateway(BaseApplication):  # type: ignore[misc]
    """gunicorn's view of the gateway. A reload (HUP) while the configuration is broken keeps the last good one.

    gunicorn would end, with every stream, when its master cannot read the settings or a new worker cannot start.
    """

    def __init__(self, *, reload: bool, page: str | None, for_agent: bool) -> None:
        self.known: list[Settings] = []  # everything that could be read so far, the newest first
        self.had_content = False
        self.problem: str | None = None
        self.master = os.getpid()
        self.watch_code = reload
        self.page = page
        self.parent = os.getppid() if for_agent else None
        super().__init__()

    def load_config(self) -> None:
        fresh = self._read()
        if fresh is not None:
            self.known.insert(0, fresh)
        del self.known[MOST_KNOWN:]
        for name, value in gunicorn_options(self.known[0].server).items():
            self.cfg.set(name, value)
        self.cfg.set("reload", self.watch_code)
        if self.page is not None:
            self.cfg.set("when_ready", self.show_page)

    def run(self) -> None:
        if not self.watch_code:
            # Workers share what their master has loaded, and begin in a moment.
            import app.application
            import app.server.worker  # noqa: F401

            gc.collect()
            gc.freeze()
        gc.enable()
        Master(self, self.parent).run()

    def _read(self) -> Settings | None:
        """The settings of now; None for such as a start would refuse, while older ones are in force."""
        try:
            settings = load_settings(None, os.environ, {})
            if self.known:
                self._check_change(settings)
        except ConfigError as error:
            if not self.known:
                raise
            self._complain(str(error))
        except Exception as fault:
            if not self.known:
                raise
            self._complain(f"{type(fault).__name__}: {fault}"[:500])
        else:
            self.problem = None
            self.had_content = not _says_nothing(settings)
            return settings
        return None

    def _complain(self, said: str) -> None:
        self.problem = said
        print(f"dragoman: the configuration is broken, the last good one stays: {said}", file=sys.stderr)

    def _check_change(self, settings: Settings) -> None:
        """Raises ConfigError for what would end the master only after the old workers have gone."""
        before, now = self.known[0], settings
        if self.had_content and _says_nothing(now):
            raise ConfigError(f"{now.source} is empty; write the settings again, or restart to run without any")
        for name, value in gunicorn_options(now.server).items():
            Config().set(name, value)
        if os.getpid() == self.master and _place(before) != _place(now):
            check_port(now.server)

    def show_page(self, _arbiter: Any) -> None:
        """Opens the page in the user's browser, once: gunicorn calls this again after each reload."""
        if self.page is not None and has_browser(os.environ):
            # A process of its own: some browsers are waited for until they are closed.
            subprocess.Popen([sys.executable, "-P", "-m", "webbrowser", self.page], stdout=subprocess.DEVNULL)
        elif self.page is not None:
            print(f"dragoman: log in at {self.page}")
        self.page = None

    def load(self) -> Any:
        # What has changed since the master has looked counts for a worker that takes another one's place.
        fresh = self._read()
        for settings in (*([fresh] if fresh else []), *self.known[:-1]):
            try:
                return self._build(settings)
            except ConfigError as error:
                self._complain(str(error))
            except Exception as fault:
                self._complain(f"{type(fault).__name__}: {fault}"[:500])
        return self._build(self.known[-1])

    def _build(self, settings: Settings) -> Any:
        # Until `start_worker`, as above.
        gc.disable()
        from app.application import build_application

        application = build_application(settings)
        application.runtime.problem = self.problem
        return application


def tell_descriptors() -> None:
    """Takes what file descriptors there are, and says so where they are few."""
    descriptors = raise_descriptor_limit()
    if descriptors < ENOUGH:
        most = most_connections(descriptors, WORKER_CONNECTIONS)
        print(
            f"dragoman: only {descriptors} file descriptors are allowed, so a worker serves {most} connections at a "
            "time; raise the limit with ulimit -n, or LimitNOFILE of systemd",
            file=sys.stderr,
        )


def _place(settings: Settings) -> tuple[str, int]:
    return settings.server.host, settings.server.port


def _says_nothing(settings: Settings) -> bool:
    return settings.source is None or is_hollow(settings.source)


def main(arguments: Sequence[str] | None = None) -> None:
    """Becomes the master, and ends the process. `arguments` are the process's own where none are given."""
    guard_standard_streams()
    parser = argparse.ArgumentParser()
    parser.add_argument("--reload", action="store_true")
    parser.add_argument("--open", dest="page", metavar="URL")
    parser.add_argument("--for-agent", action="store_true")
    gateway = Gateway(**vars(parser.parse_args(arguments)))
    tell_descriptors()
    gateway.run()


if __name__ == "__main__":
    main()
