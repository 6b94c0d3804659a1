"""This file is the list of models, in a shape that the clients of every dialect can read."""

from __future__ import annotations

import datetime
from typing import Any

import msgspec
from flask import Blueprint, Response, request

from app.blueprints.front import family, house, read_headers, refuse, sign
from app.errors import DragomanError, Failure
from app.gateway.listing import Listed
from app.gateway.messages import new_id

blueprint = Blueprint("models", __name__)

MOST = 1000


@blueprint.get("/v1/models")
@blueprint.get("/models")
def list_models() -> Response:
    """One page; both SDK families ignore the keys of the other, and Codex asks for `models`."""
    parts = house()
    try:
        parts.access.check_key(read_headers(request.environ))
    except DragomanError as error:
        return refuse(family(), error.failure)
    found = parts.listing.models(request.environ.get("dragoman.provider"))
    start = next((n + 1 for n, model in enumerate(found) if model.id == request.args.get("after_id")), 0)
    limit = request.args.get("limit", type=int) or MOST
    page = found[start : start + max(1, min(limit, MOST))]
    return _answer(
        {
            "object": "list",
            "data": [_entry(model) for model in page],
            "first_id": page[0].id if page else None,
            "last_id": page[-1].id if page else None,
            "has_more": start + len(page) < len(found),
            "models": [],
        }
    )


@blueprint.get("/v1/models/<path:name>")
@blueprint.get("/models/<path:name>")
def get_model(name: str) -> Response:
    parts = house()
    try:
        parts.access.check_key(read_headers(request.environ))
    except DragomanError as error:
        return refuse(family(), error.failure)
    model = parts.listing.find(name)
    if model is None:
        message = f"Model '{name}' not found"
        return refuse(
            family(),
            Failure(kind="not_found", message=message, code="model_not_found", param="model", origin="client"),
        )
    return _answer(_entry(model))


def _entry(model: Listed) -> dict[str, Any]:
    created = datetime.datetime.fromtimestamp(model.created, datetime.UTC)
    entry: dict[str, Any] = {
        "id": model.id,
        "object": "model",
        "type": "model",
        "created": model.created,
        "created_at": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "owned_by": model.owned_by,
        "display_name": model.display_name,
    }
    if model.context_window is not None:
        entry["max_input_tokens"] = entry["context_length"] = model.context_window
    if model.max_output is not None:
        entry["max_tokens"] = model.max_output
    return entry


def _answer(body: dict[str, Any]) -> Response:
    return sign(Response(msgspec.json.encode(body), content_type="application/json"), new_id())
