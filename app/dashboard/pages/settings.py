"""Shows the settings in force with their origins, the last changes of the file, and a bug report."""

from __future__ import annotations

import os
from typing import Any

import msgspec
from flask import Response

from app.blueprints.operations.provider_states import describe_providers
from app.blueprints.operations.support_bundle import make_bundle
from app.blueprints.operations.tested_clients import TESTED
from app.blueprints.views import runtime, services
from app.dashboard.blueprint import blueprint
from app.dashboard.configuration.origins import DEFAULT, find_origin, find_origins, quote_key
from app.dashboard.page import find_troubles, show
from app.dashboard.rendering import PAGE_HEADERS
from app.dashboard.visitors import Visitor, find_admin
from app.runtime import read_file
from app.settings import ProviderSettings, Settings, masked
from app.settings.differences import compare_files
from app.settings.places import home_folder

_UNSET = masked(ProviderSettings(kind=""))


class Setting(msgspec.Struct, frozen=True):
    """One row; `is_set` if the value differs from the default."""

    name: str
    value: str
    origin: str
    is_set: bool


@blueprint.get("/settings")
def settings() -> Response:
    visitor = find_admin("the settings")
    held = services().settings
    return show(
        "settings.html",
        visitor,
        tables=describe_settings(held, dict(os.environ)),
        source=held.source,
        found=[finding for finding in held.found if finding.used],
        tested=TESTED,
        **describe_reloads(),
    )


@blueprint.get("/settings/bundle")
def preview_bundle() -> Response:
    """Shows what a bug report would contain, before it is given to somebody else."""
    visitor = find_admin("the settings")
    return show(
        "export.html", visitor, text=_render_bundle(visitor), back="/_/settings", download="/_/settings/bundle.json",
        about="keys, credentials and your name are left out, but names of models, hosts and files are not",
    )  # fmt: skip


@blueprint.get("/settings/bundle.json")
def bundle() -> Response:
    visitor = find_admin("the settings")
    headers = {**PAGE_HEADERS, "content-disposition": 'attachment; filename="dragoman-report.json"'}
    return Response(_render_bundle(visitor), headers=headers, content_type="application/json")


def describe_reloads() -> dict[str, Any]:
    """The reloads of all workers, newest first; and if the file was rejected, what it would change."""
    owner = runtime()
    reloads, workers = owner.workers.list_reloads()
    difference: list[str] = []
    faults: tuple[str, ...] = ()
    if owner.problem is not None:
        faults = owner.workers.reloads[-1].faults
        difference = compare_files(owner.file_text, read_file(services().settings.source))
    told = {"reloads": reloads, "workers": workers, "problem": owner.problem}
    return {**told, "faults": faults, "difference": difference}


def _render_bundle(visitor: Visitor) -> str:
    environ, providers = dict(os.environ), services().providers
    return make_bundle(
        services().settings,
        environ,
        home_folder(environ),
        problems=[trouble.message for trouble in find_troubles(visitor)],
        providers=describe_providers(providers, detailed=True),
        reloads=msgspec.to_builtins(describe_reloads()),
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
