"""This file is the local estimate of a request's tokens, for when nobody can be asked."""

from __future__ import annotations

import msgspec

from app.conversation.request import Request


def estimate_tokens(request: Request) -> int:
    """Input tokens of a request, at least 1."""
    return max(1, len(msgspec.json.encode((request.instructions, request.turns, request.tools))) // 4)
