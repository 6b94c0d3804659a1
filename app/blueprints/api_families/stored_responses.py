"""Retrieves, lists, cancels and deletes stored responses."""

from __future__ import annotations

from functools import partial

from flask import Blueprint, Response, request

from app.blueprints.api_families.openai_responses import DIALECT, PATHS
from app.blueprints.endpoints import Endpoint
from app.blueprints.views import view
from app.gateway.messages import ClientRequest, ClientResponse
from app.gateway.record import Record
from app.gateway.responses_api.stored_responses import Action
from app.services import Services

blueprint = Blueprint("stored_responses", __name__)


# Actions on a stored response, by method and the path after its id.
ROUTES: dict[tuple[str, str], Action] = {
    ("GET", ""): "retrieve",
    ("DELETE", ""): "delete",
    ("POST", "/cancel"): "cancel",
    ("GET", "/input_items"): "input_items",
}


def _answer(action: Action, response_id: str) -> Response:
    query = request.args.to_dict()

    def answer(parts: Services, client_request: ClientRequest, record: Record) -> ClientResponse:
        record.operation = "responses"
        return parts.stored_responses.answer(action, client_request.tenant, response_id, query, client_request.provider)

    return view(Endpoint(DIALECT, answer))


for (_method, _behind), _action in ROUTES.items():
    for _path in PATHS:
        _rule = f"{_path}/<response_id>{_behind}"
        blueprint.add_url_rule(_rule, f"{_method} {_rule}", partial(_answer, _action), methods=[_method])
