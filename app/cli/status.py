"""Is `dragoman status`: who is logged in where, and for how long. It never shows a token."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import click

from app.cli.options import config_option, open_session, read_settings
from app.cli.start_screen import WITHOUT_CREDENTIAL
from app.credentials.credential import SourceStatus
from app.credentials.sources import open_source


@click.command()
@config_option
def status(path: Path | None) -> None:
    """Show each provider's account, plan, expiry and source. Nothing is sent and nothing is renewed."""
    show_status(path)


def show_status(path: Path | None) -> None:
    """The command itself, for its aliases too."""
    all_settings = read_settings(path)
    for name, settings in all_settings.providers.items():
        source = open_source(settings, os.environ, Path.home(), partial(open_session, all_settings))
        if source is None:
            click.echo(f"{name}: {WITHOUT_CREDENTIAL.get(settings.kind, 'needs no credential of its own')}")
            continue
        for line in describe_source(name, source.describe(), time.time()):
            click.echo(line)


def describe_source(name: str, known: SourceStatus, now: float) -> Iterator[str]:
    """The lines about one provider; `now` is in unix seconds."""
    yield f"{name}: {_summarize(known, now)}"
    rows = {
        "account": known.account,
        "plan": known.plan.upper() if known.plan else None,
        "expires": _describe_expiry(known.expires_at, now),
        "renewal": None if known.kind != "access_token" else "by itself" if known.renewable else "by a new login only",
        "source": known.source,
        "problem": known.problem,
    }
    for title, value in rows.items():
        if value:
            yield f"  {title:<9}{value}"


def _summarize(known: SourceStatus, now: float) -> str:
    if known.kind == "none":
        return "not logged in"
    if known.kind == "api_key":
        return "API key"
    if known.expires_at is not None and known.expires_at <= now:
        return "logged in, renewed at the next request" if known.renewable and not known.problem else "expired"
    return "logged in"


def _describe_expiry(expires_at: float | None, now: float) -> str | None:
    if expires_at is None:
        return None
    moment = datetime.fromtimestamp(expires_at, UTC).astimezone()
    left = int(expires_at - now)
    return f"{moment:%Y-%m-%d %H:%M} ({_describe_seconds(left) + ' left' if left > 0 else 'over'})"


def _describe_seconds(seconds: int) -> str:
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
