"""Finds the failure that a chunk of a stream reports."""

from __future__ import annotations

from app.dialects.error_bodies import find_error
from app.dialects.error_kinds import judge_error, judge_reported
from app.dialects.openai_chat.vocabulary import WireChunk
from app.errors import Failure
from app.json_values import any_decoder


def failure_of(chunk: WireChunk, payload: bytes) -> Failure | None:
    """The failure that a chunk reports, in any vendor's shape."""
    for holder in (chunk, *(chunk.choices or ())):
        if len(holder.error) and (value := any_decoder.decode(holder.error)):
            return judge_reported(value, payload)
    nothing = not chunk.choices and (chunk.choices is None or chunk.usage is None)
    if nothing or len(chunk.base_resp) > len(b"null"):
        found = find_error(any_decoder.decode(payload), answered=not nothing)
        return judge_error(0, found) if found is not None else None
    return None
