"""Shows the settings in force with their origins, and whether a changed file is valid."""

from __future__ import annotations

import os
from typing import Any

import msgspec
from flask import Response

from app.blueprints.views import runtime, services
from app.dashboard.blueprint import blueprint
from app.dashboard.configuration.origins import DEFAULT, find_origin, find_origins, quote_key
from app.dashboard.page import need_admin, show
from app.dashboard.visitors import find_visitor
from app.settings import ProviderSettings, Settings, masked

_UNSET = masked(ProviderSettings(kind=""))


class Setting(msgspec.Struct, frozen=True):
    """One row; `is_set` if the value differs from the default."""

    name: str
    value: str
    origin: str
    is_set: bool


@blueprint.get("/settings")
def settings() -> Response:
    visitor = find_visitor()
    need_admin(visitor, "the settings")
    held = services().settings
    return show(
        "settings.html",
        visitor,
        tables=describe_settings(held, dict(os.environ)),
        source=held.source,
        problem=runtime().problem,
        found=[finding for finding in held.found if finding.used],
    )


def describe_settings(held: Settings, environ: dict[str, str]) -> dict[str, list[Setting]]:
    """Rows by table, secrets masked. For providers, keys and prices only changed settings are listed, because most of
    their settings apply to other kinds."""
    shown, usual = masked(held), masked(Settings())
    origins = find_origins(held, environ)
    tables: dict[str, list[Setting]] = {}

    def add(table: str, values: dict[str, Any], before: dict[str, Any] | None) -> None:
        rows = []
        for name, value in values.items():
            is_set = before is None or value != before.get(name)
            if before is _UNSET and not is_set:
                continue
            origin = find_origin(origins, f"{table}.{name}") if is_set else DEFAULT
            rows.append(Setting(name, _format(value), origin, is_set))
        tables[table] = rows

    for table, values in shown.items():
        if table in ("providers", "keys", "prices"):
            for name, row in values.items():
                kept = {key: value for key, value in row.items() if value not in (None, [], {})}
                add(
                    f"{table}.{quote_key(name)}",
                    row if table == "providers" else kept,
                    _UNSET if table == "providers" else None,
                )
        elif isinstance(values, dict):
            add(table, values, usual[table])
    return tables


def _format(value: Any) -> str:
    """A value as JSON, which is close to the file's notation."""
    return "none" if value is None else msgspec.json.encode(_leave_out_unset(value), enc_hook=str).decode()


def _leave_out_unset(value: Any) -> Any:
    """A table without the settings that say nothing, such as those of a route."""
    if not isinstance(value, dict):
        return value
    return {key: _leave_out_unset(each) for key, each in value.items() if each not in (None, False, [], {})}
