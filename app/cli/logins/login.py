"""`dragoman login` signs in to a provider in the browser, and `dragoman logout` removes the login."""

from __future__ import annotations

import io
import os
import select
import sys
import time
from functools import partial
from pathlib import Path

import click

from app.cli.logins.credential_words import describe_moment
from app.cli.options import complete_providers, config_option, open_session, read_settings
from app.cli.terminal import echo
from app.credentials.oauth.browser import open_browser
from app.credentials.oauth.callback_listener import CallbackListener
from app.credentials.oauth.login_choice import choose_login
from app.credentials.oauth.login_flow import LoginFailed, LoginFlow, open_flow
from app.credentials.oauth.pending_login import LIFETIME, PendingLogin, read_pasted
from app.credentials.oauth.token_endpoint import OpenSession
from app.credentials.sources import open_source
from app.credentials.tokens import Tokens
from app.settings import ProviderSettings

# Seconds between two checks of the terminal while waiting for the browser.
_STEP = 0.2


@click.command()
@config_option
@click.option("--no-browser", is_flag=True, help="Only print the address, which you can open on any machine.")
@click.argument("provider", required=False, shell_complete=complete_providers)
def login(path: Path | None, no_browser: bool, provider: str | None) -> None:
    """Sign in to PROVIDER (oca, claude, codex, or a configured name) in the browser.

    If the browser cannot reach this machine, paste the code or the whole address it ended on. A running gateway picks
    up the login within ten seconds.
    """
    log_in(path, provider, no_browser=no_browser)


def log_in(path: Path | None, provider: str | None, *, no_browser: bool = False) -> None:
    """The command itself, also used by its aliases. Ends with an error if nobody signs in."""
    all_settings = read_settings(path)
    providers = all_settings.providers
    name, settings = choose_login(provider, providers)
    way = partial(open_session, all_settings, name, settings)
    flow = open_flow(settings, os.environ, Path.home(), way)
    try:
        tokens = _sign_in(flow, name, no_browser=no_browser)
    except LoginFailed as error:
        raise click.ClickException(f"{error.title}: {error}") from error
    echo(_describe(name, flow, tokens))
    if name not in providers and any(each != "demo" for each in providers):
        echo(
            f'Note: no provider in the settings uses this login; add [providers.{name}] with kind = "{settings.kind}".'
        )
    elif (used := find_used(settings, way)) not in (None, flow.login.label):
        echo(f"Note: requests use {used}, which takes precedence over this login.")


def find_used(settings: ProviderSettings, way: OpenSession) -> str | None:
    """Where requests to this provider get their credential from; None if they have none."""
    source = open_source(settings, os.environ, Path.home(), way)
    status = source.describe() if source is not None else None
    return status.source if status is not None and status.kind != "none" else None


def _sign_in(flow: LoginFlow, name: str, *, no_browser: bool) -> Tokens:
    try:
        listener = CallbackListener(flow.loopback_redirects, flow.finish)
    except OSError:
        # No way back to this machine, or every port is taken: the code must be pasted.
        pending = flow.begin()
        _show_address(name, pending, no_browser=no_browser)
        return flow.finish(
            read_pasted(click.prompt("Paste the code, or the address that the browser ended on")), pending
        )
    with listener:
        pending = flow.begin(listener.redirect_uri)
        _show_address(name, pending, no_browser=no_browser)
        echo("Waiting for the browser. If it cannot reach this machine, paste the address it ended on.")
        return _await_browser(flow, pending, listener)


def _show_address(name: str, pending: PendingLogin, *, no_browser: bool) -> None:
    echo(f"Sign in to {name} at:\n\n{pending.authorize_url}\n")
    if not no_browser and open_browser(pending.authorize_url, os.environ):
        echo("Your browser has been opened there.")


def _await_browser(flow: LoginFlow, pending: PendingLogin, listener: CallbackListener) -> Tokens:
    deadline = time.monotonic() + LIFETIME
    can_paste = _is_selectable()
    while time.monotonic() < deadline:
        tokens = listener.wait(0 if can_paste else _STEP)
        if tokens is not None:
            return tokens
        if can_paste and select.select([sys.stdin], [], [], _STEP)[0]:
            line = sys.stdin.readline()
            can_paste = bool(line)
            if line.strip():
                return flow.finish(read_pasted(line), pending)
    raise click.ClickException(f"nobody signed in within {LIFETIME / 60:.0f} minutes; run the command again")


def _is_selectable() -> bool:
    try:
        sys.stdin.fileno()
    except (AttributeError, io.UnsupportedOperation):
        return False
    return True


def _describe(name: str, flow: LoginFlow, tokens: Tokens) -> str:
    who = f" as {tokens.account}" if tokens.account else ""
    plan = f" ({tokens.plan})" if tokens.plan else ""
    lines = [f"Logged in to {name}{who}{plan}.", f"Saved in {flow.login.label}; it is renewed automatically."]
    if tokens.expires_at is not None:
        lines.insert(1, f"The access token is valid until {describe_moment(tokens.expires_at)}.")
    return "\n".join(lines)


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
