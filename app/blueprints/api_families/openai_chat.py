"""OpenAI Chat Completions."""

from __future__ import annotations

from app.blueprints.endpoints import Endpoint
from app.dialects.registry import DIALECTS
from app.gateway.endpoints.chat import PEEK_CHAT, answer_chat

ENDPOINT = Endpoint(DIALECTS["openai_chat"], answer_chat, PEEK_CHAT)
ENDPOINTS = dict.fromkeys(("/v1/chat/completions", "/chat/completions"), ENDPOINT)
