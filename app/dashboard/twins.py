"""The pages as JSON, for programs: with a client key in the headers, or on the machine of a gateway without keys."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from flask import Blueprint, Response, request

from app.blueprints.operations.rights import own_rows
from app.blueprints.views import family, refuse, services
from app.dashboard.pages.edit import change_config, tell_config
from app.dashboard.pages.keys import list_keys
from app.dashboard.pages.logs import stream_for_programs
from app.dashboard.pages.providers import list_providers
from app.dashboard.pages.settings import describe_settings
from app.errors import DragomanError, Forbidden
from app.gateway.client_access.client_keys import ANYBODY, ClientKey
from app.headers import read_headers
from app.known_secrets import known_secrets

blueprint = Blueprint("twins", __name__)


@blueprint.get("/_/api/models")
def models() -> Response:
    """The names that clients may use, as `/_/models` has them."""

    def answer(_own: Mapping[str, str]) -> Any:
        key = _find_key()
        listing = services().listing
        listed = [msgspec.structs.asdict(model) for model in listing.models(key=key)]
        return {"models": listed, "problems": listing.problems(key)}

    return _tell(answer)


@blueprint.get("/_/api/providers")
def providers() -> Response:
    return _tell(lambda own: {"providers": list_providers()}, to_admins=True)


@blueprint.get("/_/api/keys")
def keys() -> Response:
    return _tell(lambda own: {"keys": list_keys()}, to_admins=True)


@blueprint.get("/_/api/settings")
def settings() -> Response:
    """Rows of name, value, origin and whether it is set, by table."""
    held = services().settings
    return _tell(lambda own: {"settings": describe_settings(held, dict(os.environ))}, to_admins=True)


@blueprint.get("/api/models/full")
def full_catalogue() -> Response:
    """What every provider offers, with all that is known of each model."""

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

    return _tell(answer)


@blueprint.get("/api/config")
def config() -> Response:
    try:
        _need_admin()
    except DragomanError as error:
        return refuse(family(), error.failure)
    return tell_config()


@blueprint.post("/api/config")
def set_config() -> Response:
    return change_config()


@blueprint.get("/api/logs/stream")
def logs() -> Response:
    return stream_for_programs()


def _tell(answer: Callable[[Mapping[str, str]], Any], *, to_admins: bool = False) -> Response:
    try:
        own = own_rows()
        if to_admins and own:
            raise Forbidden("this is told to an admin alone")
        body = known_secrets.mask_bytes(msgspec.json.encode(answer(own), enc_hook=str))
    except DragomanError as error:
        return refuse(family(), error.failure)
    return Response(body, content_type="application/json", headers={"cache-control": "no-store"})


def _need_admin() -> None:
    if own_rows():
        raise Forbidden("this is told to an admin alone")


def _find_key() -> ClientKey:
    access = services().access
    return access.check_key(read_headers(request.environ)) if access.demands_key else ANYBODY
