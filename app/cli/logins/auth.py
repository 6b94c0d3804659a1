"""`dragoman auth`: the login commands under ccproxy's names."""

from __future__ import annotations

from pathlib import Path

import click

from app.cli.logins.login import log_in, log_out
from app.cli.logins.status import status
from app.cli.options import config_option, json_option, print_json, read_settings
from app.cli.terminal import echo
from app.credentials.oauth.login_choice import offer_logins

_no_browser = click.option(
    "--no-browser", is_flag=True, help="Only print the address, which you can open on any machine."
)


@click.group()
def auth() -> None:
    """Other names for the commands login, logout and status."""


auth.add_command(status)


@auth.command("login")
@config_option
@_no_browser
@click.argument("provider", default="claude")
def login_claude(path: Path | None, no_browser: bool, provider: str) -> None:
    """Sign in to PROVIDER (claude)."""
    log_in(path, provider, no_browser=no_browser)


@auth.command("login-openai")
@config_option
@_no_browser
def login_openai(path: Path | None, no_browser: bool) -> None:
    """Sign in to ChatGPT, for Codex."""
    log_in(path, "codex", no_browser=no_browser)


@auth.command("logout")
@config_option
@click.argument("provider", default="claude")
def logout_provider(path: Path | None, provider: str) -> None:
    """Forget the login of PROVIDER (claude)."""
    log_out(path, provider)


@auth.command("providers")
@config_option
@json_option
def list_providers(path: Path | None, as_json: bool) -> None:
    """List the providers that you can log in to, one per line."""
    names = list(offer_logins(read_settings(path).providers))
    if as_json:
        print_json(names)
        return
    for name in names:
        echo(name)
