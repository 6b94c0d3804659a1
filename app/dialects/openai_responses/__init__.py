"""This room is the dialect of OpenAI's Responses, which Codex and the Open Responses servers speak.

A conversation is a flat list of items here: `items.py` reads single ones, `turns.py` groups them, `output.py` writes
those of an answer, and `response_object.py` is what stands around them. `stream.py` reads streams, `lifecycle.py`
writes them. Nothing here does I/O.
"""

from app.dialects.openai_responses.errors import error_status, parse_error, render_error
from app.dialects.openai_responses.lifecycle import StreamRenderer
from app.dialects.openai_responses.passing_request import pass_request
from app.dialects.openai_responses.passthrough import StreamPassthrough, repair_response
from app.dialects.openai_responses.request import parse_request, render_request
from app.dialects.openai_responses.response import find_usage, parse_response, render_response
from app.dialects.openai_responses.stream import StreamParser
from app.dialects.openai_responses.traits import TRAITS
from app.dialects.openai_responses.vocabulary import NAME

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
