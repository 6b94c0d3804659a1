"""Restores stored reasoning in one request, and stores the reasoning of its reply."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Sequence
from functools import partial

from app.conversation.blocks import Reasoning, Refusal, Text, ToolCall
from app.conversation.capabilities import Capabilities
from app.conversation.events import BlockDelta, BlockOpened, Event, Finished
from app.conversation.request import Request, Turn
from app.conversation.streams.fold import fold, unfold
from app.conversation.streams.stages import Stage, StageMaker
from app.conversation.thoughts import Thought, place_of_next
from app.dialects import openai_chat
from app.dialects.contract import StreamPassthrough
from app.errors import DragomanError
from app.gateway.messages import ClientRequest
from app.gateway.reasoning_memory.reasoning_store import Keys, Owner, ReasoningStore, keeps_reasoning
from app.gateway.replies.observed_stream import ObservedStream
from app.sse import DONE, SseDecoder

# Past reasoning in a body that is not empty, under any of its names.
_SENT = re.compile(rb'"(?:reasoning_content|reasoning|reasoning_details|thinking_blocks)"\s*:\s*(?:"[^"]|\[\s*[^\]\s])')
# The field with a call's signature.
_SIGNED = b'"extra_content"'
_CALLS, _REASONING = b'"tool_calls"', b'"reasoning'


class ReasoningRecall:
    """The stored reasoning that one request may use: only its own tenant's, at its own upstream."""

    def __init__(
        self, reasoning_store: ReasoningStore, client_request: ClientRequest, upstream: str, capabilities: Capabilities
    ) -> None:
        self._reasoning_store = reasoning_store
        self._client_request = client_request
        self._capabilities = capabilities
        self._owner = Owner(
            tenant=client_request.tenant,
            upstream=upstream,
            lasting=client_request.peek.stored,
            proven=capabilities.dialect in capabilities.proofs,
        )

    def restore_reasoning(self, request: Request) -> tuple[Request, tuple[StageMaker, ...]]:
        """The request with the reasoning that its client left out, and the stages that must observe its answer."""
        if not _is_of_use(request, self._capabilities) or keeps_reasoning(request, self._owner):
            return request, ()
        listener = partial(ReasoningObserver, self._reasoning_store, self._owner, request.turns)
        return self._reasoning_store.recall(request, self._owner), (listener,)

    def observe_stream(self, stream: StreamPassthrough) -> StreamPassthrough:
        """Wraps a passing stream so that its reasoning is stored."""
        return ObservedStream(stream, PassingObserver(self._observe).look)

    def observing_stage(self) -> Stage:
        """A stage for an answer that would pass, but came as a stream instead of whole or the reverse."""
        return ObservingStage(self._observe)

    def observe_body(self, body: bytes) -> None:
        """Stores the reasoning of a whole answer that passes."""
        if _CALLS in body:
            with contextlib.suppress(DragomanError):
                self._observe(unfold(openai_chat.parse_response(body)))

    def _observe(self, events: Sequence[Event]) -> None:
        with contextlib.suppress(DragomanError):
            ReasoningObserver(self._reasoning_store, self._owner, self._client_request.request.turns).feed(events)


class ReasoningObserver:
    """A stage that changes nothing and stores the reasoning before tool calls."""

    def __init__(self, reasoning_store: ReasoningStore, owner: Owner, turns: Sequence[Turn]) -> None:
        self._reasoning_store = reasoning_store
        self._owner = owner
        self._turns = turns
        self._heard: list[Event] = []
        self._places: dict[int, int] = {}  # of the reasoning blocks, by index
        self._said = False
        self._calls: list[ToolCall] = []

    def feed(self, events: Sequence[Event]) -> Sequence[Event]:
        places = self._places
        for event in events:
            if type(event) is BlockDelta:
                if event.index in places:
                    self._heard.append(event)
            elif type(event) is BlockOpened:
                self._open(event)
            elif type(event) is Finished:
                self._end(event)
            elif getattr(event, "index", None) in places:
                self._heard.append(event)
        return events

    def _open(self, event: BlockOpened) -> None:
        if isinstance(event.block, ToolCall):
            self._calls.append(event.block)
        elif isinstance(event.block, Reasoning):
            self._places[event.index] = place_of_next(spoken=self._said, calls=len(self._calls))
            self._heard.append(event)
        elif isinstance(event.block, Text | Refusal):
            self._said = True

    def _end(self, finished: Finished) -> None:
        if not self._calls:
            return
        blocks = fold([*self._heard, finished]).blocks
        places = [self._places[index] for index in sorted(self._places)]
        thoughts = [
            Thought(place, block)
            for place, block in zip(places, blocks, strict=True)
            if isinstance(block, Reasoning) and (block.text or block.proof is not None)
        ]
        key = Keys(self._owner, self._turns[0]).key_of(self._turns[-1], self._calls)
        self._reasoning_store.remember(key, tuple(thoughts), self._owner)


class ObservingStage:
    """A stage that changes nothing, for an answer whose events arrive all at once."""

    def __init__(self, observe_body: Callable[[Sequence[Event]], None]) -> None:
        self._observe = observe_body

    def feed(self, events: Sequence[Event]) -> Sequence[Event]:
        self._observe(events)
        return events


class PassingObserver:
    """Collects the events of a passing stream that contain reasoning or calls, and reads them at its end, before the
    client gets that end."""

    def __init__(self, observe_body: Callable[[Sequence[Event]], None]) -> None:
        self._observe = observe_body
        self._parts: list[bytes] = []
        self._called = False
        self._ended = False

    def look(self, events: bytes) -> None:
        calls, ends = _CALLS in events, DONE in events and not self._ended
        if calls or ends or _REASONING in events:
            self._parts.append(events)
        self._called = self._called or calls
        if ends:
            self._ended = True
            if self._called:
                parser = openai_chat.StreamParser()
                self._observe(parser.feed(SseDecoder().feed(b"".join(self._parts))) + parser.close())
            self._parts = []


def passes_silently(client_request: ClientRequest, capabilities: Capabilities) -> bool:
    """Whether a passing Chat request contains no past reasoning (its client does not keep it, or has none yet) and goes
    to an upstream that refuses calls without it. Other upstreams get exactly what the client sent."""
    body = client_request.body
    if not may_pass_silently(client_request, capabilities) or body.find(b'"tools"') < 0:
        return False
    if capabilities.unsigned_call:
        return _SIGNED not in body
    return capabilities.reasoning_required and _SENT.search(body) is None


def may_pass_silently(client_request: ClientRequest, capabilities: Capabilities) -> bool:
    """Whether `passes_silently` may be true for any request of this client to this upstream."""
    demands = bool(capabilities.unsigned_call) or capabilities.reasoning_required
    return client_request.dialect.TRAITS.forgets_reasoning and demands


def may_forget(client_request: ClientRequest, capabilities: Capabilities) -> bool:
    """Whether the client probably does not send past reasoning. Dialects other than Chat have a field for it, but their
    clients drop what belongs to a single call, such as the signature that some upstreams demand."""
    return client_request.dialect.TRAITS.forgets_reasoning or bool(capabilities.unsigned_call)


def _is_of_use(request: Request, capabilities: Capabilities) -> bool:
    """Whether past reasoning is of use for this request and upstream."""
    if not request.tools or not request.turns:
        return False
    return capabilities.reasoning_replay != "none" or capabilities.dialect in capabilities.proofs
