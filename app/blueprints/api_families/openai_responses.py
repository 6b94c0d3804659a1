"""The Responses family: making a response, and what can be asked about one afterwards."""

from __future__ import annotations

import msgspec
from flask import Blueprint, Response, request

from app.blueprints.api import add_endpoints, view
from app.blueprints.endpoints import Endpoint
from app.dialects.registry import DIALECTS
from app.gateway.endpoints.counting import count_tokens
from app.gateway.messages import ClientRequest, ClientResponse
from app.gateway.record import Record
from app.gateway.responses_api.compaction import compact
from app.gateway.responses_api.responses import create_response
from app.gateway.responses_api.responses_peek import PEEK_RESPONSES
from app.gateway.responses_api.stored_responses import Action
from app.services import Services

blueprint = Blueprint("openai_responses", __name__)
DIALECT = DIALECTS["openai_responses"]
PATHS = ("/v1/responses", "/responses")


def _create(parts: Services, client_request: ClientRequest, record: Record) -> ClientResponse:
    return create_response(parts.gateway, parts.background, parts.response_store, client_request, record)


def _count(parts: Services, client_request: ClientRequest, record: Record) -> ClientResponse:
    client_request.continuation = parts.response_store.begin(client_request)
    counted = count_tokens(parts.gateway, client_request, record)
    body = msgspec.json.encode({"object": "response.input_tokens", "input_tokens": counted})
    return ClientResponse(200, {"content-type": "application/json"}, body)


def _compact(parts: Services, client_request: ClientRequest, record: Record) -> ClientResponse:
    record.operation = "compact"
    return compact(parts.gateway, parts.response_store, client_request, record)


ENDPOINTS = {
    **{path: Endpoint(DIALECT, _create, PEEK_RESPONSES) for path in PATHS},
    **{f"{path}/input_tokens": Endpoint(DIALECT, _count, PEEK_RESPONSES) for path in PATHS},
    **{f"{path}/compact": Endpoint(DIALECT, _compact, PEEK_RESPONSES) for path in PATHS},
}
add_endpoints(blueprint, ENDPOINTS)


def retrieve_response(response_id: str) -> Response:
    return _ask_stored_responses("retrieve", response_id)


def delete_response(response_id: str) -> Response:
    return _ask_stored_responses("delete", response_id)


def cancel_response(response_id: str) -> Response:
    return _ask_stored_responses("cancel", response_id)


def list_input_items(response_id: str) -> Response:
    return _ask_stored_responses("input_items", response_id)


def _ask_stored_responses(action: Action, response_id: str) -> Response:
    query = request.args.to_dict()

    def answer(parts: Services, client_request: ClientRequest, record: Record) -> ClientResponse:
        record.operation = "responses"
        return parts.stored_responses.answer(action, client_request.tenant, response_id, query, client_request.provider)

    return view(Endpoint(DIALECT, answer))


for _path in PATHS:
    _one = f"{_path}/<response_id>"
    blueprint.add_url_rule(_one, view_func=retrieve_response, methods=["GET"])
    blueprint.add_url_rule(_one, view_func=delete_response, methods=["DELETE"])
    blueprint.add_url_rule(f"{_one}/cancel", view_func=cancel_response, methods=["POST"])
    blueprint.add_url_rule(f"{_one}/input_items", view_func=list_input_items, methods=["GET"])
