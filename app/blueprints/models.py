"""Lists models, in a shape that clients of every dialect can read."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from flask import Blueprint, Response, request

from app.blueprints.views import answer_error, family, runtime, sign
from app.errors import DragomanError, NotFound
from app.gateway.client_access.client_keys import ClientKey
from app.gateway.endpoints.listing import Listed
from app.gateway.messages import new_id
from app.headers import read_headers
from app.services import Services

blueprint = Blueprint("models", __name__)

MOST = 1000


@blueprint.get("/v1/models")
@blueprint.get("/models")
def list_models() -> Response:
    """One page of models. It has the keys of both SDK families, which ignore each other's, and `models` for Codex."""

    def answer(parts: Services, key: ClientKey) -> dict[str, Any]:
        provider = request.environ.get("dragoman.provider")
        found = parts.listing.models(provider, key=key, with_aliases=_is_claude_code())
        page, more = _choose_page(found, request.args)
        problems = parts.listing.problems(key) if not found else {}
        return {
            "object": "list",
            "data": [render_model(model) for model in page],
            "first_id": page[0].id if page else None,
            "last_id": page[-1].id if page else None,
            "has_more": more,
            "models": [],
            **({"problems": problems} if problems else {}),
        }

    return _view(answer)


@blueprint.get("/v1/models/<path:name>")
@blueprint.get("/models/<path:name>")
def get_model(name: str) -> Response:
    def answer(parts: Services, key: ClientKey) -> dict[str, Any]:
        model = parts.listing.find(name, key)
        if model is None:
            raise NotFound(f"Model '{name}' not found", code="model_not_found", param="model")
        return render_model(model)

    return _view(answer)


def _view(answer: Callable[[Services, ClientKey], dict[str, Any]]) -> Response:
    """The result of `answer` as JSON, if the client's key is valid; else the error."""
    owner = runtime()
    parts = owner.services
    record = owner.recorder.begin(new_id(), family().NAME, request.environ)
    record.operation, record.quiet = "", True
    try:
        key = parts.access.check_key(read_headers(request.environ))
        record.operation, record.key, record.tenant = "models", key.name or None, key.tenant
        body = msgspec.json.encode(answer(parts, key))
        record.status, record.bytes_out = 200, len(body)
        return sign(Response(body, content_type="application/json"), record.id)
    except DragomanError as error:
        record.fail(error)
        return answer_error(family(), error, record)
    finally:
        record.write()


def _is_claude_code() -> bool:
    """Whether Claude Code asks. It shows only names that resemble its own, so it needs aliases; other clients would see
    duplicates."""
    agent = request.headers.get("user-agent", "").lower()
    return "anthropic-version" in request.headers or agent.startswith(("claude-cli", "claude-code"))


def _choose_page(found: list[Listed], asked: Mapping[str, str]) -> tuple[list[Listed], bool]:
    """The models after `after_id` or before `before_id`, and whether there are more in that direction."""
    places = {model.id: place for place, model in enumerate(found)}
    text = asked.get("limit", "")[:9]  # Python refuses to read numbers of thousands of digits
    limit = min(int(text), MOST) if text.isdecimal() and int(text) else MOST
    if "before_id" in asked:
        end = places.get(asked["before_id"], 0)
        return found[max(0, end - limit) : end], end > limit
    start = places.get(asked["after_id"], len(found)) + 1 if "after_id" in asked else 0
    return found[start : start + limit], start + limit < len(found)


def render_model(model: Listed) -> dict[str, Any]:
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
