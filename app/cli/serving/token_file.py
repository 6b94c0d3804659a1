"""Refuses to start with a token file that cannot work."""

from __future__ import annotations

from pathlib import Path

import click

from app.credentials.formats.login_format import check_tokens
from app.credentials.formats.oca_file import parse_login
from app.credentials.stores.login_store import FileStore


def check_token_file(path: Path) -> None:
    """Ends the command with exit code 1 and the cause if the file named by `--token` is unusable."""
    try:
        content = FileStore((path.expanduser(),)).read()
        if not content.strip():
            raise ValueError("the file is empty")
        check_tokens(parse_login(content))
    except OSError as error:
        raise _fatal(path, error.strerror or "not readable") from error
    except ValueError as error:
        raise _fatal(path, str(error)) from error


def _fatal(path: Path, cause: str) -> click.ClickException:
    return click.ClickException(f"FATAL: Could not perform initial load of token file {path}: {cause}")
