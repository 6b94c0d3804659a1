"""Decides which configuration files to trust: one can name programs to run and hosts to send keys to."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path

from app.errors import ConfigError
from app.settings.tables import Settings


def check_found_file(path: Path) -> None:
    """Refuses a file found in the working folder, not named by the user, that another user may have written. Raises
    ConfigError with its path."""
    found = path.stat()
    if found.st_uid not in (os.geteuid(), 0):
        raise ConfigError(f"{path} belongs to another user, so it is not read; if you trust it, name it with --config")
    if found.st_mode & stat.S_IWOTH or (found.st_mode & stat.S_IWGRP and not _is_own_group(found)):
        raise ConfigError(f"{path} is writable by other users, so it is not read; run: chmod go-w {path}")


def _is_own_group(found: os.stat_result) -> bool:
    """Whether a file's group is its owner's private group, with no other member. Many systems create one for each user
    and make the user's files writable for it."""
    try:
        user = pwd.getpwuid(found.st_uid)
        group = grp.getgrgid(found.st_gid)
    except KeyError:
        return False
    alone = all(member == user.pw_name for member in group.gr_mem)
    return found.st_uid != 0 and found.st_gid == user.pw_gid and group.gr_name == user.pw_name and alone


def check_programs(settings: Settings, path: Path) -> None:
    """Refuses a found configuration file that names programs to run but belongs to another user. Raises ConfigError."""
    if path.stat().st_uid == os.geteuid():
        return
    for name, provider in settings.providers.items():
        runs = {"command": provider.command, "cli_refresh": provider.cli_refresh, "mcp_config": provider.mcp_config}
        for key, value in {**runs, "tools": provider.tools == "own"}.items():
            if value:
                raise ConfigError(
                    f"{path} is not your own file, so its programs are not run; if you trust it, name it with --config",
                    key=f"providers.{name}.{key}",
                )
