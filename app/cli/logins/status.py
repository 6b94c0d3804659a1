"""`dragoman status`: shows each provider's credential, expiry and recent outcomes. Never shows a token."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from app.cli.logins.credential_words import WITHOUT_CREDENTIAL, describe_expiry, summarize_source
from app.cli.options import config_option, json_option, open_session, read_settings
from app.cli.running_gateway import ask_providers
from app.credentials.credential import SourceStatus
from app.credentials.sources import open_source

if TYPE_CHECKING:
    from app.gateway.use_limits.in_force import LimitUse


@click.command()
@config_option
@json_option
def status(path: Path | None, as_json: bool) -> None:
    """Show each provider's account, plan, expiry and source.

    Nothing is sent to a provider and nothing is renewed; a gateway that runs here is asked how its requests fare.
    """
    from app.cli.accounts.uses import read_uses

    all_settings = read_settings(path)
    outcomes = ask_providers(all_settings)
    uses = read_uses(path)
    told: dict[str, object] = {}
    for name, settings in all_settings.providers.items():
        way = partial(open_session, all_settings, name, settings)
        source = open_source(settings, os.environ, Path.home(), way, name=name)
        if as_json:
            credential = msgspec.to_builtins(source.describe()) if source is not None else None
            own = [msgspec.to_builtins(use) for use in uses if (use.owner, use.name) == ("provider", name)]
            limits = {"limits": own} if own else {}
            told[name] = {"kind": settings.kind, "credential": credential, **limits, **outcomes.get(name, {})}
            continue
        if source is None:
            click.echo(f"{name}: {WITHOUT_CREDENTIAL.get(settings.kind, 'needs no credential of its own')}")
        else:
            for line in describe_source(name, source.describe(), time.time()):
                click.echo(line)
        entry = outcomes.get(name, {})
        for line in (*describe_outcomes(entry), *describe_accounts(entry)):
            click.echo(line)
        for line in describe_limits(uses, "provider", name):
            click.echo(line)
    if not as_json:
        for name in dict.fromkeys(use.name for use in uses if use.owner == "key"):
            click.echo(f"key {name}")
            for line in describe_limits(uses, "key", name):
                click.echo(line)
    if as_json:
        click.echo(json.dumps(told, indent=2))


def describe_source(name: str, known: SourceStatus, now: float) -> Iterator[str]:
    """The lines about one provider; `now` is in unix seconds."""
    yield f"{name}: {summarize_source(known, now)}"
    rows = {
        "account": known.account,
        "plan": known.plan.upper() if known.plan else None,
        "expires": None if known.expires_at is None else describe_expiry(known.expires_at, now),
        "renewal": None if known.kind != "access_token" else "by itself" if known.renewable else "by a new login only",
        "source": known.source,
        "problem": known.problem,
    }
    for title, value in rows.items():
        if value:
            yield f"  {title:<9}{value}"


def describe_outcomes(entry: Mapping[str, Any]) -> Iterator[str]:
    """The lines about the requests to one provider; `entry` is its part of /health."""
    if isinstance(when := entry.get("last_success"), str):
        yield f"  {'success':<9}last at {when}"
    for title, name in (("failure", "last_failure"), ("models", "models_failure")):
        match entry.get(name):
            case {"time": str(when), "kind": str(kind), **more}:
                yield f"  {title:<9}last at {when}, {kind}: {more.get('message', 'see the log')}"


def describe_accounts(entry: Mapping[str, Any]) -> Iterator[str]:
    """The lines about a pool's credentials and about what accounts have used; `entry` is the provider's part of
    /health."""
    match entry.get("credentials"):
        case {**members}:
            for name, member in members.items():
                told = member if isinstance(member, dict) else {}
                rests, whom = told.get("rests_seconds", 0), told.get("rests_for") or ()
                only = f", for the clients {', '.join(whom)} only" if whom else ""
                yield f"  {'account':<9}{name}: {f'rests for {rests} s{only}' if rests else 'ready'}"
    match entry.get("quotas"):
        case {**accounts}:
            for name, windows in accounts.items():
                for window in windows if isinstance(windows, list) else ():
                    match window:
                        case {"window": str(length), "used_percent": int() | float() as used, **more}:
                            until = f", starts again at {more['resets']}" if "resets" in more else ""
                            yield f"  {'quota':<9}{name}, {length}: {used} % used{until}"


def describe_limits(uses: Iterable[LimitUse], owner: str, name: str) -> Iterator[str]:
    """The lines about the limits of a key or a provider, and what is used of them."""
    from app.gateway.use_limits.in_force import spell_use

    for use in uses:
        if (use.owner, use.name) == (owner, name):
            yield f"  {'limit':<9}{use.limit}: {spell_use(use)} used"
