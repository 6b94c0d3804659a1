"""OpenAI Responses: creating a response."""

from __future__ import annotations

import msgspec

from app.blueprints.endpoints import Endpoint
from app.dialects.registry import DIALECTS
from app.gateway.endpoints.counting import count_tokens
from app.gateway.messages import ClientRequest, ClientResponse
from app.gateway.record import Record
from app.gateway.responses_api.compaction import compact
from app.gateway.responses_api.responses import create_response
from app.gateway.responses_api.responses_peek import PEEK_RESPONSES
from app.services import Services

DIALECT = DIALECTS["openai_responses"]
PATHS = ("/v1/responses", "/responses")


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


ENDPOINTS = {
    **{path: Endpoint(DIALECT, _create, PEEK_RESPONSES) for path in PATHS},
    **{f"{path}/input_tokens": Endpoint(DIALECT, _count, PEEK_RESPONSES) for path in PATHS},
    **{f"{path}/compact": Endpoint(DIALECT, _compact, PEEK_RESPONSES) for path in PATHS},
}
