"""Creates, rotates and disables client keys."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from typing import Any, TypeVar

from flask import Response

from app.accounts.apart import AccountsUnavailable
from app.accounts.keys import create_key as create
from app.accounts.keys import disable_key as disable
from app.accounts.keys import list_keys as list_made
from app.accounts.keys import rotate_key as rotate
from app.accounts.keys import touch_stamp
from app.accounts.reports import read_end, read_span, report_usage
from app.accounts.views import find_last_uses
from app.blueprints.forms import read_form
from app.blueprints.views import runtime, services
from app.dashboard.blueprint import blueprint
from app.dashboard.page import show
from app.dashboard.reading import ask
from app.dashboard.visitors import Visitor, check_change, find_admin, log_change, name_visitor
from app.errors import ConfigError, InvalidRequest
from app.settings import KeySettings
from app.settings.checks.keys import LIMITS, NO_KEY, check_key
from app.sql import Connection

T = TypeVar("T")

# Maximum seconds that a change waits for the database.
CHANGE_LIMIT = 5.0


@blueprint.get("/keys")
def keys() -> Response:
    return _show(find_admin("the keys"))


@blueprint.post("/keys/create")
def create_key() -> Response:
    visitor, form = check_change(), read_form()
    name = form.get("name", "").strip()
    _check_name(name)
    try:
        settings = check_key(name, _read_settings(form))
    except ConfigError as error:
        raise InvalidRequest(error.reason, param="name") from error

    key = _change(lambda connection: create(connection, name, settings, time.time(), name_visitor(visitor)))
    log_change(visitor, f"makes the key {name}")
    return _show(visitor, name, key)


@blueprint.post("/keys/rotate")
def rotate_key() -> Response:
    visitor, form = check_change(), read_form()
    name, overlap = form.get("name", ""), read_span(form.get("overlap", "24h"))
    if overlap is None:
        raise InvalidRequest("overlap must be a time span such as 30m, 12h or 7d", param="overlap")
    _check_name(name)

    key = _change(lambda connection: rotate(connection, name, overlap, time.time(), name_visitor(visitor)))
    log_change(visitor, f"rotates the key {name}")
    return _show(visitor, name, key)


@blueprint.post("/keys/disable")
def disable_key() -> Response:
    visitor, name = check_change(), read_form().get("name", "")
    _check_name(name)

    if not _change(lambda connection: disable(connection, name, time.time())):
        raise InvalidRequest(f"no enabled key is named {name[:100]!r}", param="name")
    log_change(visitor, f"disables the key {name}")
    return _show(visitor)


def list_keys() -> list[dict[str, Any]]:
    """The keys in the settings and those created since, each with its use this month; never the keys themselves."""
    settings = services().settings
    rows = [
        _describe(f"api_keys[{number}]", "", KeySettings(key=NO_KEY), "settings", None, None)
        for number, _ in enumerate(settings.server.api_keys)
    ]
    rows += [
        _describe(name, "", table, "settings", None, table.expires.timestamp() if table.expires else None)
        for name, table in settings.keys.items()
    ]
    try:
        now = time.time()
        rows += [
            _describe(
                key.name, f"{key.hint}…", key.settings,
                key.state(now), key.made, key.expires, key.by,
            )
            for key in ask(list_made)
        ]  # fmt: skip
        month = datetime.datetime.now(datetime.UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        used = {row["key"]: row for row in ask(lambda each: report_usage(each, ["key"], month.timestamp()))}
        last = ask(lambda each: find_last_uses(each, used))
    except AccountsUnavailable:
        used, last = {}, {}
    for row in rows:
        row["used"], row["last"] = used.get(row["name"]), last.get(row["name"])
    return rows


def _show(visitor: Visitor, name: str = "", key: str = "") -> Response:
    settings = services().settings
    return show(
        "keys.html",
        visitor,
        rows=list_keys(),
        fresh_name=name,
        fresh_key=key,
        limits=LIMITS,
        possible=settings.accounts.enabled,
        # The first key ends keyless access: whoever makes it must be able to sign in again.
        first=not services().access.demands_key,
    )


def _describe(
    name: str, hint: str, table: KeySettings, state: str, made: float | None, expires: float | None, by: str = ""
) -> dict[str, Any]:
    rights = {"models": ", ".join(table.models), "providers": ", ".join(table.providers)}
    limits = {field: getattr(table, field) for field in LIMITS}
    return {
        "name": name,
        "hint": hint,
        "role": table.role,
        "state": state,
        "made": made,
        "by": by,
        "expires": expires,
        "rights": [f"{kind}: {patterns}" for kind, patterns in rights.items() if patterns],
        "limits": [f"{field.replace('_', ' ')}: {value:,}" for field, value in limits.items() if value is not None],
    }


def _check_name(name: str) -> None:
    if name in services().settings.keys:
        raise InvalidRequest(f"{name} is defined in the settings; change it in the configuration file", param="name")


def _read_settings(form: Any) -> KeySettings:
    given: dict[str, Any] = {"key": NO_KEY, "role": "admin" if form.get("role") == "admin" else "client"}
    for field in ("models", "providers"):
        given[field] = tuple(form.get(field, "").replace(",", " ").split())
    for field in LIMITS:
        if (number := read_limit(form.get(field, "").strip(), field)) is not None:
            given[field] = number
    expires = form.get("expires", "").strip()
    if expires:
        try:
            given["expires"] = read_end(expires, "expires")
        except (ConfigError, OverflowError, ValueError) as error:
            message = "expires must be a time span such as 30d, or a date such as 2027-01-31"
            raise InvalidRequest(message, param="expires") from error
    return KeySettings(**given)


def read_limit(text: str, name: str) -> int | float | None:
    """The number in a form field; None if it is empty. Raises InvalidRequest."""
    if not text:
        return None
    try:
        number = float(text) if name.startswith("budget") else int(text)
    except ValueError as error:
        raise InvalidRequest(f"{name.replace('_', ' ')} must be a number", param=name) from error
    if not 0 < number < 1e12:
        raise InvalidRequest(f"{name.replace('_', ' ')} must be a number above 0", param=name)
    return number


def _change(work: Callable[[Connection], T]) -> T:
    """The result of `work` on the accounts' database; notifies the workers. Raises AccountsUnavailable."""
    accounts = runtime().accounts
    if accounts is None:
        raise AccountsUnavailable(
            "no accounts are kept, so keys cannot be stored; set accounts.enabled = true, or use [keys]"
        )
    found = accounts.change(work, CHANGE_LIMIT)
    touch_stamp(accounts.accounts.place)
    runtime().follow_keys()
    return found
