"""OpenAI Chat Completions."""

from __future__ import annotations

from app.blueprints.endpoints import Endpoint
from app.dialects.registry import DIALECTS
from app.gateway.endpoints.chat import PEEK_CHAT, answer_chat
from app.gateway.messages import ClientRequest, ClientResponse
from app.gateway.record import Record
from app.services import Services


def _answer(parts: Services, client_request: ClientRequest, record: Record) -> ClientResponse:
    return answer_chat(parts.gateway, client_request, record)


ENDPOINT = Endpoint(DIALECTS["openai_chat"], _answer, PEEK_CHAT)
ENDPOINTS = dict.fromkeys(("/v1/chat/completions", "/chat/completions"), ENDPOINT)
