"""OpenAI Conversations: creating conversations, reading and changing their items."""

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
from app.services import Services

# Answers a request. Arguments: the conversations, the client's request, and the variable parts of the path.
Work = Callable[..., ClientResponse]

blueprint = Blueprint("openai_conversations", __name__)
DIALECT = DIALECTS["openai_responses"]


def _list_items(kept: Conversations, asked: ClientRequest, place: str) -> ClientResponse:
    return kept.list_items(asked.tenant, place, request.args.to_dict())


ROUTES: dict[tuple[str, str], Work] = {
    ("POST", ""): lambda kept, asked: kept.create(asked.tenant, asked.body),
    ("GET", "/<place>"): lambda kept, asked, place: kept.retrieve(asked.tenant, place),
    ("POST", "/<place>"): lambda kept, asked, place: kept.describe(asked.tenant, place, asked.body),
    ("DELETE", "/<place>"): lambda kept, asked, place: kept.delete(asked.tenant, place),
    ("GET", "/<place>/items"): _list_items,
    ("POST", "/<place>/items"): lambda kept, asked, place: kept.add_items(asked.tenant, place, asked.body),
    ("GET", "/<place>/items/<item>"): lambda kept, asked, place, item: kept.retrieve_item(asked.tenant, place, item),
    ("DELETE", "/<place>/items/<item>"): lambda kept, asked, place, item: kept.delete_item(asked.tenant, place, item),
}


def _ask(work: Work, **parts_of_path: str) -> Response:
    def answer(parts: Services, client_request: ClientRequest, record: Record) -> ClientResponse:
        record.operation = "conversations"
        return work(parts.conversations, client_request, **parts_of_path)

    return view(Endpoint(DIALECT, answer, names_model=False))


for (_method, _path), _work in ROUTES.items():
    for _root in ("/v1/conversations", "/conversations"):
        _rule = f"{_root}{_path}"
        blueprint.add_url_rule(_rule, f"{_method} {_rule}", partial(_ask, _work), methods=[_method])
