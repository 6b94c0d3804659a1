"""OpenAI Conversations: creating one, and reading and changing its items."""

from __future__ import annotations

from collections.abc import Callable

from flask import Blueprint, Response, request

from app.blueprints.endpoints import Endpoint
from app.blueprints.views import view
from app.dialects.registry import DIALECTS
from app.gateway.messages import ClientRequest, ClientResponse
from app.gateway.record import Record
from app.gateway.responses_api.conversations import Conversations
from app.services import Services

blueprint = Blueprint("openai_conversations", __name__)
DIALECT = DIALECTS["openai_responses"]


def create() -> Response:
    return _ask(lambda kept, client_request: kept.create(client_request.tenant, client_request.body))


def retrieve(place: str) -> Response:
    return _ask(lambda kept, client_request: kept.retrieve(client_request.tenant, place))


def describe(place: str) -> Response:
    return _ask(lambda kept, client_request: kept.describe(client_request.tenant, place, client_request.body))


def delete(place: str) -> Response:
    return _ask(lambda kept, client_request: kept.delete(client_request.tenant, place))


def list_items(place: str) -> Response:
    query = request.args.to_dict()
    return _ask(lambda kept, client_request: kept.list_items(client_request.tenant, place, query))


def add_items(place: str) -> Response:
    return _ask(lambda kept, client_request: kept.add_items(client_request.tenant, place, client_request.body))


def retrieve_item(place: str, item: str) -> Response:
    return _ask(lambda kept, client_request: kept.retrieve_item(client_request.tenant, place, item))


def delete_item(place: str, item: str) -> Response:
    return _ask(lambda kept, client_request: kept.delete_item(client_request.tenant, place, item))


def _ask(ask: Callable[[Conversations, ClientRequest], ClientResponse]) -> Response:
    def answer(parts: Services, client_request: ClientRequest, record: Record) -> ClientResponse:
        record.operation = "conversations"
        return ask(parts.conversations, client_request)

    return view(Endpoint(DIALECT, answer, names_model=False))


for _path in ("/v1/conversations", "/conversations"):
    _one, _items = f"{_path}/<place>", f"{_path}/<place>/items"
    blueprint.add_url_rule(_path, view_func=create, methods=["POST"])
    blueprint.add_url_rule(_one, view_func=retrieve, methods=["GET"])
    blueprint.add_url_rule(_one, view_func=describe, methods=["POST"])
    blueprint.add_url_rule(_one, view_func=delete, methods=["DELETE"])
    blueprint.add_url_rule(_items, view_func=list_items, methods=["GET"])
    blueprint.add_url_rule(_items, view_func=add_items, methods=["POST"])
    blueprint.add_url_rule(f"{_items}/<item>", view_func=retrieve_item, methods=["GET"])
    blueprint.add_url_rule(f"{_items}/<item>", view_func=delete_item, methods=["DELETE"])
