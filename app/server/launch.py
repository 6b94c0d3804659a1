"""The script that `dragoman serve` becomes: gunicorn with our settings.

It is run by its path, not imported: gevent must patch the standard library before anything else of ours is loaded.
For the same reason, and because a user's folder may hold an `app` or a `wsgi` of its own, it does not use gunicorn's
command, which puts the working folder first among the places that modules come from.
"""

# ruff: noqa: E402
from gevent import monkey

monkey.patch_all()

import argparse
import os
import subprocess
import sys
from typing import Any

from gunicorn.app.base import BaseApplication

from app.credentials.oauth.browser import has_browser
from app.errors import ConfigError
from app.server.gunicorn_settings import gunicorn_options
from app.settings import Settings, load_settings


class Gateway(BaseApplication):  # type: ignore[misc]
    """gunicorn's view of the gateway. A reload (HUP) while the configuration is broken keeps the last good one.

    gunicorn would end, with every stream, when its master cannot read the settings or a new worker cannot start.
    """

    def __init__(self, *, reload: bool, page: str | None) -> None:
        self.known: list[Settings] = []  # everything that could be read so far, the newest first
        self.watch_code = reload
        self.page = page
        super().__init__()

    def load_config(self) -> None:
        try:
            self.known.insert(0, load_settings(None, os.environ, {}))
        except ConfigError as error:
            if not self.known:
                raise
            _complain(error)
        for name, value in gunicorn_options(self.known[0].server).items():
            self.cfg.set(name, value)
        self.cfg.set("reload", self.watch_code)
        if self.page is not None:
            self.cfg.set("when_ready", self.show_page)

    def show_page(self, _arbiter: Any) -> None:
        """Opens the page in the user's browser, once: gunicorn calls this again after each reload."""
        if self.page is not None and has_browser(os.environ):
            # A process of its own: some browsers are waited for until they are closed.
            subprocess.Popen([sys.executable, "-P", "-m", "webbrowser", self.page], stdout=subprocess.DEVNULL)
        elif self.page is not None:
            print(f"dragoman: log in at {self.page}")
        self.page = None

    def load(self) -> Any:
        # Imported in the worker, so that --reload sees changed code.
        from app import create_app

        for settings in self.known[:-1]:
            try:
                return create_app(settings)
            except ConfigError as error:
                _complain(error)
        return create_app(self.known[-1])


def _complain(error: ConfigError) -> None:
    print(f"dragoman: the configuration is broken, the last good one stays: {error}", file=sys.stderr)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--reload", action="store_true")
    parser.add_argument("--open", dest="page", metavar="URL")
    Gateway(**vars(parser.parse_args())).run()
