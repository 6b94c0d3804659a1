"""Splits a request for several answers into single requests, and joins their replies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from app.conversation.response import add_usages
from app.dialects.json_bodies import encode_body, read_body
from app.dialects.openai_chat.usage import find_usage, write_usage


def ask_single(body: bytes) -> bytes:
    """The request changed to ask for one whole answer. Raises InvalidRequest."""
    return encode_body({name: raw for name, raw in read_body(body).items() if name != "n"})


def join_responses(bodies: Sequence[bytes]) -> bytes:
    """The first of our replies with the choices of all, in order. The counts are added up, because each answer cost its
    prompt again."""
    wholes: list[dict[str, Any]] = [msgspec.json.decode(body) for body in bodies]
    choices = [choice for whole in wholes for choice in whole["choices"]]
    joined = {**wholes[0], "choices": [{**choice, "index": index} for index, choice in enumerate(choices)]}
    total = add_usages([usage for body in bodies if (usage := find_usage(body)) is not None])
    if total is not None:
        joined["usage"] = write_usage(total)
    return encode_body(joined)
