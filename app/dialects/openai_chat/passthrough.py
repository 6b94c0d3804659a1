"""This file is what a reply of this dialect still needs for a client of the same dialect: the name of the model, the
end mark, and the repairs without which clients crash or stop.

Clean bytes pass as they came. A stream is searched for a few words; only an event that has one of them is taken apart.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum
from typing import Any

import msgspec

from app.conversation.capabilities import Capabilities, Reply
from app.conversation.literals import hide_halves, join, text_of
from app.conversation.response import Usage
from app.dialects.error_bodies import judge_error, read_error_body, read_error_value
from app.dialects.json_bodies import encode_body, repair_surrogates, replace_model
from app.dialects.openai_chat.errors import error_event
from app.dialects.openai_chat.shapes import Shape, arguments_of
from app.dialects.openai_chat.tool_calls import CallBinder
from app.dialects.openai_chat.usage import read_usage
from app.dialects.openai_chat.vocabulary import (
    BROKEN_REASONS,
    CallFragment,
    CallPiece,
    WireChoice,
    WireChunk,
)
from app.errors import Failure, UpstreamCut, UpstreamMalformed, UpstreamRefused
from app.sse import COMMENT_KEEPALIVE, DONE, SseDecoder, encode_event

_any = msgspec.json.Decoder().decode
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Whole(msgspec.Struct):
    """What is looked at in a whole reply."""

    choices: list[WireChoice] | None = None
    error: msgspec.Raw = msgspec.Raw()


_decode_whole = msgspec.json.Decoder(_Whole).decode
_decode_chunk = msgspec.json.Decoder(WireChunk).decode
_decode_fragment = msgspec.json.Decoder(CallFragment).decode


def repair_response(body: bytes, reply: Reply, capabilities: Capabilities) -> bytes:
    """A whole reply for the client: the model's name as the client knows it, and tool calls as the contract has them.

    Raises UpstreamRefused for an error inside a reply of status 200, UpstreamMalformed for what is no reply.
    """
    if b"\\ud" in body or b"\\uD" in body:
        body = repair_surrogates(body)
    try:
        whole = _decode_whole(body)
    except msgspec.ValidationError:
        whole = _Whole()
    except _UNREADABLE as error:
        said = read_error_body(200, {}, body).message[:300]
        raise UpstreamMalformed(f"the upstream sent something else than a chat reply: {said}") from error
    if len(whole.error) and (value := _any(whole.error)):
        raise UpstreamRefused(judge_error(0, read_error_value(value)))
    if whole.choices is None or any(_is_odd(choice, capabilities) for choice in whole.choices):
        value = _any(body)
        if not isinstance(value, dict) or not isinstance(value.get("choices"), list):
            raise UpstreamRefused(judge_error(0, read_error_body(200, {}, body)))
        body = _mend_whole(value, capabilities)
    return replace_model(body, reply.model)


def _is_odd(choice: WireChoice, capabilities: Capabilities) -> bool:
    """Whether a choice's calls are not as clients expect them."""
    calls = (choice.message.tool_calls if choice.message else None) or []
    if choice.finish_reason != _true_finish(choice.finish_reason, bool(calls), capabilities):
        return True
    for call in calls:
        piece = call.function or call.custom
        if not isinstance(call.id, str) or not call.id or call.type is None or piece is None:
            return True
        if call.function is not None and (
            len(call.function.arguments) <= 2 or not bytes(call.function.arguments).startswith(b'"')
        ):
            return True
    return False


def _true_finish(reason: str | None, called: bool, capabilities: Capabilities) -> str | None:
    """The reason that fits what came: agents run tools only at "tool_calls", and would loop at it without any.

    OpenAI itself says "stop" where a tool was forced by name, as documented; what it says stays.
    """
    if capabilities.first_party or reason is None:
        return reason
    if called and reason == "stop":
        return "tool_calls"
    return "stop" if reason == "tool_calls" and not called else reason


def _mend_whole(value: dict[str, Any], capabilities: Capabilities) -> bytes:
    for choice in value["choices"]:
        message = choice.get("message") if isinstance(choice, dict) else None
        if not isinstance(message, dict):
            continue
        calls = message.get("tool_calls")
        if isinstance(calls, list):
            binder = CallBinder(str(value.get("id") or ""))
            message["tool_calls"] = [_mend_call(call, index, binder) for index, call in enumerate(calls)]
        if isinstance(choice.get("finish_reason"), str):
            choice["finish_reason"] = _true_finish(choice["finish_reason"], bool(calls), capabilities)
    return encode_body(value)


def _mend_call(call: Any, index: int, binder: CallBinder) -> Any:
    """A whole call with an id and a type, and with arguments that are a text."""
    try:
        fragment = _decode_fragment(encode_body(call))
    except _UNREADABLE:
        return call
    bound, added = binder.bind(msgspec.structs.replace(fragment, index=index))
    if fragment.custom is not None:
        return {**call, "id": bound.id, "type": "custom"}
    function = {**(call.get("function") or {}), "arguments": text_of(added) or "{}"}
    return {**call, "id": bound.id, "type": call.get("type") or "function", "function": function}


# What every chunk says that only adds to the answer, in the two ways to write it.
_TIGHT, _LOOSE = b'"finish_reason":null', b'"finish_reason": null'

_MODEL = re.compile(rb'"model"\s*:\s*("(?:[^"\\]|\\.)+")')
_EVENT = re.compile(rb".*?(?:\r\n\r\n|\n\n|\r\r)", re.DOTALL)


class _State(Enum):
    WAITING = "the client has got nothing yet"
    OPEN = "the answer passes"
    ENDED = "nothing may follow"


class StreamPassthrough:
    """A stream whose bytes pass. Whole events only are given on, so that a ping or an error never cuts one in two."""

    def __init__(self, reply: Reply, capabilities: Capabilities) -> None:
        self._reply = reply
        self._can = capabilities
        self._state = _State.WAITING
        self._tail = b""
        self._model: tuple[bytes, bytes] | None = None  # how the upstream names the model, and what the client gets
        self._calm = _TIGHT
        self._shape: Shape | None = None  # how the arguments of the last call go on, if it is clean
        self._binders: dict[int, CallBinder] = {}
        self._finishes: set[int] = set()
        self.usage: Usage | None = None
        self.finished = False

    def feed(self, part: bytes) -> bytes:
        """The events that `part` completes. Raises UpstreamRefused for an error before anything else."""
        if self._tail:
            part = self._tail + part
        end = part.rfind(b"\n\n") + 2
        if b"\r" in part:
            end = max(end, part.rfind(b"\r\n\r\n") + 4, part.rfind(b"\r\r") + 2)
            end = end if _EVENT.match(part) else 1
        if end == 1:
            self._tail = part
            return b""
        if end < len(part):
            part, self._tail = part[:end], part[end:]
        else:
            self._tail = b""
        return self._pass(part)

    def close(self) -> bytes:
        """The rest. A finished answer gets the end mark if it lacks it, an unfinished one the error event."""
        tail, self._tail = self._tail, b""
        out = self._pass(tail.rstrip(b"\r\n") + b"\n\n") if tail.strip() else b""
        if self._state is _State.ENDED:
            return out
        if self.finished:
            self._state = _State.ENDED
            return out + DONE
        return out + self.fail(UpstreamCut("the upstream's stream ended before it was complete", began=True).failure)

    def fail(self, failure: Failure) -> bytes:
        """The error event; nothing after an end."""
        if self._state is _State.ENDED:
            return b""
        self._state, self._tail = _State.ENDED, b""
        return error_event(failure)

    def ping(self) -> bytes:
        return b"" if self._state is _State.ENDED else COMMENT_KEEPALIVE

    def _pass(self, events: bytes) -> bytes:
        if self._state is _State.ENDED:
            return b""
        if self._model is None:
            self._begin(events)
        if self._model is not None and self._model[0] != self._model[1]:
            events = events.replace(*self._model)
        # One read often brings many words and the end: only what follows the last word is looked into.
        end = events.find(b"\n\n", events.rfind(self._calm)) + 2
        calm = events if end == len(events) else events[:end]
        if not self._is_calm(calm):
            events = self._look(events)
        elif calm is not events:
            self._state = _State.OPEN
            events = calm + self._look(events[end:])
        if self._state is _State.WAITING and b"data:" in events:
            self._state = _State.OPEN
        return events

    def _begin(self, events: bytes) -> None:
        """Learn from the first events how the upstream writes."""
        if (found := _MODEL.search(events)) is not None:
            new = found[0][: found.start(1) - found.start()] + encode_body(self._reply.model)
            self._model = found[0], new
            self._calm = _LOOSE if _LOOSE in events else _TIGHT

    def _is_calm(self, events: bytes) -> bool:
        """Whether all these events only add text: each has its delta and its null, and none has a call.

        Counting a few words costs a fraction of decoding; what is not so simple is looked into event by event.
        """
        whole = events.count(self._calm)
        lines = events.count(b"\n")  # two for each event: its data and the blank one
        calm = whole and lines == 2 * whole and events.count(b'"delta"') == whole
        return bool(calm) and b'"tool_calls"' not in events

    def _look(self, events: bytes) -> bytes:
        out = []
        for event in _split(events):
            if self._state is _State.ENDED:
                break
            if self._shape is not None:
                try:
                    self._shape(event[len(b"data: ") :])
                except _UNREADABLE:
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
            return event  # a comment
        if payload.startswith(b"[DONE]"):
            self.finished, self._state = True, _State.ENDED
            return event
        try:
            chunk = _decode_chunk(payload)
        except msgspec.ValidationError:
            return event  # odd, but JSON: the client may know better
        except _UNREADABLE:
            if hide_halves(payload) != payload:
                return event
            said = read_error_body(200, {}, payload).message[:300]
            return self._break(UpstreamMalformed(f"the upstream sent something else than a chat chunk: {said}").failure)
        if len(chunk.error) and (value := _any(chunk.error)):
            return self._break(judge_error(0, read_error_value(value)))
        if chunk.usage is not None:
            self.usage = read_usage(chunk.usage)
        if not chunk.choices:
            wanted = self._reply.include_usage if chunk.usage is not None else b'"moderation"' in payload
            return event if wanted else b""
        return self._mend(event, payload, chunk)

    def _mend(self, event: bytes, payload: bytes, chunk: WireChunk) -> bytes:
        """An event with choices. Every edit is made in `edited`, which stays None as long as there is none."""
        choices = chunk.choices or []
        edited: dict[str, Any] | None = None
        before = b""
        repeated = 0
        for position, choice in enumerate(choices):
            index = choice.index or 0
            reason = choice.finish_reason
            if reason and reason.lower() in BROKEN_REASONS:
                return self._break(UpstreamMalformed(f"the upstream broke off with finish_reason {reason!r}").failure)
            binder = self._binders.get(index)
            if choice.delta is None and choice.message is None:
                edited = edited or _any(payload)
                edited["choices"][position]["delta"] = {}
            elif choice.delta is not None and choice.delta.tool_calls:
                binder = self._binders.setdefault(index, CallBinder(self._reply.id))
                calls, clean = _mend_fragments(choice.delta.tool_calls, binder)
                if not clean:
                    edited = edited or _any(payload)
                    edited["choices"][position]["delta"]["tool_calls"] = calls
                elif (
                    index == 0
                    and binder.calls[-1].position == len(binder.calls) - 1 == choice.delta.tool_calls[-1].index
                ):
                    self._shape = arguments_of(binder.calls[-1], len(binder.calls) - 1)
            if reason:
                repeated += index in self._finishes
                self._finishes.add(index)
                self.finished = True
                true = _true_finish(reason, binder is not None, self._can)
                if true != reason:
                    edited = edited or _any(payload)
                    edited["choices"][position]["finish_reason"] = true
                before += self._complete_calls(binder, index, payload)
        if repeated == len(choices) and chunk.usage is None:
            return b""  # some servers say the end twice
        return before + (event if edited is None else encode_event(encode_body(edited)))

    def _complete_calls(self, binder: CallBinder | None, index: int, payload: bytes) -> bytes:
        """Arguments for calls that came without any, as clients parse them when the end comes."""
        silent = [call for call in binder.calls if not call.pieces and not call.custom] if binder else []
        if not silent:
            return b""
        fragments = [{"index": call.position, "function": {"arguments": "{}"}} for call in silent]
        for call in silent:
            call.pieces.append(b'"{}"')
        chunk = {name: value for name, value in _any(payload).items() if name != "usage"}
        choice = {"index": index, "delta": {"tool_calls": fragments}, "finish_reason": None}
        return encode_event(encode_body({**chunk, "choices": [choice]}))

    def _break(self, failure: Failure) -> bytes:
        """End with an error: as an HTTP status if the client has got nothing yet."""
        if self._state is _State.WAITING:
            self._state = _State.ENDED
            raise UpstreamRefused(failure)
        return self.fail(failure)


def _mend_fragments(fragments: Sequence[CallFragment], binder: CallBinder) -> tuple[list[dict[str, Any]], bool]:
    """The fragments as the contract has them, and whether they were so already.

    The first of a call has index, id, type and name, later ones have the index and no more than arguments: the vendor's
    SDK joins whatever text comes again.
    """
    mended: list[dict[str, Any]] = []
    clean = True
    for fragment in fragments:
        call, added = binder.bind(fragment)
        piece = fragment.function or fragment.custom
        field, kind = ("input", "custom") if call.custom else ("arguments", "function")
        wire: dict[str, Any] = {"index": call.position}
        if call.block is None and call.name:
            call.block = call.position  # announced
            wire |= {"id": call.id, "type": kind}
            text = text_of(join(call.pieces)) if call.pieces else ""
            wire[kind] = {"name": call.name, field: text}
            clean = clean and fragment.id == call.id and fragment.type == kind
        elif call.block is None:
            clean = False
            continue
        else:
            wire[kind] = {field: text_of(added)}
            clean = clean and not fragment.id and not (piece and piece.name)
        if call.extra is not None and len(fragment.extra_content):
            wire["extra_content"] = msgspec.Raw(call.extra)
        clean = clean and fragment.index == call.position and piece is not None and _is_plain(piece)
        mended.append(wire)
    return mended, clean


def _is_plain(piece: CallPiece) -> bool:
    """Whether arguments are text, and not the JSON value itself."""
    raw = piece.arguments if len(piece.arguments) else piece.input
    return len(raw) == 0 or bytes(raw).startswith(b'"')


def _split(events: bytes) -> list[bytes]:
    """Whole events, each with its blank line."""
    if b"\r" in events:
        return _EVENT.findall(events)
    return [event + b"\n\n" for event in events.split(b"\n\n")[:-1]]


def _payload_of(event: bytes) -> bytes:
    if event.startswith(b"data: ") and event.endswith(b"\n\n") and event.count(b"\n") == 2 and b"\r" not in event:
        return event[6:-2]
    return b"\n".join(SseDecoder().feed(event))
