"""Parses Chat Completions streams of any server.

Accepts what servers really send; each repair names the server that needs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from operator import attrgetter
from typing import Any

import msgspec

from app.conversation.blocks import Proof, Reasoning, Refusal, Text, ToolCall
from app.conversation.events import (
    BlockClosed,
    BlockDelta,
    BlockNoted,
    BlockOpened,
    Event,
    Failed,
    Finished,
    Started,
    UsageSeen,
)
from app.conversation.literals import EMPTY, HalfPairs, Snapshots, hide_halves, literal
from app.dialects.error_kinds import decode_error
from app.dialects.malformed import decode_tolerantly, malformed, no_answer, split_documents
from app.dialects.openai_chat import reasoning
from app.dialects.openai_chat.replies.citations import read_sources
from app.dialects.openai_chat.replies.ends import Ends
from app.dialects.openai_chat.replies.failures import failure_of
from app.dialects.openai_chat.replies.reply_parts import (
    THOUGHTS,
    is_odd_content,
    open_envelope,
    read_parts,
    text_of_part,
    transcript_of,
)
from app.dialects.openai_chat.replies.shapes import (
    Expectation,
    Shape,
    arguments_of,
    read_reasoning,
    read_reasoning_content,
    read_text,
)
from app.dialects.openai_chat.replies.steps import read_image
from app.dialects.openai_chat.replies.tool_calls import Call, CallBinder, join_entries
from app.dialects.openai_chat.vocabulary import (
    NAME,
    CallFragment,
    CallPiece,
    FirstChunk,
    WireChoice,
    WireChunk,
    WireDelta,
    adds_content,
    calls_of,
    read_reason,
    seconds_of,
)
from app.dialects.openai_shared.counts import WireUsage, read_usage
from app.errors import Failure, UpstreamCut, UpstreamMalformed
from app.json_values import UNREADABLE, any_decoder

_decode_chunk = msgspec.json.Decoder(WireChunk).decode
_decode_first = msgspec.json.Decoder(FirstChunk).decode

_NOTHING = len(b"null")  # raw values up to this length are empty: absent, "" or null
_NO_DELTA = WireDelta()
_LEGACY_INDEX = -1
_REASONING_SHAPES: dict[str, Shape | None] = {
    "reasoning_content": read_reasoning_content,
    "reasoning": read_reasoning,
    "thinking": None,
    "reasoning_text": None,  # this and cot_summary: GitHub Copilot
    "cot_summary": None,
}
_reasoning_of = attrgetter(*_REASONING_SHAPES)
_FIELDS: dict[type, dict[str, None]] = {
    Text: {"content": None},
    Refusal: {"refusal": None},
    Reasoning: dict.fromkeys([*_REASONING_SHAPES, *reasoning.FIELDS.values()]),
}
_QUOTE = ord('"')
# Offset between the call indices of one choice and the next.
_CALLS_OF_A_CHOICE = 1000

_HEADS: dict[type[Text | Reasoning | Refusal], Text | Reasoning | Refusal] = {
    Text: Text(""),
    Reasoning: Reasoning(""),
    Refusal: Refusal(""),
}


class _State(Enum):
    WAITING = "nothing of the answer has come"
    OPEN = "the answer comes"
    FINISHED = "the end mark came; only usage may follow"
    FAILED = "nothing counts any more"


class StreamParser:
    """Upstream side of a stream. Also reads a whole reply, as a stream of a single chunk.

    One text, reasoning or refusal block is open at a time and closes when another kind begins; tool calls stay open
    until the end, because their fragments may interleave.
    """

    def __init__(self, calls: CallBinder | None = None) -> None:
        """`calls` knows the calls read before, and generates missing ids."""
        self._state = _State.WAITING
        self._decode: Any = _decode_first
        self._kind: type[Text | Reasoning | Refusal] | None = None
        self._told: dict[str, None] = {}  # fields of a message that have come
        self._block = -1
        self.snapshots = Snapshots()  # of the open text
        self._next = 0
        self._binder = calls or CallBinder()
        self.ending = False
        self._streamed = False  # a delta came, so a whole message at the end repeats what was said
        self._said = False  # reasoning came as plain text, so the text in its proofs is a duplicate
        self._pieces: dict[str, list[bytes]] = {}  # of proofs
        self._citations: list[dict[str, Any]] = []  # that came before their text
        self._cited = False
        self._sources: list[dict[str, Any]] = []  # named beside the answer
        self._usage: WireUsage | None = None
        self._tier: str | None = None
        self._extensions: dict[str, Any] = {}
        self._next_chunk = Expectation()
        self._target = -1  # the block that it adds to
        self.growing: list[bytes] | None = None  # the pieces of the call whose arguments it continues
        self.steady = False
        self._came = b""  # the last payload that was not part of an answer
        self._ends = Ends()
        self._halves = HalfPairs()

    def resume(self, usage: WireUsage | None, said: Sequence[type[Text | Reasoning | Refusal]]) -> list[Event]:
        """Continues a stream of which the calls, these counts and texts of these kinds were read before."""
        self._state, self._decode, self._usage, self._streamed = _State.OPEN, _decode_chunk, usage, True
        for kind in said:
            self._told.update(_FIELDS[kind])
        events: list[Event] = []
        self._announce_calls(events)
        if Text in said and not self._binder.calls:
            self._open(Text, events)  # citations may follow
        return events

    def feed(self, data: Sequence[bytes]) -> list[Event]:
        """Events of the `data` payloads of some SSE events, in order."""
        events: list[Event] = []
        expected = self._next_chunk
        missed = 0
        steady = False
        for payload in data:
            if expected.shape is not None:
                try:
                    text = expected.shape(payload)
                except UNREADABLE:
                    missed += 1
                else:
                    if text[0] == _QUOTE:
                        if steady := len(text) > 2:
                            events.append(BlockDelta(self._target, text))
                        continue
            steady = False
            self._read_payload(payload, events)
        calm = not steady and self.growing is None and not self.ending
        self.steady = steady or (calm and bool(data) and expected.is_met(data[-1]))
        if missed:
            expected.note(missed, len(data))
        return events

    def close(self) -> list[Event]:
        """The usage after `Finished`, nothing after `Failed`; otherwise the stream was cut."""
        events: list[Event] = []
        if self._state is _State.OPEN and self._ends.reasons:
            self._finish(events)
        if self._state in (_State.WAITING, _State.OPEN):
            began = self._state is _State.OPEN
            self._fail(UpstreamCut("the upstream's reply ended before it was complete", began=began).failure, events)
        self._report_usage(events)
        return events

    def _read_payload(self, payload: bytes, events: list[Event]) -> None:
        if payload == b"[DONE]":
            self._end(events)
            return
        if not payload.isascii():
            payload = payload.decode("utf-8", "replace").encode()  # the decoder does not check raw values
        try:
            chunk = self._decode(payload)
        except UNREADABLE:
            self._read_oddity(payload, events)
            return
        try:
            self._read_chunk(chunk, payload, events)
        except UNREADABLE:  # deep inside a field that is decoded only now
            self._fail(malformed("a chat chunk", payload).failure, events)

    def _read_oddity(self, payload: bytes, events: list[Event]) -> None:
        """Handles a payload that is no chunk: a misshapen end mark, half a surrogate pair, or an invalid one."""
        if payload.lstrip().startswith(b"[DONE]"):
            self._end(events)
            return
        if self._state is _State.FAILED:
            return
        hidden = hide_halves(payload)
        try:
            chunk = decode_tolerantly(self._decode, hidden)
        except UNREADABLE:
            if (documents := split_documents(payload)) is not None:
                for document in documents:
                    self._read_payload(document, events)
                return
            if self.ending or self._state is _State.FINISHED:
                return
            failure = decode_error(payload)
            self._fail(failure or malformed("a chat chunk", payload).failure, events)
            return
        shown: list[Event] = []
        self._read_chunk(chunk, hidden, shown)
        for event in shown:
            if type(event) is BlockDelta:
                event = BlockDelta(event.index, self._halves.join(event.index, event.text))
            events.append(event)

    def _read_chunk(self, chunk: WireChunk, payload: bytes, events: list[Event]) -> None:
        if self._state is _State.FAILED:
            return
        usage = chunk.usage or (chunk.x_groq.usage if chunk.x_groq else None)
        choices = chunk.choices or ()
        if chunk.choices is None and (inner := open_envelope(payload)) is not None:
            self._read_payload(inner, events)
            return
        if self._state is not _State.FINISHED:
            if (failure := failure_of(chunk, payload)) is not None:
                if not self.ending:
                    self._fail(failure, events)
                return
            if len(chunk.search_results) > _NOTHING or len(chunk.citations) > _NOTHING:
                self._sources = read_sources(chunk.search_results, chunk.citations)
            if not choices:
                self._came = payload
            elif type(chunk) is FirstChunk:
                self._start(chunk, events)
            for choice in choices:
                self._read_choice(choice, events)
                usage = usage or choice.usage
            self._notice_end(choices)
        self._note_usage(usage)

    def _note_usage(self, usage: WireUsage | None) -> None:
        """Later counts replace earlier ones; some servers end with zeros."""
        if usage is not None and (self._usage is None or usage.total_tokens != 0):
            self._usage = usage

    def _notice_end(self, choices: Sequence[WireChoice]) -> None:
        """Judges whether a finish reason names the end: servers that send one in each chunk do so next to content, and
        before anything was said. Even after a bare one, more may come (BerriAI/litellm#27139)."""
        if not choices or not self._ends.reasons:
            return
        has_content = self._next > 0 or bool(self._binder.calls)
        self.ending = has_content and not self._ends.awaited and not any(adds_content(choice) for choice in choices)
        if self.ending:
            self._next_chunk.shape = None

    def _read_choice(self, choice: WireChoice, events: list[Event]) -> None:
        """Reads one choice. Several were not requested, so all belong to one turn: GitHub Copilot puts the text in one
        and the call in the next."""
        index = choice.index or 0
        self._streamed = self._streamed or choice.delta is not None
        reason = read_reason(choice)
        delta = choice.delta
        if choice.message is not None and (delta is None or not adds_content(choice)):
            if self._streamed and (self.ending or reason):
                delta = self._unsaid(choice.message)
            elif delta is None:
                delta = choice.message
        self._read_delta(delta or _NO_DELTA, choice, events)
        if reason or index or self._ends.awaited:
            self._ends.note(index, reason, choice)

    def _unsaid(self, message: WireDelta) -> WireDelta:
        """A whole message at the end without what the deltas have said: servers may stream the text only."""
        for name in self._told:
            setattr(message, name, msgspec.Raw())
        if self._binder.calls:
            message.tool_calls = message.function_call = None
        return message

    def _start(self, chunk: FirstChunk, events: list[Event]) -> None:
        self._state = _State.OPEN
        self._decode = _decode_chunk
        self._tier = chunk.service_tier
        self._binder.response_id = chunk.id or self._binder.response_id
        if chunk.system_fingerprint:
            self._extensions["system_fingerprint"] = chunk.system_fingerprint
        if len(chunk.moderation) > _NOTHING:
            self._extensions["moderation"] = any_decoder.decode(chunk.moderation)
        events.append(
            Started(chunk.id or "", chunk.model or "", seconds_of(chunk.created), service_tier=chunk.service_tier)
        )

    def _read_delta(self, delta: WireDelta, choice: WireChoice, events: list[Event]) -> None:
        """Reads the content of a chunk, in the order of a turn, whatever the order of the keys."""
        self._read_reasoning(delta, events)
        self._read_content(delta.content if len(delta.content) else choice.text, events)
        if len(delta.refusal) and _is_text(delta.refusal):
            self._add_text(Refusal, bytes(delta.refusal), events)
        self._note(delta, choice, events)
        if len(delta.images) > _NOTHING:
            self._show(delta.images, events)
            self._told["images"] = None
        if len(delta.audio) > _NOTHING and not _is_text(delta.content) and (words := transcript_of(delta.audio)):
            self._add_text(Text, literal(words), events)
            self._told["audio"] = None
        if delta.tool_calls:
            before, whole = len(self._binder.calls), delta is choice.message
            fragments = calls_of(delta)
            for position, fragment in enumerate(join_entries(fragments) if whole else fragments):
                if whole:
                    fragment.index = before + position  # calls of a whole reply are never fragments of each other
                elif choice.index and isinstance(fragment.index, int):
                    fragment.index += choice.index * _CALLS_OF_A_CHOICE
                self._read_fragment(fragment, events)
        elif delta.function_call is not None:  # beside `tool_calls` it repeats the first of them
            self._read_fragment(CallFragment(index=_LEGACY_INDEX, function=delta.function_call), events)

    def _read_reasoning(self, delta: WireDelta, events: list[Event]) -> None:
        """Reads the text under the first name that has some, because servers repeat it under several; then its
        proofs."""
        details = reasoning.entries_of(delta.reasoning_details) if len(delta.reasoning_details) > _NOTHING else []
        blocks = reasoning.entries_of(delta.thinking_blocks) if len(delta.thinking_blocks) > _NOTHING else []
        if not (details or blocks or any(_reasoning_of(delta))):
            return
        for name, shape in _REASONING_SHAPES.items():
            raw: msgspec.Raw = getattr(delta, name)
            if len(raw) and _is_text(raw):
                self._add_delta(Reasoning, bytes(raw), shape, events)
                self._said = True
                break
            if len(raw) > _NOTHING and (text := text_of_part(any_decoder.decode(raw), THOUGHTS)):
                self._add_text(Reasoning, literal(text), events)
                self._said = True
                break
        else:
            if not self._said and (details or blocks) and (text := reasoning.text_of_entries(details or blocks)):
                self._add_delta(Reasoning, literal(text), None, events)
        if details or blocks:
            if self._next == 0:
                self._open(Reasoning, events)
            for kind, entries in ((reasoning.DETAILS, details), (reasoning.BLOCKS, blocks)):
                self._pieces.setdefault(kind, []).extend(bytes(entry) for entry in entries)

    def _read_content(self, content: msgspec.Raw, events: list[Event]) -> None:
        text = bytes(content)
        if len(text) > 2 and text[0] == _QUOTE:
            self._add_delta(Text, text, read_text, events)
        elif is_odd_content(content):
            self._read_parts(any_decoder.decode(content), events)

    def _read_parts(self, content: Any, events: list[Event]) -> None:
        for content_part in read_parts(content):
            match content_part.kind:
                case "text":
                    self._add_text(Text, literal(content_part.text), events)
                case "reasoning":
                    self._add_text(Reasoning, literal(content_part.text), events)
                case "refusal":
                    self._add_text(Refusal, literal(content_part.text), events)
                case "call":
                    piece = CallPiece(content_part.name, msgspec.Raw(literal(content_part.text)))
                    index = _CALLS_OF_A_CHOICE * _CALLS_OF_A_CHOICE + len(self._binder.calls)
                    self._read_fragment(CallFragment(index=index, id=content_part.id, function=piece), events)

    def _show(self, images: msgspec.Raw, events: list[Event]) -> None:
        """Reads images that the model made, which are separate from its text."""
        for raw in reasoning.entries_of(images):
            shown = read_image(bytes(raw), f"{self._binder.response_id or 'image'}_{self._next}")
            if isinstance(shown, Text):
                self._add_text(Text, literal(shown.text), events)
            elif shown is not None:
                self._close_block(events)
                events += (BlockOpened(self._next, shown), BlockClosed(self._next))
                self._next += 1

    def _note(self, delta: WireDelta, choice: WireChoice, events: list[Event]) -> None:
        """Reads citations and log probabilities, which belong to the open text."""
        if len(delta.annotations) > _NOTHING:
            self._told["annotations"] = None
            self._citations += _objects_of(
                [any_decoder.decode(entry) for entry in reasoning.entries_of(delta.annotations)]
            )
        if self._kind is not Text:
            return
        if self._citations:
            events += (BlockNoted(self._block, citation=citation) for citation in self._citations)
            self._citations, self._cited = [], True
        if len(choice.logprobs) > _NOTHING:
            match any_decoder.decode(choice.logprobs):
                case {"content": [*entries]} if known := _objects_of(entries):
                    events.append(BlockNoted(self._block, logprobs=tuple(known)))

    def _read_fragment(self, fragment: CallFragment, events: list[Event]) -> None:
        """Reads a fragment. A call is announced when its arguments begin: until then its name may continue, or another
        call may begin."""
        call, added = self._binder.bind(fragment)
        if call.block is not None:
            if added != EMPTY and not call.held:
                events.append(BlockDelta(call.block, added))
        else:
            self._announce_calls(events, but=None if call.pieces else call)
            if call.empty:
                self._close_block(events)
        goes_on = call.pieces and not call.held and not call.custom
        if goes_on and call.block is not None and isinstance(fragment.index, int):
            self._expect(arguments_of(call, fragment.index), call.block, call.pieces)

    def _announce_calls(self, events: list[Event], *, but: Call | None = None) -> None:
        """Opens the calls that are not open yet, with the arguments that have arrived."""
        for call in self._binder.calls:
            if call.block is not None or call is but or not call.name:
                continue
            self._close_block(events)
            proof = reasoning.call_proof(call.extra) if call.extra is not None else None
            if proof is not None:
                # Clients of other dialects cannot keep it at the call, so they keep it as reasoning.
                events += (BlockOpened(self._next, Reasoning("", proof)), BlockClosed(self._next, proof))
                self._next += 1
            call.block = self._next
            self._next += 1
            head = ToolCall(call.id, call.name, "", "custom" if call.custom else "function", proof=proof)
            events.append(BlockOpened(call.block, head))
            if not call.held:
                events.extend(BlockDelta(call.block, piece) for piece in call.pieces)

    def _add_delta(self, kind: type[Text | Reasoning], text: bytes, shape: Shape | None, events: list[Event]) -> None:
        """Adds a text that may repeat what came before; if it does not, the next is expected in the same shape."""
        if self._kind is not kind:
            self._open(kind, events)
        if (added := self.snapshots.take(text)) != EMPTY:
            events.append(BlockDelta(self._block, added))
        if self.snapshots.settled:
            self._expect(shape, self._block)
        self._next_chunk.first = shape if self.snapshots.is_open else None

    def _add_text(self, kind: type[Text | Reasoning | Refusal], text: bytes, events: list[Event]) -> None:
        if self._kind is not kind:
            self._open(kind, events)
        self._add_waiting(events)
        events.append(BlockDelta(self._block, text))

    def _add_waiting(self, events: list[Event]) -> None:
        if (waited := self.snapshots.flush()) != EMPTY:
            events.append(BlockDelta(self._block, waited))

    def _expect(self, shape: Shape | None, block: int, growing: list[bytes] | None = None) -> None:
        """Expects that the next chunk adds to `block` in this shape."""
        if self._next_chunk.expect(shape):
            self._target, self.growing = block, growing

    def _open(self, kind: type[Text | Reasoning | Refusal], events: list[Event]) -> None:
        """Opens a text block, which closes the one before. Pending calls that began with an empty object are
        complete."""
        if sum(call.settle() for call in self._binder.calls if call.block is None):
            self._announce_calls(events)
        self._close_block(events)
        self._kind = kind
        self._told.update(_FIELDS[kind])
        self.snapshots = Snapshots()
        self._block = self._next
        self._next += 1
        events.append(BlockOpened(self._block, _HEADS[kind]))

    def _close_block(self, events: list[Event], *, incomplete: bool = False) -> None:
        self._next_chunk.shape = None
        if self._kind is None:
            return
        self._add_waiting(events)
        proof = self._take_proof() if self._kind is Reasoning else None
        if self._kind is Text and not self._cited:
            events += (BlockNoted(self._block, citation=source) for source in self._sources)
            self._sources = []
        events.append(BlockClosed(self._block, proof, incomplete))
        self._kind = None

    def _take_proof(self) -> Proof | None:
        """The proof of the reasoning so far; a server uses one of the two fields."""
        for kind, pieces in self._pieces.items():
            if pieces:
                originals = reasoning.merge_entries(pieces)
                for other in self._pieces.values():
                    other.clear()
                return Proof(NAME, kind, originals)
        return None

    def _finish(self, events: list[Event]) -> None:
        """Closes all blocks and reports the finish reason; the content takes precedence over the server's label."""
        reason, finish = self._ends.judge()
        if finish == "broken":
            self._fail(UpstreamMalformed(f"the upstream broke off with finish_reason {reason[:80]!r}").failure, events)
            return
        if not reason and any(call.is_cut() for call in self._binder.calls):
            finish = "length"  # nobody said so, but the arguments have no end
        cut = finish == "length"
        nameless = next((call for call in self._binder.calls if call.pieces and not call.name), None)
        if nameless is not None:
            self._fail(UpstreamMalformed("the upstream called a tool without naming it").failure, events)
            return
        self._announce_calls(events)
        self._close_block(events, incomplete=cut)
        if any(self._pieces.values()):  # proofs that arrived after the reasoning had ended
            self._open(Reasoning, events)
            self._close_block(events)
        calls = [call for call in self._binder.calls if call.block is not None]
        for call in calls:
            if call.settle():
                events.append(BlockDelta(call.block or 0, call.pieces[0]))
            elif call.held:
                events.append(BlockDelta(call.block or 0, call.held_arguments()))
            proof = reasoning.call_proof(call.extra) if call.extra is not None else None
            events.append(BlockClosed(call.block or 0, proof, cut and not call.is_complete()))
        if calls and finish in ("stop", "stop_sequence"):
            finish = "tool_calls"
        elif finish == "tool_calls" and not calls:
            finish = "stop"
        stop = self._ends.stop if finish in ("stop", "stop_sequence") else None
        events.append(Finished("stop_sequence" if stop else finish, reason or None, stop, extensions=self._extensions))
        self._state = _State.FINISHED

    def _end(self, events: list[Event]) -> None:
        """Handles [DONE], which ends an answer even without a finish reason; with nothing before it, there is no
        answer."""
        if self._state is _State.OPEN:
            self._finish(events)
        elif self._state is _State.WAITING:
            self._fail(no_answer(self._came).failure, events)
        self._report_usage(events)

    def _report_usage(self, events: list[Event]) -> None:
        """Reports the last counts, once nothing can follow: servers send them in every chunk, with the finish, or after
        it."""
        if self._usage is not None and self._state is _State.FINISHED:
            counts = read_usage(self._usage, self._tier)
            if counts.input or counts.output:  # zeros, and names that nobody knows, are no counts: then we estimate
                events.append(UsageSeen(counts))
            self._usage = None

    def _fail(self, failure: Failure, events: list[Event]) -> None:
        events.append(Failed(failure))
        self._state = _State.FAILED
        self._next_chunk.shape = None


def _is_text(raw: msgspec.Raw) -> bool:
    """Whether a raw value is a non-empty string."""
    return len(raw) > 2 and bytes(raw).startswith(b'"')


def _objects_of(values: list[Any]) -> list[dict[str, Any]]:
    """The objects in a list; other entries are dropped."""
    return [value for value in values if isinstance(value, dict)]
