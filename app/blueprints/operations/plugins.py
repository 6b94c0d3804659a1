"""The plugins of this gateway, for whoever may see its settings."""

from __future__ import annotations

from typing import Any

import msgspec
from flask import Blueprint, Response

from app.blueprints.operations.rights import own_rows
from app.blueprints.views import family, refuse, services
from app.errors import DragomanError, Forbidden, NotFound
from app.plugins import describe_plugin, find_plugins

blueprint = Blueprint("plugins", __name__, url_prefix="/plugins")


@blueprint.get("")
def list_plugins() -> Response:
    return _answer(None)


@blueprint.get("/<name>/health")
def health(name: str) -> Response:
    return _answer(name)


def _answer(name: str | None) -> Response:
    try:
        if own_rows():
            raise Forbidden("the list of plugins requires an admin key")
        found = [describe_plugin(plugin) for plugin in find_plugins(services().settings)]
        told: Any = {"plugins": found}
        if name is not None:
            ours = [plugin for plugin in found if plugin["name"] == name]
            if not ours:
                raise NotFound(f"no installed package adds {name[:100]!r}")
            told = {key: ours[0][key] for key in ("name", "status", "error", "package", "version")}
    except DragomanError as error:
        return refuse(family(), error.failure)
    return Response(msgspec.json.encode(told), content_type="application/json", headers={"cache-control": "no-store"})
