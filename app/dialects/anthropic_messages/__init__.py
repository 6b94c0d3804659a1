"""Anthropic Messages, `POST /v1/messages`, whole and streamed."""

from app.dialects.anthropic_messages.errors import error_status, parse_error, render_error
from app.dialects.anthropic_messages.passing_request import pass_request, prepare_passing
from app.dialects.anthropic_messages.passing_response import pass_clean, pass_response
from app.dialects.anthropic_messages.passthrough import StreamPassthrough
from app.dialects.anthropic_messages.request_parser import parse_count_request, parse_request
from app.dialects.anthropic_messages.request_renderer import render_request
from app.dialects.anthropic_messages.response_parser import parse_response
from app.dialects.anthropic_messages.response_renderer import render_response
from app.dialects.anthropic_messages.stream_parser import StreamParser
from app.dialects.anthropic_messages.stream_renderer import StreamRenderer
from app.dialects.anthropic_messages.traits import TRAITS
from app.dialects.anthropic_messages.vocabulary import NAME
