"""This file is the conversations of Responses clients: making one, and what it holds."""

from __future__ import annotations

from collections.abc import Callable

from flask import Blueprint, Response, request

from app.blueprints.front import view
from app.dialects.registry import DIALECTS
from app.gateway.conversations import Conversations
from app.gateway.messages import Inbound, Outbound
from app.gateway.record import Record
from app.house import House

blueprint = Blueprint("openai_conversations", __name__)
DIALECT = DIALECTS["openai_responses"]


def create() -> Response:
    return _ask(lambda kept, inbound: kept.create(inbound.tenant, inbound.body))


def retrieve(place: str) -> Response:
    return _ask(lambda kept, inbound: kept.retrieve(inbound.tenant, place))


def describe(place: str) -> Response:
    return _ask(lambda kept, inbound: kept.describe(inbound.tenant, place, inbound.body))


def delete(place: str) -> Response:
    return _ask(lambda kept, inbound: kept.delete(inbound.tenant, place))


def list_items(place: str) -> Response:
    query = request.args.to_dict()
    return _ask(lambda kept, inbound: kept.list_items(inbound.tenant, place, query))


def add_items(place: str) -> Response:
    return _ask(lambda kept, inbound: kept.add_items(inbound.tenant, place, inbound.body))


def retrieve_item(place: str, item: str) -> Response:
    return _ask(lambda kept, inbound: kept.retrieve_item(inbound.tenant, place, item))


def delete_item(place: str, item: str) -> Response:
    return _ask(lambda kept, inbound: kept.delete_item(inbound.tenant, place, item))


def _ask(ask: Callable[[Conversations, Inbound], Outbound]) -> Response:
    def answer(parts: House, inbound: Inbound, _record: Record) -> Outbound:
        return ask(parts.conversations, inbound)

    return view(DIALECT, answer)


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
