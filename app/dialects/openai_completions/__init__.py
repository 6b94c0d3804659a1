"""OpenAI's legacy Completions.

Only clients speak it. An upstream that supports it gets the bytes; any other gets the prompt as a user message. Its
errors and token counts are those of Chat Completions and come from there. Nothing here does I/O.
"""

from app.dialects.openai_chat import error_status, parse_error, render_error
from app.dialects.openai_completions.passthrough import StreamPassthrough, pass_request, pass_response
from app.dialects.openai_completions.request_parser import parse_request
from app.dialects.openai_completions.response_parser import parse_response
from app.dialects.openai_completions.response_renderer import render_response
from app.dialects.openai_completions.stream_parser import StreamParser
from app.dialects.openai_completions.stream_renderer import StreamRenderer
from app.dialects.openai_completions.traits import TRAITS
from app.dialects.openai_completions.vocabulary import NAME
