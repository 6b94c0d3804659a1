"""OpenAI's legacy Completions.

Only clients speak it. An upstream that supports it gets the bytes; any other gets the prompt as a user message. Its
replies are those of Chat Completions with a text in place of a message, and are parsed there, like its errors and token
counts. Nothing here does I/O.
"""

from app.dialects.openai_chat import StreamParser, error_status, parse_error, parse_response, render_error
from app.dialects.openai_completions.passthrough import StreamPassthrough, pass_request, pass_response
from app.dialects.openai_completions.request_parser import parse_request
from app.dialects.openai_completions.response_renderer import render_response
from app.dialects.openai_completions.stream_renderer import StreamRenderer
from app.dialects.openai_completions.traits import TRAITS
from app.dialects.openai_completions.vocabulary import NAME
