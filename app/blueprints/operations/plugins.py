"""Lists installed plugins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Blueprint

from app.blueprints.operations.rights import json_view
from app.blueprints.views import services
from app.errors import NotFound
from app.plugins import describe_plugin, find_plugins

blueprint = Blueprint("plugins", __name__, url_prefix="/plugins")


@blueprint.get("")
@json_view(to_admins=True)
def list_plugins(_own: Mapping[str, str]) -> Any:
    return {"plugins": _describe_plugins()}


@blueprint.get("/<name>/health")
@json_view(to_admins=True)
def health(_own: Mapping[str, str], name: str) -> Any:
    for plugin in _describe_plugins():
        if plugin["name"] == name:
            return {key: plugin[key] for key in ("name", "status", "error", "package", "version")}
    raise NotFound(f"no installed package adds {name[:100]!r}")


def _describe_plugins() -> list[dict[str, Any]]:
    return [describe_plugin(plugin) for plugin in find_plugins(services().settings)]
