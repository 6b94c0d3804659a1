"""OpenAI's legacy Completions, and Embeddings."""

from __future__ import annotations

from app.blueprints.endpoints import Endpoint
from app.dialects import openai_completions, openai_embeddings
from app.gateway.endpoints.chat import PEEK_CHAT
from app.gateway.endpoints.legacy import complete
from app.gateway.messages import ClientRequest, ClientResponse
from app.gateway.record import Record
from app.services import Services


def _complete(parts: Services, client_request: ClientRequest, record: Record) -> ClientResponse:
    record.operation = "completions"
    return complete(parts.gateway, client_request, record)


def _embed(parts: Services, client_request: ClientRequest, record: Record) -> ClientResponse:
    openai_embeddings.check_request(client_request.body)
    client_request.operation = record.operation = "embeddings"
    return parts.gateway.answer(client_request, record)


ENDPOINTS = {
    **dict.fromkeys(("/v1/completions", "/completions"), Endpoint(openai_completions, _complete, PEEK_CHAT)),
    **dict.fromkeys(("/v1/embeddings", "/embeddings"), Endpoint(openai_embeddings, _embed)),
}
