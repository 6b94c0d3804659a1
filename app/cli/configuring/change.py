"""Changes another program's file: with a preview and a backup, and atomically."""

from __future__ import annotations

import difflib
import shutil
from collections.abc import Callable
from pathlib import Path

import click

from app.cli.terminal import echo
from app.credentials.stores.private_files import write_private
from app.known_secrets import known_secrets

# The ends of the names of two copies: of the file before our first change, and after our last one.
BACKUP, WRITTEN = ".before-dragoman", ".by-dragoman"


def read_file(file: Path) -> str:
    """The text of a file; empty if it does not exist."""
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"{file} cannot be read: {error}") from error


def find_copy(file: Path, kind: str) -> Path:
    return file.with_name(file.name + kind)


def apply_change(file: Path, before: str, after: str, *, dry_run: bool) -> None:
    """Shows the difference and writes the file. Copies beside it tell how it was before the first change, and what we
    wrote."""
    if before == after:
        echo(f"{file}: nothing to change")
        return
    _show(file, before, after)
    if dry_run:
        return
    backup = find_copy(file, BACKUP)
    try:
        # A link is kept: its target is changed.
        target = file.resolve()
        if target.exists() and not find_copy(file, WRITTEN).exists():
            shutil.copy2(target, backup)
        # First, so that a crash leaves nothing that could not be undone.
        write_private(find_copy(file, WRITTEN), after.encode(), 0o600)
        _write(target, after)
    except OSError as error:
        raise click.ClickException(f"{file} cannot be written: {error.strerror}") from error
    echo(f"wrote {file}" + (f"; previous version: {backup}" if backup.exists() else ""))


def undo_change(file: Path, unset: Callable[[str, str, str], str], *, dry_run: bool) -> None:
    """Shows and writes the file without our changes, and removes the copies. If nobody else has changed it, it becomes
    what it was, to the byte."""
    backup, written = find_copy(file, BACKUP), find_copy(file, WRITTEN)
    if not written.exists():
        echo(f"{file}: nothing to change; `dragoman configure` has not changed it")
        return
    before, original, ours = read_file(file), read_file(backup), read_file(written)
    after = original if before == ours else unset(before, original, ours)
    _show(file, before, after)
    if dry_run:
        return
    try:
        if after or backup.exists():
            _write(file.resolve(), after)
        else:
            file.resolve().unlink(missing_ok=True)  # there was none
        for copy in (backup, written):
            copy.unlink(missing_ok=True)
    except OSError as error:
        raise click.ClickException(f"{file} cannot be written: {error.strerror}") from error
    echo(f"wrote {file}" if file.exists() else f"removed {file}")


def _show(file: Path, before: str, after: str) -> None:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), str(file), str(file), lineterm="")
    echo(known_secrets.mask("\n".join(lines)))


def _write(target: Path, text: str) -> None:
    # Only the user may read a new file, because it contains a key.
    write_private(target, text.encode(), target.stat().st_mode & 0o777 if target.exists() else 0o600)
