"""What the Responses API stores: retrieves and changes stored responses and conversations."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from flask import Blueprint, Response, request

from app.blueprints.endpoints import Endpoint
from app.blueprints.views import view
from app.dialects.registry import DIALECTS
from app.gateway.messages import ClientRequest, ClientResponse
from app.gateway.record import Record
from app.gateway.responses_api.conversations import Conversations
from app.gateway.responses_api.stored_responses import Action
from app.services import Services

# Answers a request. Arguments: the conversations, the client's request, and the variable parts of the path.
Work = Callable[..., ClientResponse]

blueprint = Blueprint("openai_stored", __name__)
DIALECT = DIALECTS["openai_responses"]


def _list_items(kept: Conversations, asked: ClientRequest, place: str) -> ClientResponse:
    return kept.list_items(asked.tenant, place, request.args.to_dict(), asked.hold)


# By method and path.
RESPONSES: dict[tuple[str, str], Action] = {
    ("GET", "/responses/<response_id>"): "retrieve",
    ("DELETE", "/responses/<response_id>"): "delete",
    ("POST", "/responses/<response_id>/cancel"): "cancel",
    ("GET", "/responses/<response_id>/input_items"): "input_items",
}
CONVERSATIONS: dict[tuple[str, str], Work] = {
    ("POST", "/conversations"): lambda kept, asked: kept.create(asked.tenant, asked.body),
    ("GET", "/conversations/<place>"): lambda kept, asked, place: kept.retrieve(asked.tenant, place),
    ("POST", "/conversations/<place>"): lambda kept, asked, place: kept.describe(asked.tenant, place, asked.body),
    ("DELETE", "/conversations/<place>"): lambda kept, asked, place: kept.delete(asked.tenant, place),
    ("GET", "/conversations/<place>/items"): _list_items,
    ("POST", "/conversations/<place>/items"): lambda kept, asked, place: kept.add_items(
        asked.tenant, place, asked.body
    ),
    ("GET", "/conversations/<place>/items/<item>"): lambda kept, asked, place, item: kept.retrieve_item(
        asked.tenant, place, item, asked.hold
    ),
    ("DELETE", "/conversations/<place>/items/<item>"): lambda kept, asked, place, item: kept.delete_item(
        asked.tenant, place, item, asked.hold
    ),
}


def _change_response(action: Action, response_id: str) -> Response:
    query = request.args.to_dict()

    def answer(parts: Services, client_request: ClientRequest, record: Record) -> ClientResponse:
        record.operation = "responses"
        return parts.stored_responses.answer(action, client_request, response_id, query)

    return view(Endpoint(DIALECT, answer, names_model=False, continues=True))


def _change_conversation(work: Work, **parts_of_path: str) -> Response:
    def answer(parts: Services, client_request: ClientRequest, record: Record) -> ClientResponse:
        record.operation = "conversations"
        return work(parts.conversations, client_request, **parts_of_path)

    return view(Endpoint(DIALECT, answer, names_model=False, continues=True))


_VIEWS: dict[tuple[str, str], Callable[..., Response]] = {
    **{place: partial(_change_response, action) for place, action in RESPONSES.items()},
    **{place: partial(_change_conversation, work) for place, work in CONVERSATIONS.items()},
}
for (_method, _path), _view in _VIEWS.items():
    for _root in ("/v1", ""):
        blueprint.add_url_rule(f"{_root}{_path}", f"{_method} {_root}{_path}", _view, methods=[_method])
