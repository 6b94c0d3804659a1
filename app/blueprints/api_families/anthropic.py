"""Anthropic Messages."""

from __future__ import annotations

from app.blueprints.endpoints import Endpoint
from app.dialects.registry import DIALECTS

ENDPOINT = Endpoint(DIALECTS["anthropic_messages"])
PATHS = ("/v1/messages", "/messages")
ENDPOINTS = dict.fromkeys(PATHS, ENDPOINT)
