"""Passes streams of the same dialect: fixes the model's name, the usage, the finish reason and [DONE].

Correct bytes pass unchanged. They are searched for a few words; only an event that contains one is decoded. From the
first event at which clients would crash or stop, the stream is parsed and rendered anew.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

import msgspec

from app.conversation.capabilities import Capabilities, RenderContext
from app.conversation.literals import hide_halves
from app.conversation.response import Usage
from app.conversation.tokens.estimate import STREAM_BYTES
from app.dialects.error_kinds import decode_error
from app.dialects.json_bodies import encode_body, repair_text
from app.dialects.malformed import decode_tolerantly, malformed, no_answer, split_documents
from app.dialects.openai_chat.errors import error_event
from app.dialects.openai_chat.grammar import Grammar
from app.dialects.openai_chat.passing_response import missing_head
from app.dialects.openai_chat.replies.counts import Counts
from app.dialects.openai_chat.replies.failures import failure_of
from app.dialects.openai_chat.replies.reply_parts import open_envelope
from app.dialects.openai_chat.replies.shapes import read_reasoning, read_reasoning_content, read_text
from app.dialects.openai_chat.replies.snapshots import SnapshotFilter
from app.dialects.openai_chat.replies.spelling import Spelling, split_events
from app.dialects.openai_chat.replies.tool_calls import has_arguments
from app.dialects.openai_chat.vocabulary import (
    WireChoice,
    WireChunk,
    adds_content,
    calls_of,
    read_finish,
)
from app.dialects.openai_shared.counts import WireUsage
from app.dialects.rewriting import Rewriter
from app.dialects.runs import Frame, RunReader, last_event
from app.errors import SAID_NOTHING, Failure, UpstreamCut, UpstreamMalformed, UpstreamRefused
from app.json_values import UNREADABLE, any_decoder
from app.known_secrets import known_secrets
from app.sse import COMMENT_KEEPALIVE, DONE, SseDecoder, encode_event, read_events

_decode_chunk = msgspec.json.Decoder(WireChunk).decode

_WRITES = re.compile(rb'"content": ?"[^"]')
_UNSPACED = (b"data:{", b"data:[", b"{")


class _State(Enum):
    WAITING = "the client has got nothing yet"
    OPEN = "the answer passes"
    ENDED = "nothing may follow"


class _Held(msgspec.Struct):
    """An event that may be the end, or a whole call, until the next shows it."""

    event: bytes
    payload: bytes
    chunk: WireChunk
    opens_empty: bool  # a call with an empty object for arguments


class StreamPassthrough:
    """A stream whose bytes pass. Only whole events are passed on, so a ping or an error never cuts one in two."""

    def __init__(self, context: RenderContext, capabilities: Capabilities) -> None:
        self._context = context
        self._state = _State.WAITING
        self._events = SseDecoder(context.max_event)
        self._runs = RunReader()
        self._snapshots = None if capabilities.first_party or context.several else SnapshotFilter()  # until settled
        self._shown: Frame | None = None  # of a run, as sent to the client
        self._spelling = Spelling(context.model)
        self._grammar = Grammar(context, capabilities)
        self._held: _Held | None = None
        self._counts = Counts()
        self._size = 0  # bytes of the stream
        self._came = b""  # the last payload that was not part of an answer
        self._rewriter: Rewriter | None = None  # set once the rest is rewritten
        self.failed: Failure | None = None
        self.finished = False  # the end was named; what follows shows whether it was one

    @property
    def usage(self) -> Usage | None:
        return self._counts.usage

    def run(self, part: bytes) -> tuple[bytes, bytes]:
        texts, rest = self._runs.take(part, self._events.unfinished)
        if not texts or self._shown is None or self._runs.frame is None:
            return b"", part
        self._size = size = self._size + len(part) - len(rest)
        if self._snapshots is not None:
            if not self._snapshots.begins_anew(texts[0]):
                out = self.feed(self._runs.frame.write(texts))
                self._size = size
                return out, rest
            if self._snapshots.is_settled:
                self._snapshots = None
        return self._shown.write(texts), rest

    def feed(self, part: bytes) -> bytes:
        """The events that `part` completes. Raises UpstreamRefused for an error before anything else."""
        self._size += len(part)
        events = self._events.take(part)
        if events and self._snapshots is not None:
            events = self._snapshots.feed(events)
            if self._snapshots.is_settled:
                self._snapshots = None
        out = self._pass(events)
        if events and not self._runs.tired:
            self._expect_run(last_event(events), out)
        return out

    def close(self) -> bytes:
        """The rest. A finished answer gets the end mark if it is missing, an unfinished one the error event."""
        held = self._snapshots.flush() if self._snapshots is not None else b""
        tail = self._events.unfinished.drain().rstrip(b"\n")
        out = self._pass(held + tail + b"\n\n") if tail else self._pass(held)
        if self._state is _State.ENDED:
            return out
        out += self._let_go()
        if self._rewriter is not None:
            out += self._follow(self._rewriter, self._rewriter.close())
            self._state = _State.ENDED
            return out
        if self.finished:
            return out + self._end(DONE)
        began = self._state is _State.OPEN
        cut = UpstreamCut("the upstream's stream ended before it was complete", began=began)
        return out + self._break(cut.failure)

    def fail(self, failure: Failure) -> bytes:
        """The error event; empty after the end. After the finish the answer is complete, and a failure no longer
        matters."""
        if self._state is _State.ENDED:
            return b""
        self._events.unfinished.drain()
        ending = b""
        with contextlib.suppress(UpstreamMalformed):  # the failure that is told weighs more
            ending = self._let_go()
        if self.finished:
            return ending + self._end(DONE)
        self._state, self.failed = _State.ENDED, failure
        return error_event(failure)

    def ping(self) -> bytes:
        return b"" if self._state is _State.ENDED else COMMENT_KEEPALIVE

    def _pass(self, events: bytes) -> bytes:
        if not events or self._state is _State.ENDED:
            return b""
        if self._rewriter is not None:
            return self._rewrite(events)
        events = self._spelling.mend(events)
        head = b""
        if self._state is _State.WAITING:
            first = events.find(b"\n\n") + 2
            head, events = self._look(events[:first]), events[first:]
        if self._state is not _State.OPEN or self._rewriter is not None or self._held:
            return head + self._look(events)
        words, rest = self._spelling.take_words(events)
        if words and not self._grammar.wrote:
            self._grammar.spoke, self._grammar.wrote = True, _WRITES.search(words) is not None
        return b"".join((head, words, self._look(rest))) if rest else head + words

    def _expect_run(self, event: bytes, out: bytes) -> None:
        """Predicts that the next events will be like this one, if it passed unchanged and only added text."""
        passes = self._snapshots is None or self._snapshots.expects_run
        passes = (
            passes
            and self._state is _State.OPEN
            and not (self.finished or self._events.after_cr or self._rewriter or self._held)
        )
        names = self._spelling.names or (b"-", b"-")
        self._runs.learn(event, _text_of(event) if passes and out.endswith(event.replace(*names)) else None)
        self._shown = self._runs.frame.renamed(*names) if self._runs.frame is not None else None

    def _look(self, events: bytes) -> bytes:
        out = []
        rest = split_events(events)
        for position, event in enumerate(rest):
            if self._state is _State.ENDED:
                break
            if self._rewriter is not None:
                out.append(self._rewrite(b"".join(rest[position:])))
                break
            if (shape := self._grammar.shape) is not None:
                try:
                    shape(event[len(b"data: ") :])
                except UNREADABLE:
                    self._grammar.shape = None
                else:
                    out.append(event)
                    continue
            try:
                out.append(self._look_into(event))
            except UNREADABLE:  # deep inside a field that is decoded only then
                out.append(self._break(malformed("a chat chunk", _payload_of(event)).failure))
            except UpstreamMalformed as error:
                out.append(self._break(error.failure))
            if self._state is _State.WAITING and out[-1].startswith(b"data:"):
                self._state = _State.OPEN
        return b"".join(out)

    def _look_into(self, event: bytes) -> bytes:
        """One event for the client: the same bytes if nothing is wrong with it."""
        payload = _payload_of(event)
        if not payload:
            comments = event.startswith(b":") and self._state is not _State.WAITING
            return known_secrets.mask_bytes(event) if comments else b""
        if (sound := repair_text(payload)) is not payload:
            event, payload = encode_event(sound), sound
        elif event.startswith(_UNSPACED) or payload.find(b"\n") >= 0:  # legal, but many clients ignore such events
            payload = payload.replace(b"\n", b" ")
            event = encode_event(payload)
        if payload.startswith(b"[DONE]"):
            return self._end_by_mark(event, payload)
        try:
            chunk = _decode_chunk(payload)
        except UNREADABLE:
            return self._look_into_odd(event, payload)
        return self._judge(event, payload, chunk)

    def _end_by_mark(self, event: bytes, payload: bytes) -> bytes:
        ending = self._let_go()
        if self._state is _State.WAITING:
            return self._break(no_answer(self._came).failure)
        if not self._grammar.finishes and self._grammar.has_silent_calls():
            return ending + self._turn(event)
        return ending + self._end(event if payload == b"[DONE]" else DONE)

    def _look_into_odd(self, event: bytes, payload: bytes) -> bytes:
        """An event whose payload is no chunk at first sight."""
        try:
            chunk = decode_tolerantly(_decode_chunk, payload)
        except UNREADABLE:
            if hide_halves(payload) != payload:
                return event if self._context.several else self._turn(event)
            documents = split_documents(payload)
            if documents and not self._context.several:
                return self._turn(event)
            if documents is not None:
                return b"".join([self._look_into(encode_event(document)) for document in documents])
            return self._break(decode_error(payload) or malformed("a chat chunk", payload).failure)
        return self._judge(event, payload, chunk) if self._context.several else self._turn(event)

    def _judge(self, event: bytes, payload: bytes, chunk: WireChunk) -> bytes:
        """An event by what its chunk says. One that may be the end, or a whole call, is held until the next shows
        it."""
        if chunk.choices is None and open_envelope(payload) is not None:
            return self._turn(event)
        if (failure := failure_of(chunk, payload)) is not None:
            return self._break(failure)
        if len(chunk.error) and not self._context.several:  # at the mere name of an error some clients stop
            return self._turn(event)
        if not chunk.choices:
            return self._note_beside(event, payload, chunk)
        if self._context.several:
            return self._pass_choices(event, payload, chunk)
        choice, held = chunk.choices[0], self._held
        goes_on = adds_content(choice)
        passed = self._let_go() if held and held.opens_empty and not _adds_arguments(choice) else b""
        if (self._held and goes_on) or not self._grammar.allows(chunk.choices):
            return passed + self._turn(event)
        if self._held and self.finished:
            if (usage := _counts_in(chunk)) is not None:
                self._counts.take(payload, usage)  # nothing else may follow the end
            return passed
        calls = choice.delta is not None and bool(choice.delta.tool_calls)
        opens_empty = calls and self._grammar.opens_empty(choice)
        passed += self._let_go() if self._held else b""
        ends = bool(choice.finish_reason) and read_finish(choice.finish_reason or "") != "broken"
        if ends or (goes_on and opens_empty):
            self._held = _Held(event, payload, chunk, opens_empty)
            self._grammar.shape, self.finished = None, ends
            return passed
        return passed + self._pass_choices(event, payload, chunk)

    def _note_beside(self, event: bytes, payload: bytes, chunk: WireChunk) -> bytes:
        """An event without an answer: its counts are kept until the end."""
        self._came = payload
        if chunk.usage is None:
            return known_secrets.mask_bytes(event) if b'"moderation"' in payload else b""
        self._counts.keep(event, payload, chunk)
        return b""

    def _let_go(self) -> bytes:
        """Releases the event that was held because it might have been the end."""
        held, self._held = self._held, None
        if held is None:
            return b""
        if self.finished and self._says_nothing(held.chunk.choices or ()):
            self.finished = False
            return self._break(SAID_NOTHING)
        passed = self._pass_choices(held.event, held.payload, held.chunk)
        if self._state is _State.WAITING:
            self._state = _State.OPEN
        return passed

    def _says_nothing(self, ends: Sequence[WireChoice] = ()) -> bool:
        return self._grammar.says_nothing(ends) and not (self.usage is not None and self.usage.output)

    def _pass_choices(self, event: bytes, payload: bytes, chunk: WireChunk) -> bytes:
        """An event with clean choices, repaired. Raises UpstreamMalformed for more calls than a stream may have."""
        edits: dict[int, dict[str, Any]] = {}  # of fields, by the position of their choice
        choices = chunk.choices or []
        if self._state is _State.WAITING:
            first = any_decoder.decode(payload)
            headless = missing_head(first, self._context, "chat.completion.chunk") or choices[0].index is None
            if headless and not self._context.several:
                return self._turn(event)
            head = {name: first.get(name) for name in ("id", "object", "created", "model")}
            self._counts.head = encode_body(head)[:-1]
            self._grammar.calls.response_id = str(head["id"])
            delta = first["choices"][0].get("delta") or {}
            if delta.get("role") != "assistant":
                edits[0] = {"delta": {**delta, "role": "assistant"}}
        if (usage := _counts_in(chunk)) is not None:
            payload = self._counts.take(payload, usage)
            event = encode_event(payload)
        repeated = 0
        for position, choice in enumerate(choices):
            known = choice.finish_reason and (choice.index or 0) in self._grammar.finishes
            if changes := self._grammar.note(choice):
                edits[position] = changes | edits.get(position, {})
            if choice.finish_reason:
                self.finished = True
                repeated += bool(known)
        if repeated == len(choices):
            return b""  # some servers send the end twice
        return _edit_choices(payload, edits) if edits else event

    def _turn(self, event: bytes) -> bytes:
        """Starts to rewrite the stream, beginning with the event that is held, and this one."""
        held, self._held = self._held, None
        self._rewriter = self._grammar.rewrite(self._counts.head, self._counts.wire, self._estimate)
        self.finished = False
        return self._rewrite(held.event + event if held else event)

    def _rewrite(self, events: bytes) -> bytes:
        assert self._rewriter is not None
        payloads = [payload for event in split_events(events) if (payload := _payload_of(event))]
        return self._follow(self._rewriter, self._rewriter.feed(payloads))

    def _follow(self, rewriter: Rewriter, written: bytes) -> bytes:
        """The rewritten events, with our own state updated from the rewriter's."""
        self._counts.usage = rewriter.usage or self.usage
        self.finished = rewriter.finished
        if written and self._state is _State.WAITING:
            self._state = _State.OPEN
        return written if rewriter.failed is None else written + self._break(rewriter.failed)

    def _end(self, mark: bytes) -> bytes:
        """The end mark, preceded by the finish, if the server forgot it, and the counts."""
        self._state = _State.ENDED
        if self._rewriter is not None:
            return self._follow(self._rewriter, self._rewriter.close())
        out = b""
        if not self._grammar.finishes and self._says_nothing():
            self._state = _State.OPEN
            return self._break(SAID_NOTHING)
        if not self._grammar.finishes:
            choice = {"index": 0, "delta": {}, "finish_reason": self._grammar.missing_finish()}
            out = encode_event(self._counts.head + b',"choices":' + encode_body([choice]) + b"}")
        if self._context.include_usage:
            out += self._counts.tell(self._estimate())
        self.finished = True
        return out + mark

    def _estimate(self) -> Usage | None:
        asked = self._context.input_tokens
        return Usage(fresh=asked, output=-(-self._size // STREAM_BYTES), estimated=True) if asked else None

    def _break(self, failure: Failure) -> bytes:
        """Ends with an error: as an HTTP status if the client has received nothing yet."""
        if self._state is _State.WAITING:
            self._state = _State.ENDED
            raise UpstreamRefused(failure)
        return self.fail(failure)


def _text_of(event: bytes) -> bytes | None:
    """The literal that an event adds to the text or the reasoning, if it does nothing else."""
    for shape in (read_text, read_reasoning_content, read_reasoning):
        try:
            return shape(event[len(b"data: ") :])
        except UNREADABLE:
            continue
    return None


def _edit_choices(payload: bytes, edits: Mapping[int, Mapping[str, Any]]) -> bytes:
    """The event of a payload with other values of some fields of its choices."""
    value = any_decoder.decode(payload)
    for position, changes in edits.items():
        value["choices"][position] |= changes
    return encode_event(encode_body(value))


def _counts_in(chunk: WireChunk) -> WireUsage | None:
    """The counts of a chunk with choices, wherever its server puts them."""
    beside = chunk.x_groq.usage if chunk.x_groq else None
    return chunk.usage or beside or (chunk.choices[0].usage if chunk.choices else None)


def _adds_arguments(choice: WireChoice) -> bool:
    """Whether a choice continues a call rather than starting one."""
    fragments = calls_of(choice.delta) if choice.delta is not None else []
    return any(not fragment.id and has_arguments(fragment) for fragment in fragments)


def _payload_of(event: bytes) -> bytes:
    if event.startswith(b":") and event.count(b"\n") == 2:
        return b""
    if event.startswith(b"data: ") and event.endswith(b"\n\n") and event.count(b"\n") == 2:
        return event[6:-2]
    return b"\n".join(read_events(event))
