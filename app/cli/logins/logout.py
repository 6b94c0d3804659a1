"""`dragoman logout`: removes a login."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import click

from app.cli.logins.login import find_used
from app.cli.options import complete_providers, config_option, open_session, read_settings
from app.cli.terminal import echo
from app.credentials.oauth.login_choice import choose_login
from app.credentials.oauth.login_flow import open_flow


@click.command()
@config_option
@click.argument("provider", required=False, shell_complete=complete_providers)
def logout(path: Path | None, provider: str | None) -> None:
    """Forget the login of PROVIDER (oca, claude, codex, or a configured name).

    Claude and Codex share their login with their own programs, so this logs those out too.
    """
    log_out(path, provider)


def log_out(path: Path | None, provider: str | None) -> None:
    """The command itself, also used by its aliases."""
    all_settings = read_settings(path)
    name, settings = choose_login(provider, all_settings.providers)
    way = partial(open_session, all_settings, name, settings)
    flow = open_flow(settings, os.environ, Path.home(), way)
    place = flow.login.label
    known = flow.login.stamp() is not None
    try:
        flow.log_out()
    except OSError as error:
        raise click.ClickException(f"cannot change {place}: {error.strerror or error}") from error
    echo(f"Logged out of {name}: {place}" if known else f"There was no login in {place}.")
    if (used := find_used(settings, way)) is not None:
        echo(f"Note: requests still use {used}.")
