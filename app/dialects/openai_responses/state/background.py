"""Renders responses that run in the background."""

from __future__ import annotations

import re

import msgspec

from app.conversation.capabilities import RenderContext
from app.dialects.json_bodies import fields_decoder, read_body
from app.dialects.openai_responses.errors import response_error
from app.dialects.openai_responses.items.output import Output
from app.dialects.openai_responses.response_object import ResponseObject
from app.dialects.openai_responses.stream_renderer import write_error
from app.errors import Failure
from app.sse import DONE

_NUMBER = re.compile(rb'"sequence_number":(\d+)')


class Head(msgspec.Struct):
    """What is to be known of a response object; `background` says that its client does not wait for it."""

    id: str = ""
    status: str = ""
    background: bool | None = None


_head_decoder = msgspec.json.Decoder(Head)


def read_head(response: bytes) -> Head:
    """The head of a response object that this gateway has made."""
    return _head_decoder.decode(response)


def ask_stream(body: bytes) -> bytes:
    """The request as one for a stream. Raises InvalidRequest."""
    return msgspec.json.encode({**read_body(body), "stream": True})


def render_queued(context: RenderContext) -> bytes:
    return ResponseObject(context).render("queued")


def change_status(response: bytes, status: str, failure: Failure | None = None) -> bytes:
    """A response object at another point of its life."""
    error = None if failure is None else response_error(failure)
    return msgspec.json.encode({**fields_decoder.decode(response), "status": status, "error": error})


def skip_events(events: bytes, last: int) -> bytes:
    """Whole events without those up to the number `last`."""
    blocks = events.split(b"\n\n")
    return b"\n\n".join(block for block in blocks if last_number(block, default=last + 1) > last)


def last_number(events: bytes, default: int) -> int:
    """The number of the last of these events that has one. In an event it stands behind whatever else looks like it."""
    numbers = _NUMBER.findall(events)
    return int(numbers[-1]) if numbers else default


def render_end(response: bytes, number: int) -> bytes:
    """The last events of a stream that did not come to its own end: cancelled, or broken off with its worker."""
    output = Output("")
    output.number = number
    output.write(f"response.{read_head(response).status}", response=msgspec.Raw(response))
    return output.take() + DONE


def render_break(failure: Failure, number: int) -> bytes:
    """The last events of a stream that cannot be shown further; what becomes of its response is not known."""
    output = Output("")
    output.number = number
    write_error(output, failure)
    return output.take() + DONE
