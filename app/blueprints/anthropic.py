"""This file is the Anthropic family: messages and the counting of their tokens."""

from __future__ import annotations

import msgspec
from flask import Blueprint, Response

from app.blueprints.front import answer, house, read_inbound, sign, write_error
from app.dialects.registry import DIALECTS
from app.errors import DragomanError
from app.gateway.messages import new_id
from app.gateway.record import Record

blueprint = Blueprint("anthropic", __name__)
DIALECT = DIALECTS["anthropic_messages"]


@blueprint.post("/v1/messages")
@blueprint.post("/messages")
@blueprint.post("/anthropic/v1/messages")
def create_message() -> Response:
    return answer(DIALECT)


@blueprint.post("/v1/messages/count_tokens")
@blueprint.post("/messages/count_tokens")
@blueprint.post("/anthropic/v1/messages/count_tokens")
def count_tokens() -> Response:
    record = Record(new_id(), DIALECT.NAME, None)
    try:
        parts = house()
        inbound = read_inbound(parts, DIALECT)
        counted = parts.gateway.count_tokens(inbound, record)
    except DragomanError as error:
        record.terminal = "error"
        record.error, record.origin = error.failure.kind, error.failure.origin
        return write_error(DIALECT, error, record)
    else:
        record.status = 200
        body = msgspec.json.encode({"input_tokens": counted})
        return sign(Response(body, content_type="application/json"), record.id)
    finally:
        record.write()
