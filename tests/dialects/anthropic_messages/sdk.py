"""The vendor's own SDK as a judge of what is rendered: it talks to bytes instead of a server."""

from __future__ import annotations

import anthropic
import httpx2
from anthropic.types import Message


def read_stream(stream: bytes) -> Message:
    """What the SDK's stream helper makes of a stream. Raises anthropic.APIStatusError for an error event."""
    with _client(200, stream, "text/event-stream").messages.stream(
        model="m", max_tokens=10, messages=[{"role": "user", "content": "q"}]
    ) as events:
        return events.get_final_message()


def read_message(body: bytes, status: int = 200) -> Message:
    """What the SDK makes of a whole answer. Raises anthropic.APIStatusError for an error."""
    return _client(status, body, "application/json").messages.create(
        model="m", max_tokens=10, messages=[{"role": "user", "content": "q"}]
    )


def _client(status: int, body: bytes, media_type: str) -> anthropic.Anthropic:
    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(status, headers={"content-type": media_type}, content=body)

    http_client = httpx2.Client(transport=httpx2.MockTransport(answer))
    return anthropic.Anthropic(api_key="k", base_url="http://sdk.invalid", http_client=http_client, max_retries=0)
