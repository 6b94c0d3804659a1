"""Creates a response, in the foreground or background."""

from __future__ import annotations

from app.gateway.gateway import Gateway
from app.gateway.messages import ClientRequest, ClientResponse
from app.gateway.record import Record
from app.gateway.responses_api.background import Background
from app.gateway.responses_api.response_store import ResponseStore


def create_response(
    gateway: Gateway, background: Background, store: ResponseStore, client_request: ClientRequest, record: Record
) -> ClientResponse:
    """Answers a request, in the background if it asks for that. Raises DragomanError while it can still be an HTTP
    status."""
    if background.takes(client_request):
        return background.begin(client_request, record)
    return answer_continued(gateway, store, client_request, record)


def answer_continued(
    gateway: Gateway, store: ResponseStore, client_request: ClientRequest, record: Record
) -> ClientResponse:
    """Answers a request that may continue an earlier response, and whose answer may have to be stored."""
    if client_request.continuation is None:
        client_request.continuation = store.begin(client_request)
    return gateway.answer(client_request, record)
