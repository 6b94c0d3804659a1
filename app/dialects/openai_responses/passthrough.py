"""Passes replies of the same dialect, and repairs them."""

from __future__ import annotations

import contextlib
import re
from enum import Enum, auto
from typing import Any

import msgspec

from app.conversation.capabilities import Capabilities, RenderContext
from app.conversation.events import Failed
from app.conversation.literals import hide_halves
from app.conversation.response import Usage
from app.dialects.error_kinds import decode_error
from app.dialects.json_bodies import Fields, change_fields, fields_decoder, list_decoder, repair_text, replace_model
from app.dialects.malformed import malformed
from app.dialects.openai_responses.errors import parse_error_event, response_error
from app.dialects.openai_responses.items.output import Output
from app.dialects.openai_responses.items.sparse_items import complete_item, settle_item
from app.dialects.openai_responses.items.whole_items import write_whole_item
from app.dialects.openai_responses.response_object import ResponseObject
from app.dialects.openai_responses.rewriter import Rewriter
from app.dialects.openai_responses.stream_parser import ENDS
from app.dialects.openai_responses.stream_renderer import StreamRenderer, write_failure
from app.dialects.openai_responses.usage import find_usage, parse_usage
from app.dialects.openai_responses.vocabulary import NULL, response_decoder
from app.errors import Failure, UpstreamCut, UpstreamRefused
from app.known_secrets import known_secrets
from app.sse import COMMENT_KEEPALIVE, DONE, EventBuffer, SseDecoder, encode_event


def pass_response(body: bytes, context: RenderContext, capabilities: Capabilities) -> tuple[bytes, Usage | None]:
    """The response with the client's name of the model; other bytes change only if an item needs repair.

    Raises UpstreamRefused for an error that came with status 200, UpstreamMalformed for anything but a JSON object.
    """
    if not body.isascii():
        body = repair_text(body)
    try:
        verdict = _verdict_decoder.decode(hide_halves(body))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        if (failure := decode_error(body)) is not None:
            raise UpstreamRefused(failure) from error
        raise malformed("a response", body) from error
    if verdict.error and verdict.object is None:
        raise UpstreamRefused(parse_error_event(verdict.error, body))
    if verdict.output is None and verdict.object != "response":
        raise UpstreamRefused(failure) if (failure := decode_error(body)) else malformed("a response", body)
    if verdict.output is not None:
        # The client judges unreadable items.
        with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            output = [settle_item(complete_item(raw)) for raw in verdict.output]
            if any(new is not old for new, old in zip(output, verdict.output, strict=True)):
                body = msgspec.json.encode({**fields_decoder.decode(body), "output": output})
    return replace_model(body, context.model), find_usage(body)


class _Verdict(msgspec.Struct):
    """The fields that distinguish a failed response, which is still a response, from a mere error."""

    object: Any = None
    error: Any = None
    output: list[msgspec.Raw] | None = None


_verdict_decoder = msgspec.json.Decoder(_Verdict)


class _Ids(Enum):
    """Whether the upstream keeps an item's id through all of its events."""

    UNKNOWN = auto()
    STABLE = auto()
    UNSTABLE = auto()


class _Event(msgspec.Struct):
    type: str = ""
    output_index: int = 0
    item_id: str | None = None
    item: msgspec.Raw = NULL
    response: msgspec.Raw = NULL
    error: Any = None
    code: Any = None
    message: str | None = None
    param: str | None = None


class _ItemId(msgspec.Struct):
    id: str | None = None


_event_decoder = msgspec.json.Decoder(_Event)
_item_id_decoder = msgspec.json.Decoder(_ItemId)
# Marks of the events that must be decoded.
_MARKS = (b'"item":', b'"response":', b'"error"')
# The prefix of the vendor's own events. Others may contain anything, so secrets in them are masked.
_KNOWN = b"event: response."
# The beginning of an event about an item.
_UNANNOUNCED = re.compile(
    rb"event: response\.(?:content_part\.added|output_text\.delta|refusal\.delta|reasoning_summary_part\.added"
    rb"|reasoning_summary_text\.delta|reasoning_text\.delta|function_call_arguments\.delta)\n"
)
_OLD_END = "response.done"  # which realtime streams end with, and what was made after them
_GOOD_ENDS = ("response.completed", "response.incomplete")
_NUMBER = re.compile(rb'"sequence_number"\s*:\s*(\d+)')


class StreamPassthrough:
    """A stream whose bytes pass.

    Deltas, which make up nearly all of it, are not decoded: only a read that contains an item, a response or an error
    is split, and only those events are decoded. Repairs the name of the model, ids that change within an item, a
    terminal response without the items that were sent, items that appear only in it, items that lack fields, events
    without a name, and failures that a client might not recognise. If items are not announced, the rest is rewritten. A
    failure before the first event raises UpstreamRefused.
    """

    def __init__(self, context: RenderContext, capabilities: Capabilities) -> None:
        self.usage: Usage | None = None
        self.finished = False
        self._context = context
        self._failed = False
        self._error: Failure | None = None  # the upstream's error event
        self._response_id: str | None = None
        self._begun = False  # the response was announced
        self._ids = _Ids.UNKNOWN
        self._item_ids: dict[int, str] = {}
        self._announced = False  # some item was announced
        self._rewriter: Rewriter | None = None  # set once the rest is rewritten
        self._items: dict[int, bytes] = {}  # finished items by index
        self._unfinished = EventBuffer(context.max_event)
        self._last = b""  # the last passed events, from which the next sequence number is derived
        self._decoder: SseDecoder | None = None  # set once events must be reframed

    def run(self, part: bytes) -> tuple[bytes, bytes]:
        return b"", part

    def feed(self, part: bytes) -> bytes:
        events = self._take_whole(part)
        if not events or self._failed:
            return b""
        if self._rewriter is not None:
            return self._rewrite(SseDecoder().feed(events))
        if not _are_sound(events) or self._ids is not _Ids.STABLE or any(mark in events for mark in _MARKS):
            events = self._look_into(events)
        self._last = events or self._last
        return events

    def close(self) -> bytes:
        rest = self._unfinished.drain().strip(b"\n") if self._decoder is None else _frame(self._decoder.close()).strip()
        whole = any(_type_of(data) or data == b"[DONE]" for data in SseDecoder().feed(rest + b"\n\n"))
        out = self.feed(rest + b"\n\n") if whole else b""  # the final blank line may be missing
        if self._failed:
            return out
        if self._rewriter is not None:
            return out if self.finished else out + self._rewriter.close()
        if not self.finished:
            cut = UpstreamCut("the upstream's stream ended before the response was complete", began=True)
            if self._is_silent():
                raise UpstreamRefused(cut.failure)
            return out + self.fail(cut.failure)
        return out if self._last.rstrip().endswith(b"[DONE]") else out + DONE

    def fail(self, failure: Failure) -> bytes:
        """The stream's last events. An incomplete event is dropped."""
        if self.finished or self._failed:
            return b""
        self._failed = True
        self._unfinished.drain()
        if self._rewriter is not None:
            return self._rewriter.fail(failure)
        if self._response_id is None:
            return StreamRenderer(self._context).feed([Failed(failure)])
        response = ResponseObject(self._context)
        response.id = self._response_id
        output = Output(self._context.id)
        output.number = self._next_number()
        output.items = [self._items[index] for index in sorted(self._items)]
        write_failure(output, response, failure, self.usage)
        return output.take()

    def ping(self) -> bytes:
        """As StreamRenderer.ping, but without a number, because the upstream numbers its events itself."""
        if self.finished or self._failed:
            return b""
        return COMMENT_KEEPALIVE if self._response_id is None else encode_event(b'{"type":"ping"}', "ping")

    def _is_silent(self) -> bool:
        """Whether the client has received nothing yet, so a failure can still become an HTTP status."""
        return self._response_id is None and not self._last

    def _take_whole(self, part: bytes) -> bytes:
        """The events that `part` completes; the rest waits, so a ping never splits an event."""
        if self._decoder is None:
            if b"\r" not in part:
                whole = self._unfinished.take(part)
                # Some servers omit event names.
                if not whole.startswith(b"data:") or b"event:" in self._last:
                    return whole
                part = whole
            else:
                part = self._unfinished.drain() + part
            self._decoder = SseDecoder(self._context.max_event)
            part += self._unfinished.drain()
        return _frame(self._decoder.feed(part))

    def _look_into(self, events: bytes) -> bytes:
        blocks = events.split(b"\n\n")
        passed: list[bytes] = []
        for position, block in enumerate(blocks):
            if not self._announced and _UNANNOUNCED.match(block) is not None:
                self._last += b"\n\n".join(passed)
                rest = SseDecoder().feed(b"\n\n".join(blocks[position:]))
                return b"".join(before + b"\n\n" for before in passed) + self._turn(rest)
            looks = (
                any(mark in block for mark in _MARKS)
                or (self._ids is not _Ids.STABLE and b'"item_id"' in block)
                or not (block.startswith(_KNOWN) and block.endswith(b"}"))
            )
            repaired = self._repair(block) if looks else block
            if self._error is not None:
                if self._is_silent():
                    raise UpstreamRefused(self._error)
                self._last += b"\n\n".join(passed)
                return b"".join(before + b"\n\n" for before in passed) + self.fail(self._error)
            passed.append(repaired)
        return events if passed == blocks else b"\n\n".join(passed)

    def _turn(self, payloads: list[bytes]) -> bytes:
        """Starts to rewrite the stream, beginning with these payloads."""
        self._rewriter = Rewriter(self._context, self._response_id, self._next_number())
        return self._rewrite(payloads)

    def _rewrite(self, payloads: list[bytes]) -> bytes:
        assert self._rewriter is not None
        written = self._rewriter.feed(payloads)
        self.usage, self.finished = self._rewriter.usage or self.usage, self._rewriter.finished
        return written

    def _next_number(self) -> int:
        numbers = _NUMBER.findall(self._last)
        return int(numbers[-1]) + 1 if numbers else 0

    def _repair(self, block: bytes) -> bytes:
        """One event for the client: the same bytes if nothing is wrong with it."""
        data = b"".join(SseDecoder().feed(block + b"\n\n"))
        try:
            event = _event_decoder.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as trouble:
            if not data.strip() or data == b"[DONE]" or hide_halves(data) != data or _is_json(trouble):
                return known_secrets.mask_bytes(block)
            self._error = malformed("an event", data).failure
            return b""
        if event.type in ("error", "response.error") or (not event.type and event.error):
            error = event.error or {"code": event.code, "message": event.message, "param": event.param}
            self._error = parse_error_event(error, data)
            return b""
        if not event.type and data.strip() != b"{}":
            self._error = decode_error(data) or malformed("an event", data).failure
            return b""
        if not event.type.startswith("response."):
            block = known_secrets.mask_bytes(block)
        try:
            return self._repair_event(block, event)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return block  # the client may understand it

    def _repair_event(self, block: bytes, event: _Event) -> bytes:
        if event.type == _OLD_END and event.response is not NULL:
            status = response_decoder.decode(event.response).status or "completed"
            event.type = f"response.{status}"
            block = block.replace(_OLD_END.encode(), event.type.encode(), 2)
        if event.response is not NULL:
            response = self._repair_response(event.type, _with_error(event.response, event.error))
            repaired = _replace(block, event.response, response)
            return self._complete_items(repaired, response) if event.type in _GOOD_ENDS else repaired
        if event.item is not NULL:
            return _replace(block, event.item, self._repair_item(event, event.item))
        if event.item_id is not None:
            return self._repair_item_id(block, event.output_index, event.item_id)
        return block

    def _repair_response(self, kind: str, raw: msgspec.Raw) -> bytes:
        response = bytes(raw)
        if kind in ENDS:
            self.finished = True
            fields = fields_decoder.decode(raw)
            output = self._repair_output(fields)
            if output is not None:
                response = msgspec.json.encode({**fields, "output": output})
        else:
            self._begun = True
        wire = response_decoder.decode(raw)
        self.usage = parse_usage(wire) or self.usage
        self._response_id = self._response_id or wire.id
        return replace_model(response, self._context.model)

    def _repair_output(self, fields: Fields) -> list[msgspec.Raw] | None:
        """The output that the terminal response should have had; None if its own is correct."""
        listed = list_decoder.decode(fields["output"]) if bytes(fields.get("output", b"null")) != b"null" else []
        if not listed and self._items:  # the backend of ChatGPT logins repeats no items
            return [msgspec.Raw(self._items[index]) for index in sorted(self._items)]
        if self._ids is _Ids.UNSTABLE:
            return [settle_item(self._with_known_id(index, item)) for index, item in enumerate(listed)]
        settled = [settle_item(complete_item(item)) for item in listed]
        return settled if any(new is not old for new, old in zip(settled, listed, strict=True)) else None

    def _complete_items(self, block: bytes, response: bytes) -> bytes:
        """The terminal event, preceded by the events that the upstream omitted: clients expect an event per item, and
        the vendor's SDK `response.created`."""
        listed = response_decoder.decode(response).output or []
        if all(index in self._items for index in range(len(listed))):
            return block
        output = Output(self._context.id)
        number = _NUMBER.search(block)
        output.number = int(number[1]) if number else 0
        if not self._begun:
            begun: dict[str, Any] = {
                **fields_decoder.decode(response),
                "status": "in_progress",
                "output": [],
                "usage": None,
            }
            output.write("response.created", response=begun)
        for index, raw in enumerate(map(bytes, listed)):
            if index in self._items:
                output.items.append(raw)
            elif index in self._item_ids:
                output.end_item(raw)
            else:
                write_whole_item(output, raw)
        return output.take() + _NUMBER.sub(b'"sequence_number":%d' % output.number, block, count=1)

    def _repair_item(self, event: _Event, item: msgspec.Raw) -> bytes:
        index = event.output_index
        self._announced = True
        item = complete_item(item)
        if event.type == "response.output_item.added":
            item_id = _item_id_decoder.decode(item).id
            if item_id is not None:
                self._item_ids[index] = item_id
        elif event.type == "response.output_item.done":
            item = settle_item(self._with_known_id(index, item))
            self._items[index] = bytes(item)
        return bytes(item)

    def _with_known_id(self, index: int, item: msgspec.Raw) -> msgspec.Raw:
        known = self._item_ids.get(index)
        if known is None or _item_id_decoder.decode(item).id in (known, None):
            return item
        self._ids = _Ids.UNSTABLE
        return change_fields(item, id=known)

    def _repair_item_id(self, block: bytes, index: int, item_id: str) -> bytes:
        known = self._item_ids.get(index, item_id)
        if self._ids is _Ids.UNKNOWN:
            self._ids = _Ids.STABLE if known == item_id else _Ids.UNSTABLE
        if known == item_id:
            return block
        return block.replace(msgspec.json.encode(item_id), msgspec.json.encode(known), 1)


def _with_error(response: msgspec.Raw, beside: Any) -> msgspec.Raw:
    """A failed response with its error, which some servers put next to it, where no client looks."""
    if not beside or response_decoder.decode(response).error:
        return response
    return change_fields(response, error=response_error(parse_error_event(beside)))


def _are_sound(events: bytes) -> bool:
    """Whether the first event has its name and the last one is complete; damage shows at one of these."""
    return events.startswith(_KNOWN) and events.endswith(b"}\n\n")


def _is_json(trouble: Exception) -> bool:
    """Whether unreadable data is still valid JSON, which the client may understand."""
    return isinstance(trouble, msgspec.ValidationError)


def _replace(block: bytes, old: msgspec.Raw, new: bytes) -> bytes:
    before = bytes(old)
    return block if before == new else block.replace(before, new, 1)


def _frame(payloads: list[bytes]) -> bytes:
    return b"".join([encode_event(data.replace(b"\n", b" "), _type_of(data)) for data in payloads])


def _type_of(data: bytes) -> str | None:
    try:
        return _event_decoder.decode(data).type or None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
