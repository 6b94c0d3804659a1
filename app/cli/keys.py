"""`dragoman keys`: creates, lists, rotates and disables client keys while the server runs."""

from __future__ import annotations

import getpass
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from app.accounts.accounts import Accounts
from app.accounts.keys import create_key, disable_key, list_keys, rotate_key, touch_stamp
from app.accounts.reports import read_end, read_span
from app.cli.accounts.reading import ask, format_time, print_table
from app.cli.options import config_option, json_option, print_json, read_settings
from app.cli.terminal import echo
from app.errors import ConfigError
from app.settings import KeySettings
from app.settings.checks.keys import LIMITS, NO_KEY, check_key, hash_key
from app.sql import Connection, DatabaseFailed

T = TypeVar("T")


@click.group()
def keys() -> None:
    """Create, list, rotate and disable client keys."""


def _limit_options(command: Callable[..., None]) -> Callable[..., None]:
    for field in reversed(LIMITS):
        kind: Any = click.FloatRange(0, min_open=True) if field.startswith("budget") else click.IntRange(1)
        unit = "DOLLARS" if field.startswith("budget") else "N"
        command = click.option(f"--{field.replace('_', '-')}", field, type=kind, metavar=unit)(command)
    return command


@keys.command("create")
@click.argument("name")
@click.option("--role", type=click.Choice(["client", "admin"]), default="client", show_default=True)
@click.option("--model", "models", multiple=True, help="A pattern of model names the key may use; repeat it for more.")
@click.option(
    "--provider", "providers", multiple=True, help="A pattern of provider names the key may use; repeat it for more."
)
@click.option(
    "--expires", metavar="WHEN", help="When the key expires: a time span such as 30d, or a date such as 2027-01-31."
)
@_limit_options
@json_option
@config_option
def create(name: str, path: Path | None, as_json: bool, expires: str | None, **wanted: Any) -> None:
    """Create a key. It is shown only once: only its hash is stored."""
    from app.cli.configuring.key_patterns import find_idle_patterns

    try:
        end = read_end(expires, "--expires") if expires is not None else None
        settings = check_key(name, KeySettings(key=NO_KEY, expires=end, **wanted))
    except ConfigError as error:
        raise click.ClickException(error.reason) from error
    accounts = _open(path, name)
    is_first, made = _change(
        accounts,
        lambda connection: (
            not list_keys(connection),
            create_key(connection, name, settings, time.time(), _name_user()),
        ),
    )
    _show(name, made, as_json)
    loaded = read_settings(path)
    if is_first and not (loaded.server.api_keys or loaded.keys):
        role = "" if wanted["role"] == "admin" else "; only one with --role admin shows everything there"
        echo(f"This is the first key. From now on every client needs one, and so does the dashboard{role}.", err=True)
    for warning in find_idle_patterns(loaded, {name: settings}):
        echo(f"warning: {warning}", err=True)


@keys.command("rotate")
@click.argument("name")
@click.option(
    "--overlap",
    default="24h",
    show_default=True,
    metavar="SPAN",
    help="How long the old key stays valid; 0s disables it at once.",
)
@json_option
@config_option
def rotate(name: str, overlap: str, path: Path | None, as_json: bool) -> None:
    """Give NAME a new key with the same rights and limits. Data stored under the old key is kept."""
    seconds = read_span(overlap)
    if seconds is None:
        raise click.ClickException(f"{overlap!r} is not a time span such as 30m, 12h or 7d")
    accounts = _open(path, name)
    made = _change(accounts, lambda connection: rotate_key(connection, name, seconds, time.time(), _name_user()))
    _show(name, made, as_json)


@keys.command("disable")
@click.argument("name")
@config_option
def disable(name: str, path: Path | None) -> None:
    """Disable all keys of NAME. Running gateways notice within seconds."""
    ended = _change(_open(path, name), lambda connection: disable_key(connection, name, time.time()))
    if not ended:
        raise click.ClickException(f"no enabled key is named {name}; `dragoman keys list` shows all")
    echo(f"{name} is disabled")


@keys.command("list")
@json_option
@config_option
def list_all(path: Path | None, as_json: bool) -> None:
    """List the keys from the settings and those created with this command, without the secrets."""
    settings = read_settings(path)
    rows = [_row(name, "", table, "settings", None) for name, table in settings.keys.items()]
    if settings.accounts.enabled:
        made = ask(Accounts(settings.accounts, settings.ledger.url), list_keys)
        rows += [
            _row(key.name, key.hint + "…", key.settings, key.state(time.time()), key.expires, key.by) for key in made
        ]
    if as_json:
        print_json(rows)
        return
    fields = ("name", "key", "role", "state", "expires", "by")
    shown = [[*(row[field] or "-" for field in fields), ", ".join(row["rights"]) or "all"] for row in rows]
    print_table(shown, ("name", "key", "role", "state", "expires", "created by", "rights and limits"))


@keys.command("hash")
@click.option("--key", prompt=True, hide_input=True, help="The key. Default: prompt for it.")
def show_hash(key: str) -> None:
    """Print the hash of a key, which [keys.NAME] key accepts instead of the key itself."""
    echo(hash_key(key.strip()))


def _open(path: Path | None, name: str) -> Accounts:
    settings = read_settings(path)
    if not settings.accounts.enabled:
        raise click.ClickException(
            "accounts.enabled is false, so there is no key database; set it to true, or add keys in [keys]"
        )
    if name in settings.keys:
        raise click.ClickException(f"{name} is defined in the settings; change it in {settings.source}")
    return Accounts(settings.accounts, settings.ledger.url)


def _change(accounts: Accounts, work: Callable[[Connection], T]) -> T:
    try:
        found = accounts.change(work)
    except (DatabaseFailed, OSError) as error:
        raise click.ClickException(f"cannot use the key database: {error}") from error
    touch_stamp(accounts.place)
    return found


def _show(name: str, key: str, as_json: bool) -> None:
    if as_json:
        print_json({"name": name, "key": key})
        return
    echo(key)
    echo(f"This is the key of {name}. It is shown only once; only its hash is stored.", err=True)


def _name_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return f"user {os.getuid()}"


def _row(name: str, hint: str, table: KeySettings, state: str, expires: float | None, by: str = "") -> dict[str, Any]:
    end = expires if expires is not None else table.expires.timestamp() if table.expires is not None else None
    rights = [f"{field} {value}" for field in ("models", "providers") for value in getattr(table, field)]
    limits = [f"{field} {value}" for field in LIMITS if (value := getattr(table, field)) is not None]
    fields = {"name": name, "key": hint, "role": table.role, "state": state, "by": by}
    return fields | {"expires": format_time(end) if end is not None else None, "rights": [*rights, *limits]}
