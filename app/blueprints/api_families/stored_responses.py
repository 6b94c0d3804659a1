"""Retrieves, lists, cancels and deletes stored responses."""

from __future__ import annotations

from flask import Blueprint, Response, request

from app.blueprints.api_families.openai_responses import DIALECT, PATHS
from app.blueprints.endpoints import Endpoint
from app.blueprints.views import view
from app.gateway.messages import ClientRequest, ClientResponse
from app.gateway.record import Record
from app.gateway.responses_api.stored_responses import Action
from app.services import Services

blueprint = Blueprint("stored_responses", __name__)


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
