"""The reading of a stream of Chat Completions: the chunks of any server, as events.

It takes what servers really send; each repair says whose quirk it is. The chunks that clients get are in chunks.py.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum
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
from app.conversation.literals import EMPTY, hide_halves, literal, show_halves
from app.dialects.error_bodies import judge_error, read_error_body, read_error_value
from app.dialects.openai_chat import reasoning
from app.dialects.openai_chat.parts import text_of_thinking
from app.dialects.openai_chat.shapes import Shape, arguments_of, read_reasoning, read_reasoning_content, read_text
from app.dialects.openai_chat.tool_calls import Call, CallBinder
from app.dialects.openai_chat.usage import read_usage
from app.dialects.openai_chat.vocabulary import (
    BROKEN_REASONS,
    FINISH_REASONS,
    NAME,
    CallFragment,
    FirstChunk,
    Number,
    WireChoice,
    WireChunk,
    WireDelta,
    WireUsage,
)
from app.errors import Failure, UpstreamCut, UpstreamMalformed

_decode_chunk = msgspec.json.Decoder(WireChunk).decode
_decode_first = msgspec.json.Decoder(FirstChunk).decode
_decode_any = msgspec.json.Decoder().decode

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_NOTHING = len(b"null")  # raw values up to this length say nothing: absent, "" or null
_NO_DELTA = WireDelta()
_LEGACY_INDEX = -1
_REASONING_SHAPES: dict[str, Shape | None] = {
    "reasoning_content": read_reasoning_content,
    "reasoning": read_reasoning,
    "thinking": None,
}
_QUOTE = ord('"')
_MOST_ODD_FIELDS = 8
_MOST_MISSES = 16  # chunks that may look unlike the one before, more than those that do

_HEADS: dict[type[Text | Reasoning | Refusal], Text | Reasoning | Refusal] = {
    Text: Text(""),
    Reasoning: Reasoning(""),
    Refusal: Refusal(""),
}


class _State(Enum):
    WAITING = "nothing of the answer has come"
    OPEN = "the answer comes"
    FINISHED = "it ended; only usage may follow"
    FAILED = "nothing counts any more"


class StreamParser:
    """Upstream side of a stream. Reads a whole reply as well, as a stream of a single chunk.

    One text, reasoning or refusal block is open at a time and closes when another kind begins; tool calls stay open
    until the end, for their fragments may interleave.
    """

    def __init__(self) -> None:
        self._state = _State.WAITING
        self._decode: Any = _decode_first
        self._kind: type[Text | Reasoning | Refusal] | None = None
        self._block = -1
        self._next = 0
        self._binder = CallBinder()
        self._said = False  # reasoning came under its plain name, so that the text of its proofs is the same once more
        self._pieces: dict[str, list[bytes]] = {reasoning.DETAILS: [], reasoning.BLOCKS: []}
        self._usage: WireUsage | None = None
        self._extensions: dict[str, Any] = {}
        self._shape: Shape | None = None
        self._target = -1
        self._misses = 0
        self._guessing = True

    def feed(self, data: Sequence[bytes]) -> list[Event]:
        """Events of the `data` payloads of some SSE events, in order."""
        events: list[Event] = []
        missed = 0
        for payload in data:
            if self._shape is not None:
                try:
                    text = self._shape(payload)
                except _UNREADABLE:
                    missed += 1
                else:
                    if text[0] == _QUOTE:
                        if len(text) > 2:
                            events.append(BlockDelta(self._target, text))
                        continue
            self._read_payload(payload, events)
        if missed:
            self._give_up_shapes(missed, len(data))
        return events

    def close(self) -> list[Event]:
        """The usage after `Finished`, nothing after `Failed`; else the stream was cut."""
        events: list[Event] = []
        if self._state in (_State.WAITING, _State.OPEN):
            began = self._state is _State.OPEN
            self._fail(UpstreamCut("the upstream's reply ended before it was complete", began=began).failure, events)
        self._tell_usage(events)
        return events

    def _read_payload(self, payload: bytes, events: list[Event]) -> None:
        if not payload.isascii():
            payload = payload.decode("utf-8", "replace").encode()  # raw values are not checked by the decoder
        try:
            chunk = self._decode(payload)
        except _UNREADABLE:
            self._read_oddity(payload, events)
        else:
            self._read_chunk(chunk, payload, events)

    def _give_up_shapes(self, missed: int, tried: int) -> None:
        """Stop guessing in a stream whose chunks seldom look like the one before."""
        self._misses = max(0, self._misses + 2 * missed - tried)
        if self._misses > _MOST_MISSES:
            self._shape, self._guessing = None, False

    def _read_oddity(self, payload: bytes, events: list[Event]) -> None:
        """A payload that is no chunk: the end mark, half a surrogate pair, or what the server should not have sent."""
        if payload.lstrip().startswith(b"[DONE]"):
            self._end(events)
            return
        if self._state in (_State.FINISHED, _State.FAILED):
            return
        hidden = hide_halves(payload)
        chunk = self._decode_odd(hidden)
        if chunk is not None:
            shown: list[Event] = []
            self._read_chunk(chunk, hidden, shown)
            events.extend(BlockDelta(e.index, show_halves(e.text)) if type(e) is BlockDelta else e for e in shown)
            return
        said = read_error_body(200, {}, payload).message[:300]
        self._fail(UpstreamMalformed(f"the upstream sent something else than a chat chunk: {said}").failure, events)

    def _decode_odd(self, payload: bytes) -> WireChunk | None:
        """A chunk without the fields whose types are wrong; None if nothing is left of it that makes sense."""
        for _ in range(_MOST_ODD_FIELDS):
            try:
                chunk: WireChunk = self._decode(payload)
            except msgspec.ValidationError as error:
                payload = _without_field(payload, str(error))
            except _UNREADABLE:
                return None
            else:
                return chunk
        return None

    def _read_chunk(self, chunk: WireChunk, payload: bytes, events: list[Event]) -> None:
        if self._state is _State.FAILED:
            return
        usage = chunk.usage or (chunk.x_groq.usage if chunk.x_groq else None)
        choice = next((choice for choice in chunk.choices or () if not choice.index), None)
        if self._state is not _State.FINISHED:
            if (failure := _failure_of(chunk, payload)) is not None:
                self._fail(failure, events)
                return
            if choice is not None:
                if isinstance(chunk, FirstChunk):
                    self._start(chunk, events)
                self._read_delta(choice.delta or choice.message or _NO_DELTA, choice, events)
                usage = usage or choice.usage
        self._usage = usage or self._usage
        if choice is not None and choice.finish_reason and self._state is _State.OPEN:
            self._finish(choice.finish_reason, events)

    def _start(self, chunk: FirstChunk, events: list[Event]) -> None:
        self._state = _State.OPEN
        self._decode = _decode_chunk
        self._binder.response_id = chunk.id or ""
        if chunk.system_fingerprint:
            self._extensions["system_fingerprint"] = chunk.system_fingerprint
        if len(chunk.moderation) > _NOTHING:
            self._extensions["moderation"] = _decode_any(chunk.moderation)
        events.append(
            Started(chunk.id or "", chunk.model or "", _seconds(chunk.created), service_tier=chunk.service_tier)
        )

    def _read_delta(self, delta: WireDelta, choice: WireChoice, events: list[Event]) -> None:
        """What a chunk adds, in the order in which a turn holds it, whatever the order of the keys."""
        self._read_reasoning(delta, events)
        self._read_content(delta.content, events)
        if _is_text(delta.refusal):
            self._say(Refusal, bytes(delta.refusal), events)
        self._note(delta, choice, events)
        for position, fragment in enumerate(delta.tool_calls or ()):
            if delta is choice.message and fragment.index is None:
                fragment.index = position  # the calls of a whole reply are never fragments of one another
            self._read_fragment(fragment, events)
        if delta.function_call is not None:
            self._read_fragment(CallFragment(index=_LEGACY_INDEX, function=delta.function_call), events)

    def _read_reasoning(self, delta: WireDelta, events: list[Event]) -> None:
        """Text under the first name that has some, for servers repeat it under several; then what proves it."""
        details = reasoning.entries_of(delta.reasoning_details) if len(delta.reasoning_details) > _NOTHING else []
        blocks = reasoning.entries_of(delta.thinking_blocks) if len(delta.thinking_blocks) > _NOTHING else []
        for name, shape in _REASONING_SHAPES.items():
            raw: msgspec.Raw = getattr(delta, name)
            if _is_text(raw):
                self._say(Reasoning, bytes(raw), events)
                self._expect(shape, self._block)
                self._said = True
                break
        else:
            if not self._said and (details or blocks) and (text := reasoning.text_of_entries(details or blocks)):
                self._say(Reasoning, literal(text), events)
        if details or blocks:
            if self._next == 0:
                self._open(Reasoning, events)
            self._pieces[reasoning.DETAILS].extend(bytes(entry) for entry in details)
            self._pieces[reasoning.BLOCKS].extend(bytes(entry) for entry in blocks)

    def _read_content(self, content: msgspec.Raw, events: list[Event]) -> None:
        if _is_text(content):
            self._say(Text, bytes(content), events)
            self._expect(read_text, self._block)
        elif len(content) > _NOTHING and bytes(content).startswith(b"["):
            for part in reasoning.entries_of(content):  # Mistral's thinking models send parts
                match _decode_any(part):
                    case {"type": "text", "text": str(text)} if text:
                        self._say(Text, literal(text), events)
                    case {"type": "thinking", "thinking": thinking}:
                        if text := text_of_thinking(thinking):
                            self._say(Reasoning, literal(text), events)

    def _note(self, delta: WireDelta, choice: WireChoice, events: list[Event]) -> None:
        """Citations and log probabilities, which belong to the text that is open."""
        if self._kind is not Text:
            return
        if len(delta.annotations) > _NOTHING:
            for entry in reasoning.entries_of(delta.annotations):
                events.append(BlockNoted(self._block, citation=_decode_any(entry)))
        if len(choice.logprobs) > _NOTHING:
            match _decode_any(choice.logprobs):
                case {"content": [*entries]} if entries:
                    events.append(BlockNoted(self._block, logprobs=tuple(entries)))

    def _read_fragment(self, fragment: CallFragment, events: list[Event]) -> None:
        """A call is announced when its arguments begin, for until then its name may go on, or another call does."""
        call, added = self._binder.bind(fragment)
        if call.block is not None:
            if added != EMPTY and not call.held:
                events.append(BlockDelta(call.block, added))
        else:
            self._announce_calls(events, but=None if call.pieces else call)
        goes_on = call.pieces and not call.held and not call.custom
        if goes_on and call.block is not None and isinstance(fragment.index, int):
            self._expect(arguments_of(call, fragment.index), call.block)

    def _announce_calls(self, events: list[Event], *, but: Call | None = None) -> None:
        """Open the calls that are not open yet, and say what of their arguments has come."""
        for call in self._binder.calls:
            if call.block is not None or call is but or not call.name:
                continue
            self._close_block(events)
            proof = reasoning.call_proof(call.extra) if call.extra is not None else None
            if proof is not None:
                # Clients of other dialects have no place for it at the call, and keep it as reasoning.
                events += (BlockOpened(self._next, Reasoning("", proof)), BlockClosed(self._next, proof))
                self._next += 1
            call.block = self._next
            self._next += 1
            head = ToolCall(call.id, call.name, "", "custom" if call.custom else "function", proof=proof)
            events.append(BlockOpened(call.block, head))
            if not call.held:
                events.extend(BlockDelta(call.block, piece) for piece in call.pieces)

    def _say(self, kind: type[Text | Reasoning | Refusal], text: bytes, events: list[Event]) -> None:
        if self._kind is not kind:
            self._open(kind, events)
        events.append(BlockDelta(self._block, text))

    def _expect(self, shape: Shape | None, block: int) -> None:
        """Guess that the next chunk adds to `block` in this shape."""
        if self._guessing:
            self._shape, self._target = shape, block

    def _open(self, kind: type[Text | Reasoning | Refusal], events: list[Event]) -> None:
        """The one place where a block of text begins, and with it ends the one before."""
        self._close_block(events)
        self._kind = kind
        self._block = self._next
        self._next += 1
        events.append(BlockOpened(self._block, _HEADS[kind]))

    def _close_block(self, events: list[Event], *, incomplete: bool = False) -> None:
        self._shape = None
        if self._kind is None:
            return
        proof = self._take_proof() if self._kind is Reasoning else None
        events.append(BlockClosed(self._block, proof, incomplete))
        self._kind = None

    def _take_proof(self) -> Proof | None:
        """The proof of what was thought so far: of the two fields for it a server uses one."""
        for kind, pieces in self._pieces.items():
            if pieces:
                originals = reasoning.merge_entries(pieces)
                for other in self._pieces.values():
                    other.clear()
                return Proof(NAME, kind, originals)
        return None

    def _finish(self, reason: str, events: list[Event]) -> None:
        """Close all and say why it ended: what came counts more than the label that the server gave it."""
        word = reason.lower()
        if word in BROKEN_REASONS:
            self._fail(UpstreamMalformed(f"the upstream broke off with finish_reason {reason!r}").failure, events)
            return
        finish = FINISH_REASONS.get(word, "stop")
        cut = finish == "length"
        nameless = next((call for call in self._binder.calls if call.pieces and not call.name), None)
        if nameless is not None:
            self._fail(UpstreamMalformed("the upstream called a tool without naming it").failure, events)
            return
        self._announce_calls(events)
        self._close_block(events, incomplete=cut)
        if any(self._pieces.values()):  # proofs that came after the reasoning had ended
            self._open(Reasoning, events)
            self._close_block(events)
        calls = [call for call in self._binder.calls if call.block is not None]
        for call in calls:
            if call.held:
                events.append(BlockDelta(call.block or 0, call.held_arguments()))
            proof = reasoning.call_proof(call.extra) if call.extra is not None else None
            events.append(BlockClosed(call.block or 0, proof, cut and not call.is_complete()))
        if calls and finish in ("stop", "stop_sequence"):
            finish = "tool_calls"
        elif finish == "tool_calls" and not calls:
            finish = "stop"
        events.append(Finished(finish, reason or None, extensions=self._extensions))
        self._state = _State.FINISHED

    def _end(self, events: list[Event]) -> None:
        """[DONE] ends an answer even if no reason was given; with nothing before it, it is no answer."""
        if self._state is _State.WAITING and self._usage is not None:
            self._start(FirstChunk(), events)
        if self._state is _State.OPEN:
            self._finish("", events)
        elif self._state is _State.WAITING:
            self._fail(UpstreamMalformed("the upstream's reply held no answer").failure, events)
        self._tell_usage(events)

    def _tell_usage(self, events: list[Event]) -> None:
        """The last counts, once nothing can follow: servers count in every chunk, with the finish, or after it."""
        if self._usage is not None and self._state is _State.FINISHED:
            events.append(UsageSeen(read_usage(self._usage)))
            self._usage = None

    def _fail(self, failure: Failure, events: list[Event]) -> None:
        events.append(Failed(failure))
        self._state = _State.FAILED
        self._shape = None


def _is_text(raw: msgspec.Raw) -> bool:
    """Whether a raw value is a string with something in it."""
    return len(raw) > 2 and bytes(raw).startswith(b'"')


def _failure_of(chunk: WireChunk, payload: bytes) -> Failure | None:
    """The failure that a chunk reports: under `error`, or (old vLLM, FastAPI) with nothing but a message."""
    if len(chunk.error):
        value = _decode_any(chunk.error)
        return judge_error(0, read_error_value(value)) if value else None
    if chunk.choices is None and chunk.usage is None:
        match _decode_any(payload):
            case {"object": "error"} | {"detail": _} | {"message": str()}:
                return judge_error(0, read_error_body(200, {}, payload))
    return None


def _seconds(created: Number) -> int | None:
    try:
        return int(float(created)) or None if created is not None else None
    except (ValueError, OverflowError):
        return None


_STEP = re.compile(r"\.(\w+)")  # of a place in JSON, as a decoder names it


def _without_field(payload: bytes, complaint: str) -> bytes:
    """JSON without the field that a decoder complained about, wherever lists on the way to it hold it."""
    steps = _STEP.findall(complaint.partition(" - at `$")[2])
    value = _decode_any(payload)
    if not steps:
        return b"null"
    places = [value]
    for step in steps[:-1]:
        places = [inner for place in places for inner in _list_of(place.get(step)) if isinstance(inner, dict)]
    for place in places:
        place.pop(steps[-1], None)
    return msgspec.json.encode(value)


def _list_of(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
