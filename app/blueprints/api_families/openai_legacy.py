"""The older endpoints of the OpenAI family: completions of text, and embeddings."""

from __future__ import annotations

from flask import Blueprint, Response

from app.blueprints.api import view
from app.dialects import openai_completions, openai_embeddings
from app.gateway.endpoints.legacy import complete
from app.gateway.messages import ClientRequest, ClientResponse
from app.gateway.record import Record
from app.services import Services

blueprint = Blueprint("openai_legacy", __name__)


@blueprint.post("/v1/completions")
@blueprint.post("/completions")
def create_completion() -> Response:
    def answer(parts: Services, client_request: ClientRequest, record: Record) -> ClientResponse:
        record.operation = "completions"
        return complete(parts.gateway, client_request, record)

    return view(openai_completions, answer)


@blueprint.post("/v1/embeddings")
@blueprint.post("/embeddings")
def create_embeddings() -> Response:
    def answer(parts: Services, client_request: ClientRequest, record: Record) -> ClientResponse:
        openai_embeddings.check_request(client_request.body)
        client_request.operation = record.operation = "embeddings"
        return parts.gateway.answer(client_request, record)

    return view(openai_embeddings, answer)
