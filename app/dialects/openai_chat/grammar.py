"""Checks the choices of stream chunks. From the first that is no part of one answer, a stream is parsed and rendered
anew.

Source: OpenAI API reference, "Chat Completions", "Streaming".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from app.conversation.blocks import Reasoning, Refusal, Text
from app.conversation.capabilities import Capabilities, RenderContext
from app.conversation.response import Usage
from app.dialects.openai_chat.passing_response import true_finish
from app.dialects.openai_chat.replies.reply_parts import is_odd_content
from app.dialects.openai_chat.replies.shapes import Shape, arguments_of
from app.dialects.openai_chat.replies.tool_calls import CallBinder, are_clean, has_arguments, opens_empty
from app.dialects.openai_chat.stream_parser import StreamParser
from app.dialects.openai_chat.stream_renderer import StreamRenderer
from app.dialects.openai_chat.vocabulary import (
    CallFragment,
    WireChoice,
    adds_content,
    calls_of,
    read_finish,
    read_reason,
    read_stop,
    thinks_unread,
)
from app.dialects.openai_shared.counts import WireUsage
from app.dialects.rewriting import Rewriter


class Grammar:
    """Follows a stream by its calls and its ends. Where `several` answers were asked for, only their ends."""

    def __init__(self, context: RenderContext, capabilities: Capabilities) -> None:
        self._context = context
        self._can = capabilities
        self.calls = CallBinder(context.id)  # of the first choice
        self._called: dict[int, None] = {}  # choices that call tools; an empty set takes three times the memory
        self.finishes: dict[int, None] = {}  # choices that have ended
        self.shape: Shape | None = None  # the shape in which the last call's arguments continue
        self.spoke = self.wrote = False  # any text has passed; one that was no thought

    def allows(self, choices: Sequence[WireChoice]) -> bool:
        """Whether choices conform to a stream of one answer: a single one, which adds text or continues calls."""
        if len(choices) > 1 or choices[0].index or read_reason(choices[0]) != choices[0].finish_reason:
            return False
        delta = choices[0].delta
        if choices[0].message is not None and (delta is None or choices[0].finish_reason):
            return False
        if delta is None:
            return not len(choices[0].text)
        if isinstance(delta.tool_calls, CallFragment):
            return False
        if thinks_unread(delta) or any(
            map(is_odd_content, filter(len, (delta.content, delta.reasoning, delta.reasoning_content)))
        ):
            return False
        if delta.function_call is not None and not self._context.legacy:
            return False
        if delta.tool_calls is None and not self.calls.calls:
            return True
        fragments = calls_of(delta)
        return are_clean(fragments, self.calls) and not (choices[0].finish_reason and self.has_silent_calls(fragments))

    def has_silent_calls(self, fragments: Sequence[CallFragment] = ()) -> bool:
        """Whether a call has no arguments after these fragments: clients parse them at the end."""
        speaking = {fragment.index for fragment in fragments if has_arguments(fragment)}
        silent: set[object] = {
            call.position for call in self.calls.calls if not (call.pieces or call.custom or call.empty)
        }
        silent.update(fragment.index for fragment in fragments if fragment.id and fragment.custom is None)
        return bool(silent - speaking)

    def opens_empty(self, choice: WireChoice) -> bool:
        """Whether the arguments of a call begin with an empty object: it may be all of them, or come before them."""
        calls = calls_of(choice.delta) if choice.delta is not None else ()
        return any(opens_empty(call, self.calls) for call in calls)

    def note(self, choice: WireChoice) -> dict[str, Any]:
        """The fields in which clients need another value than a choice has, which is noted as passed. Raises
        UpstreamMalformed for more calls than a stream may have, and for a reason that is no end."""
        changes: dict[str, Any] = {}
        index, reason, delta = choice.index or 0, choice.finish_reason, choice.delta
        if delta is None:
            changes["delta"] = {}
        else:
            if not self.wrote and adds_content(choice):
                self.spoke, self.wrote = True, len(delta.content) > len(b'""')
            if delta.tool_calls:
                self._called[index] = None
                if not self._context.several:
                    self._note_calls(calls_of(delta))
        true: str | None = None  # some servers end every chunk with an empty reason
        if reason:
            true = true_finish(reason, index in self._called, self._can)
            self.finishes[index] = None
        if true != reason:
            changes["finish_reason"] = true
        return changes

    def _note_calls(self, fragments: Sequence[CallFragment]) -> None:
        for fragment in fragments:
            call, _ = self.calls.bind(fragment)
            call.settle()  # because the client has already received it
        # The last call's arguments may continue in the same shape.
        if call.position == len(self.calls.calls) - 1 and call.pieces:
            self.shape = arguments_of(call, call.position, passing=True)

    def says_nothing(self, ends: Sequence[WireChoice] = ()) -> bool:
        """Whether an answer that ends with these choices is empty, and no stop sequence or limit made it so."""
        if self.spoke or self._called or self._context.several or self._can.first_party or any(map(adds_content, ends)):
            return False
        return all(read_finish(end.finish_reason or "stop") == "stop" and not read_stop(end) for end in ends)

    def missing_finish(self) -> str:
        """The reason for the end of an answer whose server did not name one."""
        cut = any(call.is_cut() for call in self.calls.calls)
        return true_finish("length" if cut else "stop", 0 in self._called, self._can)

    def rewrite(self, head: bytes, counts: WireUsage | None, estimate: Callable[[], Usage | None]) -> Rewriter:
        """A rewriter for the rest of the stream, in the state as if it had processed the stream from the start. Of one
        that has begun, `head` is how its chunks begin."""
        parser, renderer = StreamParser(self.calls), StreamRenderer(self._context, estimate)
        if head:
            said = (Text, Reasoning, Refusal)[not self.wrote :] if self.spoke else ()
            renderer.resume(head)
            renderer.feed(parser.resume(counts, said))
        return Rewriter(parser, renderer)
