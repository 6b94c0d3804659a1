"""The stand-in for Oracle Code Assist: a catalogue, chat that only streams, a token and a request id."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from flask import Response, jsonify, request

from tests.clients.standins.openai_chat import ChatStandIn
from tests.clients.standins.stand_in import KEY, Refusal, keys

REQUEST_KEYS = keys(
    "model messages temperature top_p n stop max_tokens max_completion_tokens presence_penalty frequency_penalty user "
    "stream stream_options tools tool_choice reasoning_effort verbosity service_tier response_format"
)
REQUEST_ID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
CATALOGUE = {
    "data": [
        {
            "model_name": "Stand-in",
            "litellm_params": {"model": "oca/gpt-4.1", "max_tokens": 32768},
            "model_info": {
                "context_window": 1047576,
                "max_output_tokens": 32768,
                "supports_vision": True,
                "supported_api_list": ["CHAT_COMPLETIONS"],
                "input_price": "0.000002",
                "output_price": "0.000008",
            },
        },
        {
            "model_name": "Stand-in without limits",
            "litellm_params": {"model": "oca/grok-code-fast-1"},
            "model_info": {"context_window": 256000, "max_output_tokens": 0, "is_reasoning_model": True},
        },
    ]
}


class OcaStandIn(ChatStandIn):
    model: ClassVar[str] = "oca/gpt-4.1"
    request_keys: ClassVar[frozenset[str]] = REQUEST_KEYS
    reasoning_key: ClassVar[str] = "thinking"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.app.add_url_rule("/v1/model/info", view_func=self._catalogue)
        self.app.add_url_rule("/chat/completions", endpoint="chat", view_func=self.create, methods=["POST"])

    @property
    def settings(self) -> dict[str, str]:
        return {"kind": "oca", "base_url": self.url, "access_token": KEY}

    def create(self) -> Response:
        if not REQUEST_ID.fullmatch(request.headers.get("opc-request-id", "")):
            raise Refusal("opc-request-id is missing or of no known form")
        if request.get_json().get("max_tokens", 0) > CATALOGUE["data"][0]["litellm_params"]["max_tokens"]:
            raise Refusal("max_tokens is too large for the model")
        return super().create()

    def streams(self, body: dict[str, Any]) -> bool:
        return True

    def _catalogue(self) -> Response:
        return jsonify(CATALOGUE)
