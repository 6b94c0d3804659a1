"""Whose configuration file is believed: it can name programs to run, and send keys to any host."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from app.errors import ConfigError
from app.settings.tables import Settings

_WRITABLE = stat.S_IWGRP | stat.S_IWOTH


def check_found_file(path: Path) -> None:
    """Refuses a file of the working folder that somebody else may have put there or changed: nobody has named it, it
    was just found. Raises ConfigError with its path."""
    found = path.stat()
    if found.st_uid not in (os.geteuid(), 0):
        raise ConfigError(f"{path} belongs to another user, so it is not read; name it with --config if it is meant")
    if found.st_mode & _WRITABLE:
        raise ConfigError(f"{path} can be written by other users, so it is not read; run: chmod go-w {path}")


def check_programs(settings: Settings, path: Path) -> None:
    """Refuses programs that a file of the working folder names, unless it is the user's own. Raises ConfigError."""
    if path.stat().st_uid == os.geteuid():
        return
    for name, provider in settings.providers.items():
        for key in ("command", "cli_refresh"):
            if getattr(provider, key):
                raise ConfigError(
                    f"{path} is not your own file, so no program is run for it; name it with --config if it is meant",
                    key=f"providers.{name}.{key}",
                )
