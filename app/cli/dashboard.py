"""`dragoman dashboard`: opens the dashboard in the browser."""

from __future__ import annotations

import os
from pathlib import Path

import click

from app.cli.options import config_option, read_settings
from app.cli.serving.start_screen import base_url
from app.credentials.oauth.browser import open_browser


@click.command()
@config_option
@click.option("--no-browser", is_flag=True, help="Print the address only.")
def dashboard(path: Path | None, no_browser: bool) -> None:
    """Open the pages of the gateway that runs here.

    Where no client keys are asked for, the address holds a token that works once, within five minutes.
    """
    from app.dashboard.tickets import issue_ticket

    settings = read_settings(path)
    server = settings.server
    if not server.dashboard:
        raise click.ClickException("server.dashboard is false, so there is none")
    if server.host.startswith("unix:"):
        raise click.ClickException("server.host is a socket, which browsers cannot open")
    url = f"{base_url(server)}/_/"
    if server.api_keys or settings.keys:
        click.echo("sign in there with a client key", err=True)
    else:
        try:
            url += f"enter?token={issue_ticket()}"
        except OSError as error:
            raise click.ClickException(f"the token cannot be stored: {error.strerror or error}") from error
    click.echo(url)
    if not no_browser:
        open_browser(url, os.environ)
