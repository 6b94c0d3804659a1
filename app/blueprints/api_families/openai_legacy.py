"""The older endpoints of the OpenAI family: completions of text, and embeddings."""

from __future__ import annotations

from typing import cast

from flask import Blueprint, Response

from app.blueprints.api import view
from app.dialects import openai_completions, openai_embeddings
from app.dialects.contract import Dialect
from app.gateway.endpoints.legacy import complete
from app.gateway.messages import ClientRequest, ClientResponse
from app.gateway.record import Record
from app.services import Services

blueprint = Blueprint("openai_legacy", __name__)

# Dialects of clients alone: what only an upstream's dialect needs, they lack.
COMPLETIONS = cast(Dialect, openai_completions)
EMBEDDINGS = cast(Dialect, openai_embeddings)


@blueprint.post("/v1/completions")
@blueprint.post("/completions")
def create_completion() -> Response:
    def answer(parts: Services, client_request: ClientRequest, record: Record) -> ClientResponse:
        record.operation = "completions"
        return complete(parts.gateway, client_request, record)

    return view(COMPLETIONS, answer)


@blueprint.post("/v1/embeddings")
@blueprint.post("/embeddings")
def create_embeddings() -> Response:
    def answer(parts: Services, client_request: ClientRequest, record: Record) -> ClientResponse:
        openai_embeddings.check_request(client_request.body)
        client_request.operation = record.operation = "embeddings"
        return parts.gateway.answer(client_request, record)

    return view(EMBEDDINGS, answer)
