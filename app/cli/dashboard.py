"""`dragoman dashboard`: opens the dashboard in the browser."""

from __future__ import annotations

import os
from pathlib import Path

import click

from app.cli.options import config_option, read_settings
from app.cli.serving.start_screen import base_url
from app.cli.terminal import echo
from app.credentials.oauth.browser import open_browser


@click.command()
@config_option
@click.option("--no-browser", is_flag=True, help="Only print the address.")
def dashboard(path: Path | None, no_browser: bool) -> None:
    """Open the dashboard of the gateway on this machine.

    If the gateway requires no client keys, the address contains a token that works once, within five minutes.
    """
    from app.cli.accounts.reading import requires_key
    from app.dashboard.tickets import issue_ticket

    settings = read_settings(path)
    server = settings.server
    if not server.dashboard:
        raise click.ClickException("the dashboard is off; set server.dashboard to true to turn it on")
    if server.host.startswith("unix:"):
        raise click.ClickException(
            "server.host is a Unix socket, which browsers cannot open; set it to an address such as 127.0.0.1"
        )
    url = f"{base_url(server)}/_/"
    if requires_key(settings):
        echo("sign in with a client key", err=True)
    else:
        try:
            url += f"enter?token={issue_ticket()}"
        except OSError as error:
            raise click.ClickException(f"cannot store the token: {error.strerror or error}") from error
    echo(url)
    if not no_browser:
        open_browser(url, os.environ)
