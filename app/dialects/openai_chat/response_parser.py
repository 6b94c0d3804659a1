"""Parses whole Chat Completions responses."""

from __future__ import annotations

import msgspec

from app.conversation.response import Response
from app.conversation.streams.fold import fold
from app.dialects.json_bodies import repair_text
from app.dialects.malformed import malformed
from app.dialects.openai_chat.stream_parser import StreamParser


def parse_response(body: bytes) -> Response:
    """The response in a whole reply. A reply is read as a stream of one chunk, so that both are understood alike.

    Raises UpstreamRefused for an error inside a reply of status 200, or for what is none, UpstreamMalformed for a reply
    without a message.
    """
    body = repair_text(body)
    response = fold(StreamParser().feed([body, b"[DONE]"]))
    if not response.blocks and _is_void(body):
        raise malformed("a chat reply", body)
    return response


def _is_void(body: bytes) -> bool:
    """Whether no choice has a place for an answer; one that is there may well be empty."""
    try:
        whole = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False  # it was read all the same, so something was there
    match whole:
        case {"choices": [*choices]}:
            answers = [choice.get(name) for choice in choices for name in ("message", "delta", "text")]
            return all(answer is None for answer in answers)
        case _:
            return False
