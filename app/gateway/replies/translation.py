"""Joins a parser, stages and a renderer: upstream bytes in, client bytes out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from app.conversation.capabilities import RenderContext
from app.conversation.events import BlockDelta, Event, Failed, Finished, Started, UsageSeen
from app.conversation.response import Response, Usage, complete_usage, scale_usage
from app.conversation.streams.fold import Folder, fold, unfold
from app.conversation.streams.stages import Stage, StageMaker, active, chain, find_needed
from app.conversation.tokens.estimate import estimate_body, estimate_output, estimate_tokens
from app.dialects.contract import ClientDialect, StreamParser
from app.dialects.json_bodies import repair_escapes, repair_texts
from app.dialects.registry import traits_of
from app.dialects.runs import Run, RunReader, last_event
from app.errors import Failure, UpstreamRefused
from app.gateway.replies.pieces import in_pieces
from app.sse import SseDecoder, read_events

# Bytes of answer text per token, roughly.
TOKEN = 4


class StreamTranslation:
    """A stream translated between two dialects, with the interface of a dialect's StreamPassthrough.

    A failure before any output is raised as UpstreamRefused, so that it can still become an HTTP status or another
    attempt; later failures become the dialect's error event. The opening event waits for what follows it, because
    upstreams refuse after it too; a ping sends it.
    """

    def __init__(
        self, parser: StreamParser, client: ClientDialect, stages: Sequence[StageMaker], context: RenderContext
    ) -> None:
        self._decoder = SseDecoder(context.max_event)
        self._parser = parser
        self._stages: list[Stage] = [make() for make in stages]
        self._renderer = client.StreamRenderer(_scale_context(context))
        self._context = context
        self._runs = RunReader(skips_noise=True)
        self._block = -1  # index of the block of the last delta
        self._said = 0  # bytes of the answer's text so far
        self._began = False
        self._opening: list[Event] = []  # not rendered yet, because a failure may follow
        self._finished = False
        self.finished = False  # the end was named, and nothing has followed it yet
        self.failed: Failure | None = None
        self.usage: Usage | None = None

    def run(self, part: bytes) -> tuple[bytes, bytes]:
        texts, rest = self._runs.take(part, self._decoder.unfinished)
        if not texts:
            return b"", part
        whole = b'"%b"' % b"".join(texts)
        growing, snapshots = self._parser.growing, self._parser.snapshots
        if growing is not None:
            repeats = b"{" in whole and any(text.startswith(b"{") for text in texts)
        else:
            repeats = snapshots is not None and not (snapshots.settled or snapshots.begins_anew(texts[0]))
        if repeats and (frame := self._runs.frame) is not None:
            return self.feed(frame.write(texts)), rest  # they may be all of the arguments, or of the text, once more
        self._said += len(whole) - 2
        if growing is not None:
            growing.append(whole)
        return self._renderer.feed_run(Run(self._block, texts, whole)), rest

    def feed(self, part: bytes) -> bytes:
        whole = self._decoder.take(part)
        if not whole or self.failed is not None:
            return b""
        events = self._parser.feed(repair_texts(read_events(whole)))
        out = self._render(events)
        self.finished = self._finished or self._parser.ending
        self._expect_run(whole, events)
        return out

    def close(self) -> bytes:
        if self.failed is not None:
            return b""
        data = repair_texts(self._decoder.close())
        events = self._parser.feed(data) if data else []
        events += self._parser.close()
        return self._render(events) + self._conclude()

    def fail(self, failure: Failure) -> bytes:
        """The client's error event. After the finish the answer is complete, so a failure of the upstream is ignored
        and the stream is closed normally."""
        if self.failed is not None:
            return b""
        if self.finished and failure.origin == "upstream":
            return self.close()
        return self._render([Failed(failure)])

    def ping(self) -> bytes:
        return self.open() or self._renderer.ping()

    def open(self) -> bytes:
        """The opening event, if it came and nothing has followed it yet."""
        if not self._opening:
            return b""
        opening, self._opening, self._began = self._opening, [], True
        return self._renderer.feed(_scale_events(opening, self._context.usage_scale))

    def _expect_run(self, whole: bytes, events: Sequence[Event]) -> None:
        """Prepares for a run: the next events are likely to be of the same form as the last of these."""
        last = events[-1] if events and self._parser.steady and all(map(_is_quiet, self._stages)) else None
        if type(last) is BlockDelta and not self._decoder.after_cr:
            self._block = last.index
            self._runs.learn(last_event(whole), last.text)
        else:
            self._runs.frame = None

    def _render(self, events: Sequence[Event]) -> bytes:
        if self._stages:
            events = chain(self._stages, events)
            self._stages = active(self._stages)
        if not events:
            return b""
        if type(events[-1]) is not BlockDelta:
            self._note(events)
            if self.usage is not None and not self.usage.input:  # the end completes it
                events = [event for event in events if type(event) is not UsageSeen]
        if not self._began:
            self._opening += events
            if all(type(event) is Started for event in events):
                return b""
            events, self._opening, self._began = self._opening, [], True
        self._said += sum([len(event.text) - 2 for event in events if type(event) is BlockDelta])
        return self._renderer.feed(_scale_events(events, self._context.usage_scale))

    def _conclude(self) -> bytes:
        """The end of the answer, with estimated usage if the upstream reported none."""
        if self.failed is not None:
            return b""
        counted = b""
        if self._finished and not _is_counted(self.usage):
            estimate = _estimate_usage(self._context, -(-self._said // TOKEN))
            self.usage = complete_usage(self.usage, estimate)
            counted = self._renderer.feed(_scale_events([UsageSeen(self.usage)], self._context.usage_scale))
        return counted + self._renderer.close()

    def _note(self, events: Sequence[Event]) -> None:
        for event in events:
            if type(event) is UsageSeen:
                self.usage = event.usage
            elif type(event) is Started:
                self.usage = event.usage or self.usage
            elif type(event) is Finished:
                self._finished = self.finished = True
            elif type(event) is Failed:
                if not self._began and all(isinstance(other, Failed | Started) for other in events):
                    raise UpstreamRefused(event.failure)
                self.failed = event.failure


def _is_quiet(stage: Stage) -> bool:
    """Whether a stage passes deltas unchanged."""
    return getattr(stage, "quiet", False)


class StreamCollector:
    """Collects a stream for a client that wants a whole answer."""

    def __init__(self, parser: StreamParser, context: RenderContext) -> None:
        self._decoder = SseDecoder(context.max_event)
        self._parser = parser
        self._folder = Folder()

    @property
    def ending(self) -> bool:
        """Whether the upstream named the end."""
        return self._parser.ending or self._folder.finished

    def feed(self, part: bytes) -> None:
        """Raises UpstreamRefused if the stream reports a failure."""
        for piece in in_pieces(repair_escapes(part)):
            self._folder.feed(self._parser.feed(repair_texts(self._decoder.feed(piece))))

    def close(self) -> Response:
        """The whole answer. Raises UpstreamRefused or UpstreamCut."""
        events = self._parser.feed(repair_texts(self._decoder.close()))
        self._folder.feed(events + self._parser.close())
        return self._folder.response()


def restage(response: Response, stages: Sequence[StageMaker], context: RenderContext) -> Response:
    """Runs a whole answer through the stages, as a stream, and estimates its usage if the upstream reported none."""
    if needed := find_needed(stages, response):
        events = unfold(response)
        staged = chain([make() for make in needed], events)
        if staged is not events:
            response = fold(staged)
    if _is_counted(response.usage):
        return response
    estimate = _estimate_usage(context, estimate_output(response.blocks))
    return msgspec.structs.replace(response, usage=complete_usage(response.usage, estimate))


def stream_whole(response: Response, client: ClientDialect, context: RenderContext) -> bytes:
    """A whole answer as a stream, for a client that asked for one."""
    renderer = client.StreamRenderer(context)
    return renderer.feed(unfold(response)) + renderer.close()


def _scale_context(context: RenderContext) -> RenderContext:
    """The context with the estimated input tokens scaled for the client."""
    if context.usage_scale == 1:
        return context
    return msgspec.structs.replace(context, input_tokens=math.ceil(context.input_tokens * context.usage_scale))


def _scale_events(events: Sequence[Event], factor: float) -> Sequence[Event]:
    """The events with usage scaled for the client; the recorded usage stays as the upstream reported it."""
    if factor == 1:
        return events
    return [
        msgspec.structs.replace(event, usage=scale_usage(event.usage, factor))
        if isinstance(event, Started | UsageSeen) and event.usage is not None
        else event
        for event in events
    ]


def _is_counted(usage: Usage | None) -> bool:
    """Whether there is a usage; servers that do not count send none, or zeros, and some count the answer alone."""
    return usage is not None and usage.input > 0


def _estimate_usage(context: RenderContext, output: int) -> Usage:
    """An estimated usage, if the upstream reported none: clients decide by it when to compact their history."""
    asked = context.input_tokens
    if not asked and context.request is not None:
        asked = estimate_tokens(context.request, context.upstream_model, traits_of(context.request.dialect).image_rule)
    elif not asked:
        asked = estimate_body(context.body)
    return Usage(fresh=asked, output=output, estimated=True)
