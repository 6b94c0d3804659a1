"""Renders whole Responses responses."""

from __future__ import annotations

from app.conversation.capabilities import RenderContext
from app.conversation.response import Response
from app.conversation.streams.fold import unfold
from app.dialects.openai_responses.stream_renderer import StreamRenderer


def render_response(response: Response, context: RenderContext) -> bytes:
    """The response object, equal to the one in the last event of the same answer as a stream."""
    renderer = StreamRenderer(context, whole=True)
    renderer.feed(unfold(response))
    renderer.close()
    return renderer.response
