"""What a server of either OpenAI dialect has: a bearer key, its words for errors, a list of models."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify

from tests.clients.standins.stand_in import KEY, StandIn


class OpenAiStandIn(StandIn):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.app.add_url_rule("/v1/models", view_func=self._list_models)

    @property
    def settings(self) -> dict[str, str]:
        return {"kind": "openai", "base_url": f"{self.url}/v1", "api_key": KEY}

    def is_proven(self, headers: dict[str, str]) -> bool:
        return headers.get("authorization") == f"Bearer {KEY}"

    def error_body(self, status: int, message: str) -> dict[str, Any]:
        return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}

    def _list_models(self) -> Response:
        entry = {"id": self.model, "object": "model", "created": 1, "owned_by": "us"}
        return jsonify({"object": "list", "data": [entry]})
