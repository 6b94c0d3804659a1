"""OpenAI Chat Completions, Responses, the legacy Completions, and Embeddings."""

from __future__ import annotations

import msgspec

from app.blueprints.endpoints import Endpoint
from app.dialects import openai_completions, openai_embeddings
from app.dialects.registry import DIALECTS
from app.gateway.endpoints.completions import PEEK_CHAT, answer_chat, complete
from app.gateway.endpoints.counting import count_tokens
from app.gateway.messages import ClientRequest, ClientResponse
from app.gateway.record import Record
from app.gateway.responses_api.response_store import PEEK_RESPONSES
from app.gateway.responses_api.responses import compact, create_response
from app.services import Services

RESPONSES = DIALECTS["openai_responses"]


def _chat(parts: Services, client_request: ClientRequest, record: Record) -> ClientResponse:
    return answer_chat(parts.gateway, client_request, record)


def _complete(parts: Services, client_request: ClientRequest, record: Record) -> ClientResponse:
    record.operation = "completions"
    return complete(parts.gateway, client_request, record)


def _embed(parts: Services, client_request: ClientRequest, record: Record) -> ClientResponse:
    openai_embeddings.check_request(client_request.body)
    client_request.operation = record.operation = "embeddings"
    return parts.gateway.answer(client_request, record)


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


# Each path exists with and without /v1.
ENDPOINTS = {
    f"{root}{path}": endpoint
    for path, endpoint in {
        "/chat/completions": Endpoint(DIALECTS["openai_chat"], _chat, PEEK_CHAT),
        "/completions": Endpoint(openai_completions, _complete, PEEK_CHAT),
        "/embeddings": Endpoint(openai_embeddings, _embed),
        "/responses": Endpoint(RESPONSES, _create, PEEK_RESPONSES, continues=True),
        "/responses/input_tokens": Endpoint(RESPONSES, _count, PEEK_RESPONSES, continues=True),
        "/responses/compact": Endpoint(RESPONSES, _compact, PEEK_RESPONSES, continues=True),
    }.items()
    for root in ("/v1", "")
}
