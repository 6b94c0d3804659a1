"""Answers Chat Completions, with one upstream request per answer if an upstream gives only one."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from app.dialects.openai_chat.replies.several import ask_single, join_responses
from app.gateway.delivery import JSON_HEADERS
from app.gateway.endpoints.fanout import answer_each
from app.gateway.gateway import Gateway
from app.gateway.messages import ClientRequest, ClientResponse
from app.gateway.peek import Peek, peek_body
from app.gateway.record import Record


class ChatPeek(Peek):
    """How many answers are wanted, in which form calls are rendered, and whether the conversation may be stored."""

    n: Any = None
    functions: msgspec.Raw = msgspec.Raw()
    store: Any = None

    @property
    def several(self) -> bool:
        return self.n not in (None, 1)

    @property
    def legacy(self) -> bool:
        return len(self.functions) > 0

    @property
    def stored(self) -> bool:
        return self.store is not False


PEEK_CHAT = peek_body(ChatPeek)

# Maximum answers that are requested one by one for a single request.
MAX_ANSWERS = 8


class _Parts(Protocol):
    """The service used here."""

    @property
    def gateway(self) -> Gateway: ...


def answer_chat(parts: _Parts, client_request: ClientRequest, record: Record) -> ClientResponse:
    """Answers a Chat request. Raises DragomanError while it can still be an HTTP status."""
    gateway = parts.gateway
    peek = client_request.peek
    assert isinstance(peek, ChatPeek), "the Chat endpoint reads its requests with PEEK_CHAT"
    if peek.n is None or peek.stream or not _must_fan_out(gateway, client_request, peek.n):
        return gateway.answer(client_request, record)
    record.model, record.stream = peek.model, False
    single = client_request.with_body(ask_single(client_request.body))
    bodies = answer_each(gateway.answer, [single] * peek.n, record)
    return ClientResponse(200, dict(JSON_HEADERS), join_responses(bodies))


def _must_fan_out(gateway: Gateway, client_request: ClientRequest, n: object) -> bool:
    if not isinstance(n, int) or not 1 < n <= MAX_ANSWERS:
        return False
    upstreams = gateway.resolve(client_request)
    return not all(upstream.capabilities.n for upstream in upstreams)
