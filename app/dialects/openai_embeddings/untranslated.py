"""Refuses translation and streaming, which Embeddings do not have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from app.conversation.capabilities import Capabilities, RenderContext
from app.conversation.request import Request
from app.conversation.response import Response
from app.dialects import contract
from app.errors import NotFound


def parse_request(body: bytes, headers: Mapping[str, str]) -> Request:
    """Raises NotFound: an upstream without embeddings has nothing in their place."""
    _refuse()


def parse_response(body: bytes) -> Response:
    _refuse()


def render_response(response: Response, context: RenderContext) -> bytes:
    _refuse()


def StreamParser() -> contract.StreamParser:  # noqa: N802
    _refuse()


def StreamRenderer(context: RenderContext) -> contract.StreamRenderer:  # noqa: N802
    _refuse()


def StreamPassthrough(context: RenderContext, capabilities: Capabilities) -> contract.StreamPassthrough:  # noqa: N802
    _refuse()


def _refuse() -> NoReturn:
    raise NotFound(
        "this model's upstream has no embeddings; name a model of an OpenAI-compatible provider",
        param="model",
        code="model_not_found",
    )
