"""Counts tokens for Anthropic clients."""

from __future__ import annotations

import msgspec
from flask import Blueprint, Response, request

from app.blueprints.api import admit, is_strange, read_client_request, release_body
from app.blueprints.api_families.anthropic import ENDPOINT, PATHS
from app.blueprints.views import answer_error, runtime, services, sign
from app.dialects import anthropic_messages
from app.errors import DragomanError
from app.gateway.endpoints.counting import count_tokens
from app.gateway.messages import new_id

blueprint = Blueprint("anthropic_counting", __name__)
DIALECT = ENDPOINT.dialect


def count_input_tokens() -> Response:
    record = runtime().recorder.begin(new_id(), DIALECT.NAME, request.environ)
    record.operation, record.quiet = "count_tokens", True
    try:
        parts = services()
        client_request = read_client_request(runtime(), parts, request.environ, ENDPOINT)
        client_request = admit(runtime(), parts, client_request, record, request.environ)
        client_request.parse = anthropic_messages.parse_count_request
        counted = count_tokens(parts.gateway, client_request, record)
    except DragomanError as error:
        if is_strange(error, record):
            record.operation = ""
        record.fail(error)
        return answer_error(DIALECT, error, record)
    else:
        record.status = 200
        body = msgspec.json.encode({"input_tokens": counted})
        return sign(Response(body, content_type="application/json"), record.id)
    finally:
        release_body(request.environ)
        record.write()


for _path in PATHS:
    blueprint.add_url_rule(f"{_path}/count_tokens", view_func=count_input_tokens, methods=["POST"])
