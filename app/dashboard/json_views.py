"""The pages as JSON, for programs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import msgspec
from flask import Blueprint, Response, request

from app.blueprints.operations.rights import render_json
from app.blueprints.views import services
from app.dashboard.pages.edit import change_config, describe_config
from app.dashboard.pages.keys import list_keys
from app.dashboard.pages.logs import stream_for_programs
from app.dashboard.pages.providers import list_providers
from app.dashboard.pages.settings import describe_reloads, describe_settings
from app.gateway.client_access.client_keys import ANYBODY, ClientKey
from app.headers import read_headers

blueprint = Blueprint("json_views", __name__)


@blueprint.get("/_/api/models")
def models() -> Response:
    """The names that clients may use, as on `/_/models`."""

    def answer(_own: Mapping[str, str]) -> Any:
        key = _find_key()
        listing = services().listing
        listed = [msgspec.structs.asdict(model) for model in listing.models(key=key)]
        return {"models": listed, "problems": listing.problems(key)}

    return render_json(answer)


@blueprint.get("/_/api/providers")
def providers() -> Response:
    return render_json(lambda own: {"providers": list_providers()}, to_admins=True)


@blueprint.get("/_/api/keys")
def keys() -> Response:
    return render_json(lambda own: {"keys": list_keys()}, to_admins=True)


@blueprint.get("/_/api/settings")
def settings() -> Response:
    """Rows of name, value, origin and whether it is set, by table; and the last reloads."""
    held = services().settings
    return render_json(
        lambda own: {"settings": describe_settings(held, dict(os.environ)), **describe_reloads()}, to_admins=True
    )


@blueprint.get("/api/models/full")
def full_catalogue() -> Response:
    """The models of every provider, with everything known about each."""

    def answer(_own: Mapping[str, str]) -> Any:
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

    return render_json(answer)


@blueprint.get("/api/config")
def config() -> Response:
    return render_json(lambda own: describe_config(), to_admins=True)


@blueprint.post("/api/config")
def set_config() -> Response:
    return render_json(lambda own: change_config())


@blueprint.get("/api/logs/stream")
def logs() -> Response:
    return stream_for_programs()


def _find_key() -> ClientKey:
    access = services().access
    return access.check_key(read_headers(request.environ)) if access.demands_key else ANYBODY
