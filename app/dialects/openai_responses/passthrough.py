"""Passes replies of the same dialect, and repairs them."""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec

from app.conversation.capabilities import Capabilities, RenderContext
from app.conversation.events import Failed
from app.conversation.literals import EMPTY, hide_halves, join, text_of
from app.conversation.response import Usage
from app.dialects.error_kinds import decode_error, decode_named_error, judge_reported
from app.dialects.json_bodies import change_fields, encode_body, replace_model
from app.dialects.malformed import decode_tolerantly, malformed
from app.dialects.openai_responses.errors import response_error, told_error
from app.dialects.openai_responses.grammar import Grammar, StreamEvent, repeated_text
from app.dialects.openai_responses.items.custom_calls import CallRestorer
from app.dialects.openai_responses.items.output import Output
from app.dialects.openai_responses.items.passed_items import NUMBER, PassedItems
from app.dialects.openai_responses.items.sparse_items import output_of
from app.dialects.openai_responses.passing_response import says_nothing
from app.dialects.openai_responses.response_object import ResponseObject
from app.dialects.openai_responses.stream_parser import ENDS, ITEM_DONE, StreamParser, is_read, whole_response
from app.dialects.openai_responses.stream_renderer import StreamRenderer, write_failure
from app.dialects.openai_responses.usage import parse_usage
from app.dialects.openai_responses.vocabulary import NULL, WireResponse, response_decoder
from app.dialects.rewriting import Rewriter
from app.dialects.runs import join_events
from app.errors import SAID_NOTHING, Failure, UpstreamCut, UpstreamRefused
from app.json_values import UNREADABLE, decode_or_none, fields_decoder
from app.known_secrets import known_secrets
from app.sse import COMMENT_KEEPALIVE, DONE, SseDecoder, encode_event, read_events

_event_decoder = msgspec.json.Decoder(StreamEvent)
# The prefix of the vendor's own events. Others may contain anything, so secrets in them are masked.
_KNOWN = b"event: response."
_MARK = b"data: [DONE]"
_DELTA = b".delta\ndata: "
# Events that wait for the first that an item says: until then it can be rendered from its beginning.
_ADDED = b"event: response.output_item.added"
_WAITING = (
    _ADDED,
    b"event: response.content_part.added",
    b"event: response.reasoning_summary_part.added",
    b"event: response.function_call_arguments.done",  # with nothing
)
_REASONING = b'"reasoning"'  # which may stay silent for long
# Clients know no event for a response that was cancelled.
_END_STATUSES = {"completed": "completed", "incomplete": "incomplete", "failed": "failed", "cancelled": "failed"}
_GOOD_ENDS = ("response.completed", "response.incomplete")
# Bytes of an open item's events that are kept; the rest of a longer item passes as it comes, even if out of order.
MAX_SINCE = 16 << 20


class _Since:
    """The events that have passed since the open item began, unless they are too many."""

    def __init__(self) -> None:
        self._events: list[bytes] = []
        self.size = 0

    def add(self, events: bytes) -> None:
        self.size += len(events)
        if self.size <= MAX_SINCE:
            self._events.append(events)
        else:
            self._events.clear()

    def joined(self) -> bytes:
        return b"".join(self._events)


class StreamPassthrough:
    """A stream whose bytes pass.

    Deltas, which make up nearly all of it, are not decoded: only a read that contains an item, a response, the end of a
    text or an error is split, and only those events are decoded. Repairs the name of the model, ids that change within
    an item, a terminal response without the items that were sent, items that appear only in it, items that lack fields,
    events without a name, and failures that a client might not recognise. From the first event out of order, the rest
    is rewritten, unless the open item has said something. A failure before the first event raises UpstreamRefused.
    """

    def __init__(self, context: RenderContext, capabilities: Capabilities) -> None:
        self.usage: Usage | None = None
        self.finished = False
        self._context = context
        self._may_be_empty = capabilities.first_party
        self.failed: Failure | None = None
        self._response_id: str | None = None
        self._grammar = Grammar()
        self._waiting: list[bytes] = []  # events of an item that has said nothing
        self._items = PassedItems()
        self._rewriter: Rewriter | None = None  # set once the rest is rewritten
        self._events = SseDecoder(context.max_event)
        self._passed: list[bytes] = []  # the events of the read before the one that is looked into
        self._since = _Since()
        self._delta = b""  # the last events with a delta
        self._last = b""  # the last passed events, from which the next sequence number is derived
        self._nameless = False  # events must be named by their payloads
        self._custom = CallRestorer(context.custom_tools) if context.custom_tools else None

    def run(self, part: bytes) -> tuple[bytes, bytes]:
        return b"", part

    def feed(self, part: bytes) -> bytes:
        return self._restore(self._feed(part))

    def close(self) -> bytes:
        return self._restore(self._close())

    def fail(self, failure: Failure) -> bytes:
        """The stream's last events. An incomplete event is dropped."""
        return self._restore(self._fail(failure))

    def _restore(self, events: bytes) -> bytes:
        return self._custom.feed(events) if self._custom is not None else events

    def _feed(self, part: bytes) -> bytes:
        events = self._take_whole(part)
        if not events or self.failed is not None or self.finished:
            return b""
        if self._rewriter is not None:
            return self._rewrite(read_events(events))
        settled = self._grammar.is_settled and self._items.keep_ids
        deltas = settled and _are_deltas(events)
        if settled and _are_sound(events) and (deltas or not _has_mark(events)):
            self._delta = events if deltas or _DELTA in events else self._delta
            self._since.add(events)
        else:
            events = self._look_into(events)
        self._last = events or self._last
        return events

    def _close(self) -> bytes:
        rest = self._events.unfinished.drain().strip(b"\n")
        whole = rest[:1] in (b"{", b"<") or any(
            _type_of(data) or data == b"[DONE]" for data in read_events(rest + b"\n\n")
        )
        out = self._feed(rest + b"\n\n") if whole else b""  # the final blank line may be missing
        if self.failed is not None and not self.finished:
            return out
        if self._rewriter is not None:
            return out if self.finished else out + self._take_from(self._rewriter, self._rewriter.close())
        if not self.finished:
            cut = UpstreamCut("the upstream's stream ended before the response was complete", began=True)
            if self._is_silent():
                raise UpstreamRefused(cut.failure)
            return out + self._fail(cut.failure)
        return out if self._last.rstrip().endswith(b"[DONE]") else out + DONE

    def _fail(self, failure: Failure) -> bytes:
        if self.finished or self.failed is not None:
            return b""
        self.failed = failure
        self._events.unfinished.drain()
        if self._rewriter is not None:
            return self._rewriter.fail(failure)
        if self._response_id is None:
            return StreamRenderer(self._context).feed([Failed(failure)])
        response = ResponseObject(self._context)
        response.id = self._response_id
        output = Output(self._context.id)
        output.number = self._next_number()
        output.items = self._items.in_order()
        write_failure(output, response, failure, self.usage)
        return output.take()

    def ping(self) -> bytes:
        """As StreamRenderer.ping, but without a number, because the upstream numbers its events itself."""
        if self.finished or self.failed is not None:
            return b""
        return COMMENT_KEEPALIVE if self._response_id is None else encode_event(b'{"type":"ping"}', "ping")

    def _is_silent(self) -> bool:
        """Whether the client has received nothing yet, so a failure can still become an HTTP status."""
        return self._response_id is None and not self._last

    def _take_whole(self, part: bytes) -> bytes:
        """The events that `part` completes, with their names, which some servers omit; the rest waits, so a ping never
        splits an event."""
        whole = self._events.take(part)
        self._nameless = self._nameless or (whole.startswith(b"data:") and b"event:" not in self._last)
        return _frame(read_events(whole)) if self._nameless else whole

    def _look_into(self, events: bytes) -> bytes:
        blocks = events.split(b"\n\n")
        self._passed = passed = []
        since = 0  # where the events of the open item begin
        grammar = self._grammar
        for position, block in enumerate(blocks):
            adds = _DELTA in block
            if adds:
                self._delta = block
            looks = block and (
                not grammar.is_settled
                or (not adds and _has_mark(block))
                or not self._items.keep_ids
                or not (block.startswith(_KNOWN) and block.endswith(b"}"))
            )
            if not looks:
                passed.append(block)
                continue
            repaired = self._repair(block)
            if isinstance(repaired, Failure):
                if self._is_silent():
                    raise UpstreamRefused(repaired)
                self._last += join_events(passed)
                return join_events(passed) + self._fail(repaired)
            if repaired is None:
                self._last += join_events(passed)
                self._since.add(join_events(passed[since:]))
                return join_events(passed) + self._turn(self._waiting + blocks[position:])
            if not grammar.said and block.startswith(_ADDED):
                self._since, since = _Since(), len(passed)
            passed.append(self._hold(repaired))
            if self.finished:  # only the end mark may follow
                passed += [mark for mark in blocks[position + 1 :] if mark in (_MARK, b"")]
                break
        self._since.add(join_events(passed[since:]))
        return events if passed == blocks else join_events(passed)

    def _may_turn(self) -> bool:
        """Whether the rest could be rewritten: at most one item is open, and all its events are kept."""
        grammar = self._grammar
        return grammar.is_single and (not grammar.open or self._since.size <= MAX_SINCE)

    def _hold(self, block: bytes) -> bytes:
        """The block, or nothing while an item has said nothing; then with what was held."""
        if block.startswith(_WAITING) and not self._grammar.said and (self._waiting or _REASONING not in block):
            self._waiting.append(block)
            return b""
        if not self._waiting or not block:
            return block
        held, self._waiting = self._waiting, []
        return b"\n\n".join((*held, block))

    def _turn(self, blocks: list[bytes]) -> bytes:
        """Starts to rewrite the stream, beginning with these blocks."""
        payloads = read_events(join_events(blocks))
        begun = self._response_id is not None
        self._response_id = self._response_id or _find_id(payloads)
        parser, renderer = StreamParser(), StreamRenderer(self._context)
        self._rewriter = Rewriter(parser, renderer)
        if self._response_id is not None:
            renderer.name(self._response_id)
        for index, item in sorted(self._items.finished.items()):
            parser.feed([encode_body({"type": ITEM_DONE, "output_index": index, "item": msgspec.Raw(item)})])
            renderer.skip(item)
        if begun:
            held = any(block.startswith(_ADDED) for block in self._waiting)
            # An item whose beginning could not be read has no id, like one that is held.
            open_items = () if held else self._grammar.open & self._items.ids.keys()
            known = {index: self._items.ids[index] for index in open_items}
            renderer.resume(self._next_number())
            renderer.adopt(known)
            self._rewriter.feed(read_events(self._since.joined()) if known else [])
            renderer.resume(self._next_number())
        return self._rewrite(payloads)

    def _rewrite(self, payloads: list[bytes]) -> bytes:
        assert self._rewriter is not None
        return self._take_from(self._rewriter, self._rewriter.feed(payloads))

    def _take_from(self, rewriter: Rewriter, written: bytes) -> bytes:
        self.usage = rewriter.usage or self.usage
        if rewriter.failed is not None:
            return written + self._fail(rewriter.failed)
        self.finished = rewriter.finished
        return written + rewriter.close() if self.finished else written  # the last event has all counts

    def _next_number(self) -> int:
        numbers = NUMBER.findall(self._last)
        return int(numbers[-1]) + 1 if numbers else 0

    def _repair(self, block: bytes) -> bytes | Failure | None:
        """One event for the client: the same bytes if nothing is wrong with it. None if it is out of order and the rest
        has to be rewritten from here on; or the failure that it reports."""
        data = b"".join(read_events(block + b"\n\n"))
        try:
            event = _event_decoder.decode(data)
        except UNREADABLE as trouble:
            return self._repair_unreadable(block, data, trouble)
        if event.type in ("error", "response.error") or (not event.type and event.error):
            error = event.error or {"code": event.code, "message": event.message, "param": event.param}
            return judge_reported(error, data)
        if not event.type and whole_response(data) is not None:
            return None
        if not event.type and data.strip() != b"{}":
            return decode_error(data) or malformed("an event", data).failure
        if not event.type.startswith("response."):
            if (failure := decode_named_error((event.type, event.code), data)) is not None:
                return failure
            block = known_secrets.mask_bytes(block)
        try:
            could_turn = self._may_turn()
            if could_turn and not self._repeats(event):
                return None
            if not self._grammar.allows(event) and could_turn:
                return None
            return self._repair_event(block, event)
        except UNREADABLE:
            return block  # the client may understand it

    def _repeats(self, event: StreamEvent) -> bool:
        """Whether the text that an event repeats is the one of its deltas. The whole usually ends like its last delta.
        Only another is compared in full, and once: a server could send any number of them."""
        grammar = self._grammar
        if not grammar.said or grammar.compared or event.output_index not in grammar.open:
            return True
        if event.type == ITEM_DONE and grammar.repeated:
            return True
        repeated = repeated_text(event)
        if repeated is None:
            return True
        text, place = repeated
        last = _last_delta(self._delta)
        if last is None or last.place != place or text.endswith(bytes(last.delta)[1:]):
            return True
        grammar.compared = True
        payloads = read_events(self._since.joined() + join_events(self._passed))
        deltas = [_event_decoder.decode(payload) for payload in payloads if b'"delta"' in payload]
        pieces = [bytes(delta.delta) for delta in deltas if delta.place == place]
        return not pieces or text_of(text) == text_of(join(pieces))

    def _repair_unreadable(self, block: bytes, data: bytes, trouble: Exception) -> bytes | Failure | None:
        """The same for an event that is not in the shape of one."""
        if (hidden := hide_halves(data)) != data:
            return self._repair_halves(block, hidden)
        if not data.strip() or data == b"[DONE]" or _is_object(data, trouble):
            matters = b"{" in data and is_read(data)
            return None if matters and self._may_turn() else known_secrets.mask_bytes(block)
        return malformed("an event", data).failure

    def _repair_halves(self, block: bytes, hidden: bytes) -> bytes | None:
        """An event with half of a surrogate pair, which passes only if it is too late to rewrite its item."""
        odd = self._may_turn() and self._response_id is not None
        with contextlib.suppress(*UNREADABLE):
            self._grammar.allows(_event_decoder.decode(hidden))
        return None if odd else known_secrets.mask_bytes(block)

    def _repair_event(self, block: bytes, event: StreamEvent) -> bytes | Failure:
        if event.response is not NULL:
            kind, response = event.type, event.response
            if kind in ENDS:
                event.type, response = _true_end(event)
                if event.type == "response.completed" and self._says_nothing(response):
                    return SAID_NOTHING
                if event.type == "response.failed":
                    self.failed = judge_reported(_decode_response(response).error)
                block = block.replace(kind.encode(), event.type.encode(), 2) if event.type != kind else block
            told = self._repair_response(event.type, response)
            repaired = _replace(block, event.response, told)
            if event.type not in _GOOD_ENDS:
                return repaired
            return self._items.write_missing(repaired, told, begun=self._grammar.begun, seed=self._context.id)
        if event.item is not NULL:
            return _replace(block, event.item, self._items.repair(event))
        if event.item_id is not None:
            return self._items.repair_id(block, event.output_index or 0, event.item_id)
        return block

    def _says_nothing(self, response: msgspec.Raw) -> bool:
        last = _last_delta(self._delta)
        if self._may_be_empty or (last is not None and bytes(last.delta) != EMPTY):
            return False
        wire = _decode_response(response)
        output = output_of(wire.output, wire.output_text)
        items = None if output is None else [*self._items.finished.values(), *output]
        return says_nothing(items, bytes(response))

    def _repair_response(self, kind: str, raw: msgspec.Raw) -> bytes:
        response = bytes(raw)
        if kind in ENDS:
            self.finished = True
            fields = fields_decoder.decode(raw)
            output = self._items.repair_output(fields)
            if output is not None:
                response = msgspec.json.encode({**fields, "output": output})
        wire = _decode_response(raw)
        self.usage = parse_usage(wire) or self.usage
        self._response_id = self._response_id or wire.id
        if wire.id != self._response_id:
            response = bytes(change_fields(msgspec.Raw(response), id=self._response_id))
        return replace_model(response, self._context.model)


def _last_delta(events: bytes) -> StreamEvent | None:
    at = events.rfind(b'"delta":')
    if at < 0:
        return None
    data = events[events.rfind(b"data:", 0, at) + 5 : (events + b"\n").index(b"\n", at)]
    return decode_or_none(data, _event_decoder)


def _find_id(payloads: list[bytes]) -> str | None:
    """The id of the response that an event announces."""
    for payload in payloads[:1]:
        with contextlib.suppress(*UNREADABLE):
            return _decode_response(_event_decoder.decode(payload).response).id
    return None


def _decode_response(raw: bytes | msgspec.Raw) -> WireResponse:
    wire: WireResponse = decode_tolerantly(response_decoder.decode, bytes(raw))
    return wire


def _true_end(event: StreamEvent) -> tuple[str, msgspec.Raw]:
    """The type of a terminal event and its response, with the status that both should have. The error of a failed one
    may be next to it, where no client looks."""
    wire = _decode_response(event.response)
    named = event.type.partition(".")[2]
    status = next((_END_STATUSES[word] for word in (wire.status, named) if word in _END_STATUSES), "completed")
    changes: dict[str, Any] = {} if wire.status == status else {"status": status}
    if (event.error or status == "failed") and not wire.error:
        verb = "was cancelled" if "cancelled" in (wire.status, named) else "failed"
        error = event.error or {"message": f"the response {verb}, and the upstream did not say why"}
        changes["error"] = response_error(judge_reported(error))
    elif wire.error and (told := told_error(wire.error)) is not wire.error:
        changes["error"] = told
    if status == "incomplete" and not wire.incomplete_details:
        changes["incomplete_details"] = {"reason": "max_output_tokens"}
    return f"response.{status}", change_fields(event.response, **changes) if changes else event.response


def _are_sound(events: bytes) -> bool:
    """Whether the first event has its name and the last one is complete; damage shows at one of these."""
    return events.startswith(_KNOWN) and events.endswith(b"}\n\n")


def _are_deltas(events: bytes) -> bool:
    """Whether each of the events is a delta by its name."""
    return events.count(_DELTA) == events.count(b"\n\n")


def _has_mark(events: bytes) -> bool:
    """Whether some of the events must be decoded."""
    return b'"item":' in events or b'"response":' in events or b'.done"' in events or b'"error"' in events


def _is_object(data: bytes, trouble: Exception) -> bool:
    """Whether unreadable data is still a valid object, which the client may understand."""
    return isinstance(trouble, msgspec.ValidationError) and data.lstrip().startswith(b"{")


def _replace(block: bytes, old: msgspec.Raw, new: bytes) -> bytes:
    before = bytes(old)
    return block if before == new else block.replace(before, new, 1)


def _frame(payloads: list[bytes]) -> bytes:
    return b"".join([encode_event(data.replace(b"\n", b" "), _type_of(data)) for data in payloads])


def _type_of(data: bytes) -> str | None:
    event = decode_or_none(data, _event_decoder)
    return event.type or None if event is not None else None
