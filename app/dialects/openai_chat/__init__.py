"""OpenAI Chat Completions, `POST /v1/chat/completions`, as OpenAI defines it and as compatible servers and clients
vary it."""

from app.dialects.openai_chat.errors import error_status, parse_error, render_error
from app.dialects.openai_chat.passing_request import pass_request, prepare_passing
from app.dialects.openai_chat.passing_response import pass_clean, pass_response
from app.dialects.openai_chat.passthrough import StreamPassthrough
from app.dialects.openai_chat.request_parser import parse_request
from app.dialects.openai_chat.request_renderer import render_request
from app.dialects.openai_chat.response_parser import parse_response
from app.dialects.openai_chat.response_renderer import render_response
from app.dialects.openai_chat.stream_parser import StreamParser
from app.dialects.openai_chat.stream_renderer import StreamRenderer
from app.dialects.openai_chat.traits import TRAITS
from app.dialects.openai_chat.vocabulary import NAME
