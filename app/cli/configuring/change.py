"""Changes another program's file: with a preview and a backup, and atomically."""

from __future__ import annotations

import difflib
import shutil
from pathlib import Path

import click

from app.cli.terminal import echo
from app.credentials.stores.private_files import write_private
from app.known_secrets import known_secrets

BACKUP = ".before-dragoman"


def read_file(file: Path) -> str:
    """The text of a file; empty if it does not exist."""
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"{file} cannot be read: {error}") from error


def find_backup(file: Path) -> Path:
    """The path of the copy made before our first change."""
    return file.with_name(file.name + BACKUP)


def apply_change(file: Path, before: str, after: str, *, dry_run: bool) -> None:
    """Shows the difference and writes the file. Before the first change, a copy of the file is kept beside it."""
    if before == after:
        echo(f"{file}: nothing to change")
        return
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), str(file), str(file), lineterm="")
    echo(known_secrets.mask("\n".join(lines)))
    if dry_run:
        return
    backup = find_backup(file)
    try:
        # A link is kept: its target is changed.
        target = file.resolve()
        if target.exists() and not backup.exists():
            shutil.copy2(target, backup)
        # Only the user may read a new file, because it contains a key.
        write_private(target, after.encode(), target.stat().st_mode & 0o777 if target.exists() else 0o600)
    except OSError as error:
        raise click.ClickException(f"{file} cannot be written: {error.strerror}") from error
    echo(f"wrote {file}" + (f"; previous version: {backup}" if backup.exists() else ""))
