"""Reads the Claude program's JSON lines as an Anthropic Messages stream.

Complete events come inside `stream_event` lines. Only two other kinds of line matter: an `assistant` line of the model
`<synthetic>` announces that the program now words an error as if it were an answer, with an ending like a successful
one, and `result` says what the error was.
"""

from __future__ import annotations

from typing import Any

import msgspec

from app.errors import UpstreamMalformed
from app.sse import encode_event

SYNTHETIC = "<synthetic>"
# Ends that the program may reach without asking the API, with the status that the API would have given.
STATUSES = {"prompt_too_long": 400, "blocking_limit": 400}
_MAX_LINE = 64 * 1024 * 1024  # bytes


class Trouble(msgspec.Struct, frozen=True):
    """Why there is no answer. `status` and `type` are from the API's reply to the program, None if it was not asked."""

    message: str
    status: int | None = None
    type: str | None = None


class _Message(msgspec.Struct):
    model: str | None = None


class Line(msgspec.Struct):
    """The relevant fields of a line; `parent_tool_use_id` names the program's subagent that it belongs to."""

    type: str = ""
    subtype: str = ""
    parent_tool_use_id: str | None = None
    event: msgspec.Raw = msgspec.Raw()
    message: msgspec.Raw = msgspec.Raw()
    result: str | None = None
    errors: list[msgspec.Raw] | None = None
    api_error_status: int | None = None
    api_error_type: str | None = None
    terminal_reason: str = ""
    is_error: bool = False
    usage: dict[str, Any] = {}
    response: msgspec.Raw = msgspec.Raw()


class _Response(msgspec.Struct):
    subtype: str = ""
    error: str | None = None


class _Event(msgspec.Struct):
    type: str


_line_decoder = msgspec.json.Decoder(Line)
_message_decoder = msgspec.json.Decoder(_Message)
_response_decoder = msgspec.json.Decoder(_Response)
_event_decoder = msgspec.json.Decoder(_Event)


class Output:
    """Reads the program's output in pieces cut anywhere. `ended`: nothing relevant can follow, because the answer is
    complete or there is `trouble`."""

    def __init__(self) -> None:
        self.ended = False
        self.trouble: Trouble | None = None
        self._unfinished: list[bytes] = []
        self._size = 0
        self._has_begun = False
        self._excuses = False

    def feed(self, data: bytes) -> bytes:
        """The SSE events that `data` completes. Raises UpstreamMalformed for a line that exceeds _MAX_LINE."""
        if b"\n" not in data:
            # Joining only when a line can end keeps the cost of a line of many megabytes linear.
            self._unfinished.append(data)
            self._size += len(data)
            if self._size > _MAX_LINE:
                raise UpstreamMalformed("the Claude program sent a line that is too long")
            return b""
        *lines, rest = b"".join((*self._unfinished, data)).split(b"\n")
        self._unfinished = [rest]
        self._size = len(rest)
        return b"".join(self._read(line) for line in lines if line and not self.ended)

    def _read(self, text: bytes) -> bytes:
        try:
            line = _line_decoder.decode(text)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            # The program's libraries may write to the same output.
            return b""
        return self.take_line(line)

    def take_line(self, line: Line) -> bytes:
        """The events that a line gives."""
        match line.type:
            case "stream_event" if not self._excuses:
                return self._pass(line.event)
            case "assistant" if b"synthetic" in bytes(line.message):
                self._excuses |= _is_synthetic(line.message)
            case "control_response":
                self.trouble = _find_refusal(line.response)
                self.ended |= self.trouble is not None
            case "result":
                self.ended = True
                status = line.api_error_status or STATUSES.get(line.terminal_reason)
                self.trouble = Trouble(_message(line), status, line.api_error_type)
        return b""

    def _pass(self, event: msgspec.Raw) -> bytes:
        try:
            kind = _event_decoder.decode(event).type
        except msgspec.MsgspecError as error:
            raise UpstreamMalformed("the Claude program sent an event without a type") from error
        if kind == "message_start":
            if self._has_begun:
                raise UpstreamMalformed("the Claude program started its answer again")
            self._has_begun = True
        self.ended = kind == "message_stop"
        return encode_event(bytes(event), kind)


def _is_synthetic(message: msgspec.Raw) -> bool:
    try:
        return _message_decoder.decode(message).model == SYNTHETIC
    except msgspec.MsgspecError:
        return False


def _find_refusal(response: msgspec.Raw) -> Trouble | None:
    """Why the program refuses its settings, before its turn; None if it accepts them."""
    try:
        message = _response_decoder.decode(response)
    except msgspec.MsgspecError:
        return None
    return Trouble(message.error or "it rejected its settings") if message.subtype == "error" else None


def _message(line: Line) -> str:
    if line.result:
        return line.result
    errors = [bytes(error).decode("utf-8", "replace").strip('"') for error in line.errors or ()]
    return "; ".join(errors) or "it ended without an answer"
