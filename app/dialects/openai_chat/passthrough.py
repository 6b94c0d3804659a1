"""What a stream of this dialect still needs for a client of the same dialect: the name of the model, the
end mark, and the repairs without which clients crash or stop.

Clean bytes pass as they came. They are searched for a few words; only an event that has one of them is taken apart.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum
from typing import Any

import msgspec

from app.conversation.capabilities import Capabilities, RenderContext
from app.conversation.literals import hide_halves, join, text_of
from app.conversation.response import Usage
from app.dialects.error_bodies import find_error
from app.dialects.error_kinds import decode_error, judge_error, judge_reported
from app.dialects.json_bodies import encode_body, repair_text
from app.dialects.malformed import decode_tolerantly, malformed, no_answer
from app.dialects.openai_chat.errors import error_event
from app.dialects.openai_chat.replies.repair import (
    UNREADABLE,
    flatten_content,
    join_messages,
    missing_head,
    true_finish,
)
from app.dialects.openai_chat.replies.reply_parts import is_odd_content
from app.dialects.openai_chat.replies.shapes import Shape, arguments_of
from app.dialects.openai_chat.replies.tool_calls import CallBinder
from app.dialects.openai_chat.usage import read_usage
from app.dialects.openai_chat.vocabulary import (
    CallFragment,
    CallPiece,
    WireChoice,
    WireChunk,
    calls_of,
    errors_in,
    read_finish,
)
from app.errors import Failure, UpstreamCut, UpstreamMalformed, UpstreamRefused
from app.sse import COMMENT_KEEPALIVE, DONE, EventBuffer, SseDecoder, encode_event

_any = msgspec.json.Decoder().decode
_decode_chunk = msgspec.json.Decoder(WireChunk).decode

# What every chunk says that only adds to the answer, in the two ways to write it.
_TIGHT, _LOOSE = b'"finish_reason":null', b'"finish_reason": null'
# What one that says something says (`reasoning_content` ends alike), and how counts begin, in the same two ways.
_SAYS = {_TIGHT: (b'content":"', b'"reasoning":"'), _LOOSE: (b'content": "', b'"reasoning": "')}
_COUNTS = {_TIGHT: b'"usage":{', _LOOSE: b'"usage": {'}
_USAGE = re.compile(rb',\s*+"usage"\s*+:\s*+(\{(?:[^{}]++|\{[^{}]*+\})*+\})')

_MODEL = re.compile(rb'"model"\s*+:\s*+("(?:[^"\\]++|\\.)++")')


class _State(Enum):
    WAITING = "the client has got nothing yet"
    OPEN = "the answer passes"
    ENDED = "nothing may follow"


class StreamPassthrough:
    """A stream whose bytes pass. Whole events only are given on, so that a ping or an error never cuts one in two."""

    def __init__(self, context: RenderContext, capabilities: Capabilities) -> None:
        self._context = context
        self._can = capabilities
        self._state = _State.WAITING
        self._unfinished = EventBuffer(context.max_event)
        self._decoder: SseDecoder | None = None  # set once events must be framed anew
        self._model: tuple[bytes, bytes] | None = None  # how the upstream names the model, and what the client gets
        self._calm = _TIGHT
        self._shape: Shape | None = None  # how the arguments of the last call go on, if it is clean
        self._binders: dict[int, CallBinder] = {}
        self._finishes: set[int] = set()
        self._head: dict[str, Any] = {}  # what all chunks begin with, as the client gets it
        self._missing: dict[str, Any] = {}  # what of it the server leaves out
        self._counted = b""  # the event with the last counts, which waits for the end
        self._came = b""  # the last payload that was no part of an answer
        self._reasons: dict[int, str] = {}  # why each choice ended that is joined with others
        self._going_on: set[int] = set()  # and which of them have not
        self._flat_calls = 0  # calls that came whole, and are counted by us
        self.usage: Usage | None = None
        self.finished = False

    def feed(self, part: bytes) -> bytes:
        """The events that `part` completes. Raises UpstreamRefused for an error before anything else."""
        return self._pass(self._take(part))

    def close(self) -> bytes:
        """The rest. A finished answer gets the end mark if it lacks it, an unfinished one the error event."""
        if self._decoder is not None:
            out = self._pass(_frame(self._decoder.close()))
        else:
            tail = self._unfinished.drain().rstrip(b"\n")
            out = self._pass(tail + b"\n\n") if tail else b""
        if self._state is _State.ENDED:
            return out
        if self.finished:
            return out + self._end(DONE)
        began = self._state is _State.OPEN
        cut = UpstreamCut("the upstream's stream ended before it was complete", began=began)
        return out + self._break(cut.failure)

    def fail(self, failure: Failure) -> bytes:
        """The error event; nothing after an end. After the finish the answer is whole, and no failure undoes it."""
        if self._state is _State.ENDED:
            return b""
        self._unfinished.drain()
        if self.finished:
            return self._end(DONE)
        self._state = _State.ENDED
        return error_event(failure)

    def ping(self) -> bytes:
        return b"" if self._state is _State.ENDED else COMMENT_KEEPALIVE

    def _take(self, part: bytes) -> bytes:
        """The events that are whole with `part`, with LF as the end of a line."""
        if b"\r" in part and self._decoder is None:
            self._decoder = SseDecoder(self._context.max_event)
            part = self._unfinished.drain() + part
        return self._unfinished.take(part) if self._decoder is None else _frame(self._decoder.feed(part))

    def _pass(self, events: bytes) -> bytes:
        if not events or self._state is _State.ENDED:
            return b""
        if self._model is None:
            self._begin(events)
        if self._model is not None and self._model[0] != self._model[1]:
            events = events.replace(*self._model)
        head = b""
        if self._state is _State.WAITING:
            first = events.find(b"\n\n") + 2
            head, events = self._look(events[:first]), events[first:]
        if self._state is not _State.OPEN or self._missing:
            return head + self._look(events)
        # One read often brings many words and the end: only what follows the last word is looked into.
        end = events.find(b"\n\n", events.rfind(self._calm)) + 2
        calm = events if end == len(events) else events[:end]
        if not self._is_calm(calm):
            return head + self._look(events)
        return head + events if calm is events else b"".join((head, calm, self._look(events[end:])))

    def _begin(self, events: bytes) -> None:
        """Learn from the first events how the upstream writes."""
        if (found := _MODEL.search(events)) is not None:
            new = found[0][: found.start(1) - found.start()] + encode_body(self._context.model)
            self._model = found[0], new
            self._calm = _LOOSE if _LOOSE in events else _TIGHT

    def _is_calm(self, events: bytes) -> bool:
        """Whether all these events only add text: each has its text and its null, and none has more than that.

        Counting a few words costs a fraction of decoding; what is not so simple is looked into event by event.
        """
        whole = events.count(self._calm)
        if not whole or events.count(b"\n") != 2 * whole:  # a line of data and a blank one for each
            return False
        content, reasoning = _SAYS[self._calm]
        if events.count(content) != whole and events.count(reasoning) != whole:
            return False
        if b'"tool_calls"' in events:
            return False
        # A server that counts in one of them counts in all.
        last = events.rfind(b"\n\n", 0, -2) + 1
        return _COUNTS[self._calm] not in events[last:]

    def _look(self, events: bytes) -> bytes:
        out = []
        for event in _split(events):
            if self._state is _State.ENDED:
                break
            if self._shape is not None and not self._missing:
                try:
                    self._shape(event[len(b"data: ") :])
                except UNREADABLE:
                    self._shape = None
                else:
                    out.append(event)
                    continue
            out.append(self._look_into(event))
            if self._state is _State.WAITING and out[-1].startswith(b"data:"):
                self._state = _State.OPEN
        return b"".join(out)

    def _look_into(self, event: bytes) -> bytes:
        """One event, as the client gets it: the same bytes wherever nothing is wrong with it."""
        payload = _payload_of(event)
        if not payload:
            return b"" if self._state is _State.WAITING else event  # a comment
        if (sound := repair_text(payload)) is not payload:
            event, payload = encode_event(sound), sound
        if payload.startswith(b"[DONE]"):
            if self._state is _State.WAITING:
                return self._break(no_answer(self._came).failure)
            return self._end(event)
        try:
            chunk = decode_tolerantly(_decode_chunk, payload)
        except UNREADABLE:
            if hide_halves(payload) != payload:
                return event
            return self._break(decode_error(payload) or malformed("a chat chunk", payload).failure)
        for error in errors_in(chunk.error, chunk.choices):
            if value := _any(error):
                return self._break(judge_reported(value, payload))
        nothing = not chunk.choices and (chunk.choices is None or chunk.usage is None)
        if (nothing or len(chunk.base_resp)) and (told := find_error(_any(payload), answered=not nothing)) is not None:
            return self._break(judge_error(0, told))
        if not chunk.choices:
            self._came = payload
            if chunk.usage is None:
                return event if b'"moderation"' in payload else b""
            self.usage = read_usage(chunk.usage)
            self._counted = event if not self._missing else encode_event(encode_body({**_any(payload), **self._head}))
            return b""
        if self._is_crooked(chunk.choices):
            payload = encode_body(self._straighten(_any(payload)))
            event, chunk = encode_event(payload), decode_tolerantly(_decode_chunk, payload)
        try:
            return self._mend(event, payload, chunk)
        except UpstreamMalformed as error:
            return self._break(error.failure)

    def _is_crooked(self, choices: Sequence[WireChoice]) -> bool:
        """Whether choices are not as a stream has them: one each, with a delta of text and a list of calls."""
        for choice in choices:
            delta = choice.delta
            if delta is None or isinstance(delta.tool_calls, CallFragment) or is_odd_content(delta.content):
                return True
            if choice.index and not self._context.several:
                return True
        return len(choices) > 1 and not self._context.several

    def _straighten(self, chunk: dict[str, Any]) -> dict[str, Any]:
        """A chunk with a delta in each choice, and with one choice where one answer was asked for."""
        choices = []
        for choice in chunk["choices"]:
            message = choice.pop("message", None) or {}
            delta = {**message, **(choice.get("delta") or {})}
            index = choice.get("index") or 0
            if not delta and choice.get("text"):
                delta = {"content": choice["text"]}
            if delta.get("tool_calls"):
                delta["tool_calls"] = self._number_calls(delta["tool_calls"], index, whole=bool(message))
            if delta.get("content") is not None and not isinstance(delta["content"], str):
                delta = flatten_content(delta, self._flat_calls)
                self._flat_calls += 1000
            choices.append({**choice, "delta": delta})
        if not self._context.several and (len(choices) > 1 or choices[0].get("index")):
            choices = [self._join(choices)]
        return {**chunk, "choices": choices}

    def _number_calls(self, calls: Any, choice: int, *, whole: bool) -> list[Any]:
        """Calls as a list. Those of a whole message are never fragments of one another, nor of other choices' calls."""
        listed = [calls] if isinstance(calls, dict) else calls
        numbered = []
        for call in listed:
            if isinstance(call, dict) and (whole or choice):
                index = self._flat_calls if whole else choice * 1000 + (call.get("index") or 0)
                self._flat_calls += whole
                call = {**call, "index": index}
            numbered.append(call)
        return numbered

    def _join(self, choices: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """One choice of several, which ends when all have."""
        open_before = bool(self._going_on)
        for choice in choices:
            index = choice.get("index") or 0
            if reason := choice.get("finish_reason"):
                self._reasons[index] = reason
            self._going_on.add(index)
        if open_before or any(choice.get("index") for choice in choices):
            self._going_on.add(0)
        self._going_on -= self._reasons.keys()
        ended = self._reasons and not self._going_on
        reasons = [*self._reasons.values()]
        telling = next((word for word in reasons if read_finish(word) not in ("stop", "tool_calls")), None)
        delta = join_messages([choice["delta"] for choice in choices])
        return {
            **choices[0],
            "index": 0,
            "delta": delta,
            "finish_reason": (telling or reasons[0]) if ended else None,
        }

    def _mend(self, event: bytes, payload: bytes, chunk: WireChunk) -> bytes:
        """An event with choices. Every edit is made in `edited`, which stays None as long as there is none."""
        choices = chunk.choices or []
        edited: dict[str, Any] | None = None
        if self._state is _State.WAITING:
            edited = self._note_head(_any(payload))
        elif self._missing:
            edited = {**_any(payload), **self._missing}
        if (usage := chunk.usage or (chunk.x_groq and chunk.x_groq.usage) or choices[0].usage) is not None:
            self.usage = read_usage(usage)
            event, payload = self._take_counts(event, payload)
            edited = edited and {name: value for name, value in edited.items() if name != "usage"}
        before = b""
        repeated = 0
        for position, choice in enumerate(choices):
            index = choice.index or 0
            binder = self._binders.get(index)
            if choice.delta is not None and choice.delta.tool_calls:
                binder = self._binders.setdefault(index, CallBinder(self._context.id))
                fragments = calls_of(choice.delta)
                calls, clean = _mend_fragments(fragments, binder)
                if not clean:
                    edited = edited or _any(payload)
                    edited["choices"][position]["delta"]["tool_calls"] = calls
                elif index == 0:
                    self._expect(fragments[-1], binder)
            if reason := choice.finish_reason:
                repeated += index in self._finishes
                true = true_finish(reason, binder is not None, self._can)
                if true != reason:
                    edited = edited or _any(payload)
                    edited["choices"][position]["finish_reason"] = true
                before += self._complete_calls(binder, index)
                self._finishes.add(index)
                self.finished = True
        if repeated == len(choices):
            return b""  # some servers say the end twice
        return before + (event if edited is None else encode_event(encode_body(edited)))

    def _note_head(self, first: dict[str, Any]) -> dict[str, Any] | None:
        """Learn from the first chunk what all of them begin with; what it is itself, if something is missing there."""
        self._missing = missing_head(first, self._context, "chat.completion.chunk")
        self._head = {name: first.get(name) for name in ("id", "object", "created", "model")} | self._missing
        delta = first["choices"][0].get("delta") or {}
        if self._missing or not delta.get("role"):
            first["choices"][0]["delta"] = {**delta, "role": "assistant"}
            return {**first, **self._missing}
        return None

    def _take_counts(self, event: bytes, payload: bytes) -> tuple[bytes, bytes]:
        """The event and its payload without the counts, which are told once and at the end: clients add them up."""
        found = _USAGE.search(payload)
        if found is None:
            value = _any(payload)
            usage = value.pop("usage", None) or (value.get("x_groq") or value["choices"][0]).get("usage")
            counts, payload = encode_body(usage), encode_body(value)
        else:
            counts, payload = found[1], payload[: found.start()] + payload[found.end() :]
        self._counted = encode_event(encode_body(self._head)[:-1] + b',"choices":[],"usage":' + counts + b"}")
        return encode_event(payload), payload

    def _expect(self, fragment: CallFragment, binder: CallBinder) -> None:
        """The arguments of a clean call may go on in the same shape."""
        call = binder.calls[-1]
        if call.position == len(binder.calls) - 1 == fragment.index and call.pieces and not call.held:
            self._shape = arguments_of(call, call.position)

    def _end(self, mark: bytes) -> bytes:
        """The end mark, and before it what is still to be said: the finish, if the server forgot it, and the counts."""
        out = b""
        if not self._finishes:
            called = self._binders.get(0)
            choice = {"index": 0, "delta": {}, "finish_reason": true_finish("stop", called is not None, self._can)}
            out = self._complete_calls(called, 0) + encode_event(encode_body({**self._head, "choices": [choice]}))
        if self._context.include_usage:
            out += self._counted
        self.finished, self._state = True, _State.ENDED
        return out + mark

    def _complete_calls(self, binder: CallBinder | None, index: int) -> bytes:
        """Arguments of calls that came without any, or with some that had to wait, as clients parse them when the end
        comes."""
        fragments = []
        for call in binder.calls if binder and index not in self._finishes else ():
            if call.held or not (call.pieces or call.custom):
                fragments.append({"index": call.position, "function": {"arguments": text_of(call.held_arguments())}})
        if not fragments:
            return b""
        choice = {"index": index, "delta": {"tool_calls": fragments}, "finish_reason": None}
        return encode_event(encode_body({**self._head, "choices": [choice]}))

    def _break(self, failure: Failure) -> bytes:
        """End with an error: as an HTTP status if the client has got nothing yet."""
        if self._state is _State.WAITING:
            self._state = _State.ENDED
            raise UpstreamRefused(failure)
        return self.fail(failure)


def _mend_fragments(fragments: Sequence[CallFragment], binder: CallBinder) -> tuple[list[dict[str, Any]], bool]:
    """The fragments as the contract has them, and whether they were so already.

    The first of a call has index, id, type and name, later ones have the index and no more than arguments, or the rest
    of a name that was cut: the vendor's SDK joins whatever text comes again.
    """
    mended: list[dict[str, Any]] = []
    clean = True
    for fragment in fragments:
        call, added = binder.bind(fragment)
        piece = fragment.function or fragment.custom or CallPiece()
        field, kind = ("input", "custom") if call.custom else ("arguments", "function")
        wire: dict[str, Any] = {"index": call.position}
        if call.block is None and call.name:
            call.block = call.position  # announced
            wire |= {"id": call.id, "type": kind}
            text = text_of(join(call.pieces)) if call.pieces and not call.held else ""
            wire[kind] = {"name": call.name, field: text}
            clean = clean and fragment.id == call.id and fragment.type == kind and len(call.pieces) <= 1
        elif call.block is None:
            clean = False
            continue
        else:
            wire[kind] = {field: "" if call.held else text_of(added)}
            cut = piece.name is not None and piece.name != call.name and not call.pieces
            if cut:
                wire[kind]["name"] = piece.name
            clean = clean and not fragment.id and (piece.name is None or cut)
        if call.extra is not None and len(fragment.extra_content):
            wire["extra_content"] = msgspec.Raw(call.extra)
        said = bytes(piece.arguments) or bytes(piece.input)
        clean = clean and fragment.index == call.position and not call.held and said in (b"", added)
        mended.append(wire)
    return mended, clean


def _split(events: bytes) -> list[bytes]:
    """Whole events, each with its blank line."""
    return [event + b"\n\n" for event in events.split(b"\n\n")[:-1]]


def _frame(payloads: list[bytes]) -> bytes:
    return b"".join([encode_event(data.replace(b"\n", b" ")) for data in payloads])


def _payload_of(event: bytes) -> bytes:
    if event.startswith(b"data: ") and event.endswith(b"\n\n") and event.count(b"\n") == 2:
        return event[6:-2]
    return b"\n".join(SseDecoder().feed(event))
