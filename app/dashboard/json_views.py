"""The pages as JSON, for programs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import msgspec
from flask import Blueprint, Response, request

from app.blueprints.operations.reports import (
    LIST_PARAMETERS,
    check_parameters,
    read_query,
)
from app.blueprints.operations.rights import json_view, own_rows
from app.blueprints.views import runtime, services
from app.dashboard.feed import Feed
from app.dashboard.pages.edit import change_config, describe_config
from app.dashboard.pages.keys import list_keys
from app.dashboard.pages.live import find_live
from app.dashboard.pages.logs import stream_for_programs
from app.dashboard.pages.providers import list_providers
from app.dashboard.pages.settings import describe_reloads, describe_settings
from app.gateway.client_access.client_keys import ANYBODY, ClientKey
from app.headers import read_headers

blueprint = Blueprint("json_views", __name__)


@blueprint.get("/_/api/models")
@json_view()
def models(_own: Mapping[str, str]) -> Any:
    """The names that clients may use, as on `/_/models`."""
    key = _find_key()
    listing = services().listing
    listed = [msgspec.structs.asdict(model) for model in listing.models(key=key)]
    return {"models": listed, "problems": listing.problems(key)}


@blueprint.get("/_/api/providers")
@json_view(to_admins=True)
def providers(_own: Mapping[str, str]) -> Any:
    return {"providers": list_providers()}


@blueprint.get("/_/api/keys")
@json_view(to_admins=True)
def keys(_own: Mapping[str, str]) -> Any:
    return {"keys": list_keys()}


@blueprint.get("/_/api/settings")
@json_view(to_admins=True)
def settings(_own: Mapping[str, str]) -> Any:
    """Rows of name, value, origin and whether it is set, by table; and the last reloads."""
    return {"settings": describe_settings(services().settings, dict(os.environ)), **describe_reloads()}


@blueprint.get("/_/api/live")
def live() -> Response:
    """Server-sent events: first the latest requests, as `/_/api/requests` lists them, and `ready`; then each `request`
    as it ends. With `running=yes` also what is `running` each second, and the `providers` whenever they change.
    `Last-Event-ID` goes on where a connection ended."""
    own = own_rows()
    check_parameters(*LIST_PARAMETERS, "running")
    feed = Feed(runtime(), read_query(own), own, with_running=request.args.get("running") == "yes")
    feed.begin(request.headers.get("last-event-id", ""))
    return find_live().stream(feed.render, own.get("tenant", ""))


@blueprint.get("/api/models/full")
@json_view()
def full_catalogue(_own: Mapping[str, str]) -> Any:
    """The models of every provider, with everything known about each."""
    key = _find_key()
    return {
        "models": [
            {"provider": name, "name": f"{name}/{model.id}", **msgspec.structs.asdict(model)}
            for name, provider in services().providers.items()
            if key.may_use(name)
            for model in provider.models()
            if key.may_name(model.id, f"{name}/{model.id}")
        ]
    }


@blueprint.get("/api/config")
@json_view(to_admins=True)
def config(_own: Mapping[str, str]) -> Any:
    return describe_config()


@blueprint.post("/api/config")
@json_view()
def set_config(_own: Mapping[str, str]) -> Any:
    return change_config()


@blueprint.get("/api/logs/stream")
def logs() -> Response:
    return stream_for_programs()


def _find_key() -> ClientKey:
    access = services().access
    return access.check_key(read_headers(request.environ)) if access.demands_key else ANYBODY
