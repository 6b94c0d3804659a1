"""This file is the Chat Completions family."""

from __future__ import annotations

from flask import Blueprint, Response

from app.blueprints.front import answer
from app.dialects.registry import DIALECTS

blueprint = Blueprint("openai_chat", __name__)
DIALECT = DIALECTS["openai_chat"]


@blueprint.post("/v1/chat/completions")
@blueprint.post("/chat/completions")
def create_completion() -> Response:
    return answer(DIALECT)
