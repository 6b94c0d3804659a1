"""Renders responses that run in the background."""

from __future__ import annotations

import re

import msgspec

from app.conversation.capabilities import RenderContext
from app.dialects.json_bodies import read_body
from app.dialects.openai_responses.errors import response_error
from app.dialects.openai_responses.items.output import Output
from app.dialects.openai_responses.response_object import ResponseObject
from app.dialects.openai_responses.stream_renderer import write_error
from app.errors import Failure
from app.json_values import fields_decoder
from app.sse import DONE

_NUMBER = re.compile(rb'"sequence_number":(\d+)')


class Head(msgspec.Struct):
    """The fields needed of a response object; `background` means that its client does not wait for it."""

    id: str = ""
    status: str = ""
    background: bool | None = None


_head_decoder = msgspec.json.Decoder(Head)


def read_head(response: bytes) -> Head:
    """The head of a response object made by this gateway."""
    return _head_decoder.decode(response)


def ask_stream(body: bytes) -> bytes:
    """The request changed to ask for a stream. Raises InvalidRequest."""
    return msgspec.json.encode({**read_body(body), "stream": True})


def render_queued(context: RenderContext) -> bytes:
    return ResponseObject(context).render("queued")


def change_status(response: bytes, status: str, failure: Failure | None = None) -> bytes:
    """A response object with another status."""
    error = None if failure is None else response_error(failure)
    return msgspec.json.encode({**fields_decoder.decode(response), "status": status, "error": error})


def skip_events(events: bytes, last: int) -> bytes:
    """Whole events without those numbered up to `last`."""
    blocks = events.split(b"\n\n")
    return b"\n\n".join(block for block in blocks if last_number(block, default=last + 1) > last)


def last_number(events: bytes, default: int) -> int:
    """The sequence number of the last of these events that has one. In an event it comes after anything that looks like
    it."""
    numbers = _NUMBER.findall(events)
    return int(numbers[-1]) if numbers else default


def render_end(response: bytes, number: int) -> bytes:
    """The last events of a stream without an end of its own: cancelled, or interrupted with its worker."""
    output = Output("")
    output.number = number
    output.write(f"response.{read_head(response).status}", response=msgspec.Raw(response))
    return output.take() + DONE


def render_break(failure: Failure, number: int) -> bytes:
    """The last events of a stream that cannot be continued; the fate of its response is unknown."""
    output = Output("")
    output.number = number
    write_error(output, failure)
    return output.take() + DONE
