"""Parses whole legacy Completions responses."""

from __future__ import annotations

from app.conversation.blocks import Text
from app.conversation.response import Response
from app.dialects.error_bodies import read_error_body
from app.dialects.error_kinds import judge_error
from app.dialects.openai_chat.usage import read_usage
from app.dialects.openai_completions.vocabulary import FINISH_REASONS, completion_decoder
from app.errors import UpstreamMalformed, UpstreamRefused
from app.json_values import UNREADABLE


def parse_response(body: bytes) -> Response:
    """The first choice of a completion. Raises UpstreamRefused, UpstreamMalformed."""
    try:
        wire = completion_decoder.decode(body)
    except UNREADABLE as error:
        raise UpstreamMalformed("the upstream's reply is not a completion") from error
    if wire.error or not wire.choices:
        raise UpstreamRefused(judge_error(0, read_error_body(200, {}, body)))
    choice = wire.choices[0]
    return Response(
        id=wire.id or "",
        model=wire.model or "",
        blocks=(Text(choice.text or ""),),
        finish_reason=FINISH_REASONS.get(choice.finish_reason or "", "stop"),
        raw_finish_reason=choice.finish_reason,
        usage=read_usage(wire.usage) if wire.usage is not None else None,
    )
