"""The dialect of OpenAI's Embeddings, which is only ever passed on: nothing else can be asked instead."""

from app.dialects.openai_chat import error_status, find_usage, parse_error, render_error
from app.dialects.openai_embeddings.passthrough import check_request, parse_request, pass_request, repair_response
from app.dialects.openai_embeddings.traits import TRAITS
from app.dialects.openai_embeddings.vocabulary import NAME

__all__ = [
    "NAME",
    "TRAITS",
    "check_request",
    "error_status",
    "find_usage",
    "parse_error",
    "parse_request",
    "pass_request",
    "render_error",
    "repair_response",
]
