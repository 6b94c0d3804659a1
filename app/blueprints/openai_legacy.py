"""This file is the older endpoints of the OpenAI family: completions of text, and embeddings."""

from __future__ import annotations

from typing import cast

from flask import Blueprint, Response

from app.blueprints.front import view
from app.dialects import openai_completions, openai_embeddings
from app.dialects.contract import Dialect
from app.gateway.legacy import complete
from app.gateway.messages import Inbound, Outbound
from app.gateway.record import Record
from app.house import House

blueprint = Blueprint("openai_legacy", __name__)

# Dialects of clients alone: what only an upstream's dialect needs, they lack.
COMPLETIONS = cast(Dialect, openai_completions)
EMBEDDINGS = cast(Dialect, openai_embeddings)


@blueprint.post("/v1/completions")
@blueprint.post("/completions")
def create_completion() -> Response:
    def answer(parts: House, inbound: Inbound, record: Record) -> Outbound:
        return complete(parts.gateway, inbound, record)

    return view(COMPLETIONS, answer)


@blueprint.post("/v1/embeddings")
@blueprint.post("/embeddings")
def create_embeddings() -> Response:
    def answer(parts: House, inbound: Inbound, record: Record) -> Outbound:
        openai_embeddings.check_request(inbound.body)
        inbound.operation = "embeddings"
        return parts.gateway.answer(inbound, record)

    return view(EMBEDDINGS, answer)
