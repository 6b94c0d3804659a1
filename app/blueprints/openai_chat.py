"""The Chat Completions family."""

from __future__ import annotations

from flask import Blueprint, Response

from app.blueprints.api import view
from app.dialects.registry import DIALECTS

blueprint = Blueprint("openai_chat", __name__)
DIALECT = DIALECTS["openai_chat"]
GENERATING = ("/v1/chat/completions", "/chat/completions")


def create_completion() -> Response:
    return view(DIALECT)


for _path in GENERATING:
    blueprint.add_url_rule(_path, view_func=create_completion, methods=["POST"])
