"""OpenAI Responses, as spoken by Codex and Open Responses servers.

In this dialect a conversation is a flat list of items. In `items/`, `items.py` parses single ones, `turns.py` groups
them and `output.py` renders those of an answer; `response_object.py` is the object around them. `state/` is what a
server stores for its clients. Nothing here does I/O.
"""

from app.dialects.openai_responses.errors import error_status, parse_error, render_error
from app.dialects.openai_responses.passing_request import pass_request, prepare_passing
from app.dialects.openai_responses.passing_response import pass_clean, pass_response
from app.dialects.openai_responses.passthrough import StreamPassthrough
from app.dialects.openai_responses.request_parser import parse_request
from app.dialects.openai_responses.request_renderer import render_request
from app.dialects.openai_responses.response_parser import parse_response
from app.dialects.openai_responses.response_renderer import render_response
from app.dialects.openai_responses.stream_parser import StreamParser
from app.dialects.openai_responses.stream_renderer import StreamRenderer
from app.dialects.openai_responses.traits import TRAITS
from app.dialects.openai_responses.vocabulary import NAME
