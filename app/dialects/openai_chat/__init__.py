"""This room is the dialect of OpenAI's Chat Completions: `POST /v1/chat/completions`, whole and streamed, as the vendor
defines it and as compatible servers and clients bend it. Nothing here does I/O."""

from app.dialects.openai_chat.chunks import StreamRenderer
from app.dialects.openai_chat.errors import error_status, parse_error, render_error
from app.dialects.openai_chat.passing_request import pass_request
from app.dialects.openai_chat.passthrough import StreamPassthrough
from app.dialects.openai_chat.repair import repair_response
from app.dialects.openai_chat.request import parse_request, render_request
from app.dialects.openai_chat.response import find_usage, parse_response, render_response
from app.dialects.openai_chat.stream import StreamParser
from app.dialects.openai_chat.traits import TRAITS
from app.dialects.openai_chat.vocabulary import NAME

__all__ = [
    "NAME",
    "TRAITS",
    "StreamParser",
    "StreamPassthrough",
    "StreamRenderer",
    "error_status",
    "find_usage",
    "parse_error",
    "parse_request",
    "parse_response",
    "pass_request",
    "render_error",
    "render_request",
    "render_response",
    "repair_response",
]
