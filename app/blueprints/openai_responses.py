"""This file is the Responses family."""

from __future__ import annotations

from flask import Blueprint, Response

from app.blueprints.front import view
from app.dialects.registry import DIALECTS

blueprint = Blueprint("openai_responses", __name__)
DIALECT = DIALECTS["openai_responses"]
GENERATING = ("/v1/responses", "/responses")


def create_response() -> Response:
    return view(DIALECT)


for _path in GENERATING:
    blueprint.add_url_rule(_path, view_func=create_response, methods=["POST"])
