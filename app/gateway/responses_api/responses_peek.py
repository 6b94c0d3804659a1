"""Reads what a Responses request continues, and whether its response is stored."""

from __future__ import annotations

from typing import Any, ClassVar

from app.gateway.messages import ClientRequest
from app.gateway.peek import Peek, peek_body


class ResponsesPeek(Peek):
    """The fields hold whatever the client sent; they are validated where they are used."""

    names: ClassVar[tuple[str, ...]] = ("previous_response_id", "conversation")

    store: Any = None
    previous_response_id: Any = None
    conversation: Any = None
    background: Any = None

    @property
    def stored(self) -> bool:
        return self.store is not False


PEEK_RESPONSES = peek_body(ResponsesPeek)


def peek_of(client_request: ClientRequest) -> ResponsesPeek:
    """The request's peek, as a ResponsesPeek. Raises InvalidRequest as `ClientRequest.peek` does."""
    peek = client_request.peek
    assert isinstance(peek, ResponsesPeek), "an endpoint of the Responses API reads its requests with PEEK_RESPONSES"
    return peek
