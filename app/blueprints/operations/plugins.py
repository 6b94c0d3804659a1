"""Lists installed plugins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response

from app.blueprints.operations.rights import render_json
from app.blueprints.views import services
from app.errors import NotFound
from app.plugins import describe_plugin, find_plugins

blueprint = Blueprint("plugins", __name__, url_prefix="/plugins")


@blueprint.get("")
def list_plugins() -> Response:
    return render_json(lambda own: {"plugins": _describe_plugins()}, to_admins=True)


@blueprint.get("/<name>/health")
def health(name: str) -> Response:
    def answer(_own: Mapping[str, str]) -> dict[str, Any]:
        for plugin in _describe_plugins():
            if plugin["name"] == name:
                return {key: plugin[key] for key in ("name", "status", "error", "package", "version")}
        raise NotFound(f"no installed package adds {name[:100]!r}")

    return render_json(answer, to_admins=True)


def _describe_plugins() -> list[dict[str, Any]]:
    return [describe_plugin(plugin) for plugin in find_plugins(services().settings)]
