"""Describes credentials in words, for all commands."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from app.credentials.credential import SourceStatus

# Descriptions of providers without a credential of their own.
WITHOUT_CREDENTIAL = {"demo": "built in, needs no account", "claude_cli": "uses the Claude program's own login"}


def summarize_source(known: SourceStatus, now: float) -> str:
    """The state of a credential source, in a few words; `now` is in unix seconds."""
    if known.kind == "none":
        return "not logged in"
    if known.kind == "api_key":
        return "API key"
    if known.expires_at is not None and known.expires_at <= now:
        return "logged in, renewed at the next request" if known.renewable and not known.problem else "expired"
    return "logged in"


def show_place(place: str) -> str:
    """Where a credential is stored, with the user's home as `~`."""
    home = str(Path.home())
    return f"~{place.removeprefix(home)}" if place.startswith(f"{home}/") else place


def describe_expiry(expires_at: float, now: float) -> str:
    """The expiry date and the remaining time."""
    left = int(expires_at - now)
    return f"{describe_moment(expires_at)} ({describe_seconds(left) + ' left' if left > 0 else 'over'})"


def describe_moment(seconds: float) -> str:
    """A unix time in this machine's time zone."""
    return f"{datetime.fromtimestamp(seconds, UTC).astimezone():%Y-%m-%d %H:%M}"


def describe_seconds(seconds: int) -> str:
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
