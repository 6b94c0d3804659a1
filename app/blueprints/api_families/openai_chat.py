"""The Chat Completions family."""

from __future__ import annotations

from flask import Blueprint, Response

from app.blueprints.api import Endpoint, view
from app.dialects.registry import DIALECTS
from app.gateway.endpoints.chat import answer_chat
from app.gateway.messages import ClientRequest, ClientResponse
from app.gateway.record import Record
from app.services import Services

blueprint = Blueprint("openai_chat", __name__)
DIALECT = DIALECTS["openai_chat"]
GENERATING = ("/v1/chat/completions", "/chat/completions")


def _answer(parts: Services, client_request: ClientRequest, record: Record) -> ClientResponse:
    return answer_chat(parts.gateway, client_request, record)


ENDPOINT = Endpoint(DIALECT, _answer)


def create_completion() -> Response:
    return view(*ENDPOINT)


for _path in GENERATING:
    blueprint.add_url_rule(_path, view_func=create_completion, methods=["POST"])
