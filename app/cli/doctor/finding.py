"""The subject of the doctor's checks, and their findings."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

from msgspec import Struct

from app.cli.options import check_hooks
from app.errors import ConfigError
from app.routing.build import Routing, build_routing
from app.settings import Settings, load_settings
from app.settings.places import home_folder

Level = Literal["ok", "note", "warning", "error"]


class Finding(Struct, frozen=True):
    """`check` is the subject, in a word or two; `remedy` is a command to run or a line to change, if there is one."""

    level: Level
    check: str
    what: str
    remedy: str | None = None


class Subject(Struct, frozen=True):
    """One machine's setup. `settings` is None if they cannot be read, `routing` if it cannot be built from them;
    `fault` says why. `now` is in unix seconds."""

    environ: Mapping[str, str]
    home: Path
    folder: Path
    now: float
    settings: Settings | None = None
    routing: Routing | None = None
    fault: ConfigError | None = None

    def show(self, path: Path) -> str:
        return f"~/{path.relative_to(self.home)}" if path.is_relative_to(self.home) else str(path)


Check = Callable[[Subject], Iterable[Finding]]


@contextlib.contextmanager
def open_subject(path: Path | None, now: float) -> Iterator[Subject]:
    """The setup as `serve` would read it here; connections made by checks are closed at the end."""
    environ = os.environ
    home = home_folder(environ)
    settings, routing, fault = None, None, None
    try:
        settings = load_settings(path, environ, {})
        check_hooks(settings)
        routing = build_routing(settings, environ, home)
    except ConfigError as error:
        fault = error
    try:
        yield Subject(environ, home, Path.cwd(), now, settings, routing, fault)
    finally:
        if routing is not None:
            routing.transport.close()
