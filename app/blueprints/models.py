"""The list of models, in a shape that the clients of every dialect can read."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

import msgspec
from flask import Blueprint, Response, request

from app.blueprints.api import family, read_headers, refuse, services, sign
from app.errors import DragomanError, Failure
from app.gateway.endpoints.listing import Listed
from app.gateway.messages import new_id

blueprint = Blueprint("models", __name__)

MOST = 1000


@blueprint.get("/v1/models")
@blueprint.get("/models")
def list_models() -> Response:
    """One page; both SDK families ignore the keys of the other, and Codex asks for `models`."""
    parts = services()
    try:
        parts.access.check_key(read_headers(request.environ))
    except DragomanError as error:
        return refuse(family(), error.failure)
    found = parts.listing.models(request.environ.get("dragoman.provider"), with_aliases=_is_claude_code())
    page, more = _choose_page(found, request.args)
    problems = parts.listing.problems() if not found else {}
    return _answer(
        {
            "object": "list",
            "data": [_entry(model) for model in page],
            "first_id": page[0].id if page else None,
            "last_id": page[-1].id if page else None,
            "has_more": more,
            "models": [],
            **({"problems": problems} if problems else {}),
        }
    )


@blueprint.get("/v1/models/<path:name>")
@blueprint.get("/models/<path:name>")
def get_model(name: str) -> Response:
    parts = services()
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


def _is_claude_code() -> bool:
    """Whether the list is for Claude Code, which shows only names that sound like its own; others would see doubles."""
    agent = request.headers.get("user-agent", "").lower()
    return "anthropic-version" in request.headers or agent.startswith(("claude-cli", "claude-code"))


def _choose_page(found: list[Listed], asked: Mapping[str, str]) -> tuple[list[Listed], bool]:
    """The models that follow `after_id`, or come before `before_id`, and whether there are more in that direction."""
    places = {model.id: place for place, model in enumerate(found)}
    text = asked.get("limit", "")
    limit = min(int(text), MOST) if text.isdecimal() and int(text) else MOST
    if "before_id" in asked:
        end = places.get(asked["before_id"], 0)
        return found[max(0, end - limit) : end], end > limit
    start = places.get(asked["after_id"], len(found)) + 1 if "after_id" in asked else 0
    return found[start : start + limit], start + limit < len(found)


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
        entry["max_input_tokens"] = entry["context_length"] = entry["context_window"] = model.context_window
    if model.max_output is not None:
        entry["max_tokens"] = model.max_output
    if model.target is not None and model.target != model.id:
        entry["resolved"] = model.target
    return entry


def _answer(body: dict[str, Any]) -> Response:
    return sign(Response(msgspec.json.encode(body), content_type="application/json"), new_id())
