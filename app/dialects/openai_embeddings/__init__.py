"""OpenAI Embeddings, which only pass."""

from app.dialects.openai_chat import error_status, parse_error, render_error
from app.dialects.openai_embeddings.passthrough import check_request, pass_request, pass_response
from app.dialects.openai_embeddings.traits import TRAITS
from app.dialects.openai_embeddings.untranslated import (
    StreamParser,
    StreamPassthrough,
    StreamRenderer,
    parse_request,
    parse_response,
    render_response,
)
from app.dialects.openai_embeddings.vocabulary import NAME

__all__ = [
    "NAME",
    "TRAITS",
    "StreamParser",
    "StreamPassthrough",
    "StreamRenderer",
    "check_request",
    "error_status",
    "parse_error",
    "parse_request",
    "parse_response",
    "pass_request",
    "pass_response",
    "render_error",
    "render_response",
]
