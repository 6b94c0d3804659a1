"""Renders Chat Completions streams: a role chunk, content, a finish chunk, usage if requested, [DONE].

Source: OpenAI API reference, "Chat Completions", "Streaming"; `reasoning_content`, `reasoning_details` and
`annotations` in deltas are what clients of compatible servers read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

from app.conversation.blocks import Proof, Reasoning, Refusal, ServerTool, Text, ToolCall
from app.conversation.capabilities import RenderContext
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
from app.conversation.literals import literal, text_of
from app.conversation.response import Usage, complete_usage
from app.conversation.steps import carry
from app.conversation.thoughts import place_of_next
from app.dialects.json_bodies import encode_body
from app.dialects.openai_chat import reasoning
from app.dialects.openai_chat.errors import error_event
from app.dialects.openai_chat.replies.citations import place_citations
from app.dialects.openai_chat.replies.steps import note_of, write_image
from app.dialects.openai_chat.response_renderer import PARAGRAPH, write_call
from app.dialects.openai_chat.usage import write_usage
from app.dialects.openai_chat.vocabulary import FINISH_NAMES, REPLY_EXTENSIONS
from app.dialects.openai_shared.logprobs import complete_logprobs
from app.dialects.runs import Frame, Run
from app.errors import UpstreamCut
from app.sse import COMMENT_KEEPALIVE, DONE, encode_event


class _State(Enum):
    WAITING = "nothing was written"
    OPEN = "the answer is being written"
    FINISHED = "the finish chunk was written, its usage may follow"
    ENDED = "nothing may follow"


class _OpenBlock:
    """What stands around each delta of an open block, and what its end needs."""

    __slots__ = ("apart", "citations", "frame", "function", "place", "prefix", "proof", "said", "suffix")

    def __init__(self, prefix: bytes, suffix: bytes) -> None:
        self.prefix = prefix
        self.suffix = suffix
        self.frame: Frame | None = None  # of a run, once there was one
        self.function = False  # a function's call, of which clients parse the arguments
        self.proof: Proof | None = None
        self.place = 0  # of a thought
        self.said = bytearray()  # the insides of its literals; a list of them would take four times the memory
        self.apart = False  # from the text before, by a paragraph
        self.citations: list[dict[str, Any]] = []


class StreamRenderer:
    """Client side of a stream: data-only events, all with the same id, time and model. Counts that never came are
    those of `estimate`, or left out if it has none."""

    def __init__(self, context: RenderContext, estimate: Callable[[], Usage | None] | None = None) -> None:
        head = {"id": f"chatcmpl-{context.id}", "object": "chat.completion.chunk", "created": context.created}
        self._head = encode_body({**head, "model": context.model})[:-1]
        self._context = context
        self._state = _State.WAITING
        self._blocks: dict[int, _OpenBlock] = {}
        self._calls = 0
        self._proofs = 0
        self._said = False
        self._refused = False
        self._phase: str | None = None  # of the last text
        self._texts: list[_OpenBlock] = []  # of all texts, because citations have positions in the whole
        self._usage: Usage | None = None
        self._estimate = estimate

    def resume(self, head: bytes) -> None:
        """Continues a stream whose chunks begin in this way."""
        self._head = head
        self._state = _State.OPEN

    def feed(self, events: Sequence[Event]) -> bytes:
        """Whole SSE events, joined."""
        out: list[bytes] = []
        blocks = self._blocks
        for event in events:
            if type(event) is BlockDelta:
                opened = blocks[event.index]
                if opened.prefix:
                    opened.said += event.text[1:-1]
                    out += (opened.prefix, event.text, opened.suffix)
            elif self._state is _State.WAITING or self._state is _State.OPEN:
                self._render(event, out)
            elif self._state is _State.FINISHED and isinstance(event, UsageSeen):
                self._usage = event.usage
                self._end(out)
        return b"".join(out)

    def feed_run(self, run: Run) -> bytes:
        opened = self._blocks[run.index]
        if not opened.prefix:
            return b""
        opened.said += run.whole[1:-1]
        if opened.frame is None:
            opened.frame = Frame(opened.prefix + b'"', b'"' + opened.suffix)
        return opened.frame.write(run.texts)

    def close(self) -> bytes:
        """Usage and [DONE], if they were held for counts that never came."""
        out: list[bytes] = []
        if self._state is _State.FINISHED:
            self._end(out)
        elif self._state is not _State.ENDED:
            cut = UpstreamCut("the reply ended before it was complete", began=self._state is _State.OPEN)
            self._render(Failed(cut.failure), out)
        return b"".join(out)

    def ping(self) -> bytes:
        return COMMENT_KEEPALIVE

    def _render(self, event: Event, out: list[bytes]) -> None:
        if type(event) is Failed:
            out.append(error_event(event.failure))
            self._state = _State.ENDED
            return
        if self._state is _State.WAITING:
            self._begin(event, out)
        if type(event) is BlockOpened:
            self._open(event, out)
        elif type(event) is BlockClosed:
            self._close(event, out)
        elif type(event) is BlockNoted:
            if event.citation is not None:
                self._blocks[event.index].citations.append(event.citation)
            if event.logprobs:
                out.append(self._chunk({}, logprobs={"content": complete_logprobs(event.logprobs), "refusal": None}))
        elif type(event) is UsageSeen:
            self._usage = event.usage
        elif type(event) is Finished:
            self._finish(event, out)

    def _begin(self, event: Event, out: list[bytes]) -> None:
        self._state = _State.OPEN
        if isinstance(event, Started):
            self._usage = event.usage
            if event.service_tier is not None:
                self._head += b',"service_tier":' + encode_body(event.service_tier)
        out.append(self._chunk({"role": "assistant", "content": ""}))

    def _open(self, event: BlockOpened, out: list[bytes]) -> None:
        """Announces a block and prepares for its deltas. Blocks without a form in this dialect are left
        out."""
        block = event.block
        opened = _OpenBlock(b"", b"")
        match block:
            case Text():
                opened = self._prepare(b'{"content":', b"}")
                if self._phase is not None and block.phase != self._phase:
                    self._add_text(opened, PARAGRAPH, out)
                    opened.apart = True
                self._phase = block.phase
                self._said = True
                self._add_text(opened, block.text, out)
                opened.citations += block.citations
                self._texts.append(opened)
            case Reasoning():
                opened = self._prepare(b'{"reasoning_content":', b"}")
                opened.proof = block.proof
                opened.place = place_of_next(spoken=self._said, calls=self._calls)
                self._add_text(opened, block.text, out)
            case Refusal():
                self._refused = self._said = True
                opened = self._prepare(b'{"refusal":', b"}")
                self._add_text(opened, block.text, out)
            case ServerTool():
                opened = self._open_step(block, out)
            case ToolCall():
                opened = self._open_call(block, out)
                self._add_text(opened, block.arguments, out)
        self._blocks[event.index] = opened

    def _open_call(self, block: ToolCall, out: list[bytes]) -> _OpenBlock:
        index = self._calls
        self._calls += 1
        if self._context.legacy:
            if index > 0:
                return _OpenBlock(b"", b"")  # the legacy form holds one call
            out.append(self._chunk({"function_call": {"name": block.name, "arguments": ""}}))
            opened = self._prepare(b'{"function_call":{"arguments":', b"}}")
        else:
            out.append(self._chunk({"tool_calls": [{"index": index, **write_call(block, begins=True)}]}))
            field = b'"custom":{"input":' if block.kind == "custom" else b'"function":{"arguments":'
            opened = self._prepare(b'{"tool_calls":[{"index":%d,%b' % (index, field), b"}}]}")
        opened.function = block.kind != "custom"
        return opened

    def _close(self, event: BlockClosed, out: list[bytes]) -> None:
        opened = self._blocks.pop(event.index)
        proof = event.proof or opened.proof
        if opened.function:
            if not opened.said:
                out += (opened.prefix, b'"{}"', opened.suffix)
        elif proof is not None and not reasoning.belongs_to_call(proof):
            out.append(self._chunk(reasoning.write_proof(proof, self._proofs, opened.place)))
            self._proofs += 1

    def _finish(self, event: Finished, out: list[bytes]) -> None:
        detail = event.stop_detail
        if event.finish_reason == "content_filter" and detail and detail.explanation and not self._refused:
            out.append(self._chunk({"refusal": detail.explanation}))
        if annotations := self._place_citations():
            out.append(self._chunk({"annotations": annotations}))
        name = FINISH_NAMES[event.finish_reason]
        if self._context.legacy and name == "tool_calls":
            name = "function_call"
        extensions = {key: event.extensions[key] for key in REPLY_EXTENSIONS if key in event.extensions}
        out.append(self._chunk({}, finish_reason=name, top=extensions))
        self._state = _State.FINISHED
        if not self._context.include_usage:
            self._end(out)

    def _end(self, out: list[bytes]) -> None:
        usage = self._usage
        if (usage is None or not usage.input) and (estimate := (self._estimate or self._estimate_input)()) is not None:
            usage = complete_usage(usage, estimate)
        if self._context.include_usage and usage is not None:
            out.append(encode_event(self._head + b',"choices":[],"usage":' + encode_body(write_usage(usage)) + b"}"))
        out.append(DONE)
        self._state = _State.ENDED

    def _estimate_input(self) -> Usage:
        return Usage(fresh=self._context.input_tokens, estimated=True)

    def _add_text(self, opened: _OpenBlock, text: str, out: list[bytes]) -> None:
        """Writes the text of a block that comes whole when it is opened."""
        if text and opened.prefix:
            opened.said += literal(text)[1:-1]
            out += (opened.prefix, literal(text), opened.suffix)

    def _place_citations(self) -> list[dict[str, Any]]:
        """The annotations of all texts. Text lengths are computed only if there are any."""
        if not any(opened.citations for opened in self._texts):
            return []
        return place_citations(
            (len(text_of(b'"%b"' % bytes(opened.said))), len(PARAGRAPH) * opened.apart, opened.citations)
            for opened in self._texts
        )

    def _open_step(self, block: ServerTool, out: list[bytes]) -> _OpenBlock:
        """A step of the upstream's own tools, shown beside the answer together with the thoughts."""
        opened = self._prepare(b'{"reasoning_content":', b"}")
        if block.step is not None:
            self._add_text(opened, note_of(block), out)
            for image in block.step.images:
                out.append(self._chunk({"images": [write_image(image)]}))
        opened.proof = carry((block,))
        opened.place = place_of_next(spoken=self._said, calls=self._calls)
        return opened

    def _prepare(self, before: bytes, after: bytes) -> _OpenBlock:
        return _OpenBlock(
            b"data: " + self._head + b',"choices":[{"index":0,"delta":' + before,
            after + b',"finish_reason":null}]}\n\n',
        )

    def _chunk(
        self,
        delta: dict[str, Any],
        *,
        finish_reason: str | None = None,
        logprobs: dict[str, Any] | None = None,
        top: dict[str, Any] | None = None,
    ) -> bytes:
        choice: dict[str, Any] = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        if logprobs is not None:
            choice["logprobs"] = logprobs
        return encode_event(self._head + b"," + encode_body({**(top or {}), "choices": [choice]})[1:])
