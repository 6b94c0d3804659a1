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
from app.cli.terminal import echo
from app.credentials.credential import SourceStatus
from app.credentials.sources import open_source
from app.settings import Settings

if TYPE_CHECKING:
    from app.gateway.use_limits.in_force import LimitUse


@click.command()
@config_option
@json_option
def status(path: Path | None, as_json: bool) -> None:
    """Show each provider's account, plan, expiry and source.

    Sends nothing to a provider and renews nothing. Asks a gateway running here about its recent requests.
    """
    from app.cli.accounts.usage import read_uses

    all_settings = read_settings(path)
    outcomes = ask_providers(all_settings)
    uses = read_uses(path)
    known = {name: _describe(all_settings, name) for name in all_settings.providers}
    if as_json:
        fields = {
            name: {
                "kind": all_settings.providers[name].kind,
                "credential": None if credential is None else msgspec.to_builtins(credential),
                **_list_limits(uses, name),
                **outcomes.get(name, {}),
            }
            for name, credential in known.items()
        }
        echo(json.dumps(fields, indent=2))
        return
    lines = list[str]()
    for name, credential in known.items():
        if credential is None:
            kind = all_settings.providers[name].kind
            lines.append(f"{name}: {WITHOUT_CREDENTIAL.get(kind, 'needs no credential of its own')}")
        else:
            lines += describe_source(name, credential, time.time())
        entry = outcomes.get(name, {})
        lines += (*describe_outcomes(entry), *describe_accounts(entry), *describe_limits(uses, "provider", name))
    for name in dict.fromkeys(use.name for use in uses if use.owner == "key"):
        lines += (f"key {name}", *describe_limits(uses, "key", name))
    for line in lines:
        echo(line)


def _describe(settings: Settings, name: str) -> SourceStatus | None:
    """The state of a provider's credential; None if it has none of its own."""
    way = partial(open_session, settings, name, settings.providers[name])
    source = open_source(settings.providers[name], os.environ, Path.home(), way, name=name)
    return None if source is None else source.describe()


def _list_limits(uses: Iterable[LimitUse], name: str) -> dict[str, Any]:
    own = [msgspec.to_builtins(use) for use in uses if (use.owner, use.name) == ("provider", name)]
    return {"limits": own} if own else {}


def describe_source(name: str, known: SourceStatus, now: float) -> Iterator[str]:
    """The lines about one provider; `now` is in unix seconds."""
    yield f"{name}: {summarize_source(known, now)}"
    rows = {
        "account": known.account,
        "plan": known.plan.upper() if known.plan else None,
        "expires": None if known.expires_at is None else describe_expiry(known.expires_at, now),
        "renewal": None if known.kind != "access_token" else "automatic" if known.renewable else "only by a new login",
        "source": known.source,
        "problem": known.problem,
    }
    for title, value in rows.items():
        if value:
            yield f"  {title:<9}{value}"


def describe_outcomes(entry: Mapping[str, Any]) -> Iterator[str]:
    """The lines about recent requests to one provider; `entry` is its part of /health."""
    if isinstance(when := entry.get("last_success"), str):
        yield f"  {'success':<9}last at {when}"
    for title, name in (("failure", "last_failure"), ("models", "models_failure")):
        match entry.get(name):
            case {"time": str(when), "kind": str(kind), **more}:
                yield f"  {title:<9}last at {when}, {kind}: {more.get('message', 'see the log')}"


def describe_accounts(entry: Mapping[str, Any]) -> Iterator[str]:
    """The lines about a pool's credentials and the accounts' quotas; `entry` is the provider's part of /health."""
    match entry.get("credentials"):
        case {**members}:
            for name, member in members.items():
                account = member if isinstance(member, dict) else {}
                rests, whom = account.get("rests_seconds", 0), account.get("rests_for") or ()
                only = f", only for the clients {', '.join(whom)}" if whom else ""
                yield f"  {'account':<9}{name}: {f'paused for {rests} s{only}' if rests else 'ready'}"
    match entry.get("quotas"):
        case {**accounts}:
            for name, windows in accounts.items():
                for window in windows if isinstance(windows, list) else ():
                    match window:
                        case {"window": str(length), "used_percent": int() | float() as used, **more}:
                            until = f", resets at {more['resets']}" if "resets" in more else ""
                            yield f"  {'quota':<9}{name}, {length}: {used} % used{until}"


def describe_limits(uses: Iterable[LimitUse], owner: str, name: str) -> Iterator[str]:
    """The lines about the limits of a key or a provider, and their use."""
    from app.gateway.use_limits.in_force import format_use

    for use in uses:
        if (use.owner, use.name) == (owner, name):
            yield f"  {'limit':<9}{use.limit}: {format_use(use)} used"
