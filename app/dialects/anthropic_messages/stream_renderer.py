"""Renders Anthropic Messages streams."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from typing import Any

import msgspec

from app.conversation.blocks import Compaction, Opaque, Proof, Reasoning, Refusal, ServerTool, Text, ToolCall
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
from app.conversation.literals import join, text_of
from app.conversation.response import Usage
from app.conversation.streams.sequence import Sequencer
from app.dialects.anthropic_messages.content.blocks import seal_reasoning, shown_citations
from app.dialects.anthropic_messages.content.server_steps import write_steps
from app.dialects.anthropic_messages.errors import render_error
from app.dialects.anthropic_messages.response_renderer import (
    own_sequence,
    write_compaction,
    write_head,
    write_reasoning,
    write_stop,
)
from app.dialects.anthropic_messages.usage import count_searches, write_usage
from app.dialects.anthropic_messages.vocabulary import NAME, RESPONSE_EXTENSIONS, WireBlock
from app.dialects.json_bodies import encode_body
from app.dialects.runs import Frame, Run
from app.json_values import fields_decoder
from app.sse import COMMENT_KEEPALIVE

PING = b'event: ping\ndata: {"type":"ping"}\n\n'


class _State(Enum):
    EXPECTING = auto()
    RUNNING = auto()
    ENDED = auto()


class StreamRenderer:
    """A stream for a client: one open block at a time, and the end held back until the usage is known.

    A reasoning block begins only with its first text; without text it becomes one redacted block.
    """

    def __init__(self, context: RenderContext) -> None:
        self._context = context
        self._sequencer = Sequencer()
        self._state = _State.EXPECTING
        self._index = 0
        self._head: object = None  # of the open block
        self._shown = False  # whether the open block has begun on the wire
        self._prefix = b""  # of a delta that needs no special treatment; otherwise empty
        self._frame: Frame | None = None  # of the current run
        self._texts: list[bytes] = []  # of a block whose end needs its whole text
        self._refused: list[str] = []
        self._steps: list[ServerTool] = []  # of tools of another vendor
        self._usage: Usage | None = None
        self._usage_known = False
        self._tier: str | None = None
        self._finished: Finished | None = None

    def feed(self, events: Sequence[Event]) -> bytes:
        self._frame = None
        out: list[bytes] = []
        for event in self._sequencer.feed(events):
            if type(event) is BlockDelta:
                if self._prefix:
                    out.append(self._prefix + event.text + b"}}\n\n")
                else:
                    self._add(event.text, out)
            elif self._state is not _State.ENDED:
                self._take(event, out)
        return b"".join(out)

    def feed_run(self, run: Run) -> bytes:
        frame = self._frame
        if frame is None:
            if not (self._prefix and self._sequencer.is_next(run.index)):
                return self.feed(run.deltas())
            frame = self._frame = Frame(self._prefix + b'"', b'"}}\n\n')
        return frame.write(run.texts)

    def close(self) -> bytes:
        out: list[bytes] = []
        if self._finished is not None:
            self._end(self._finished, out)
        return b"".join(out)

    def ping(self) -> bytes:
        """A ping event; a comment before the stream's first event, which must be `message_start`."""
        if self._state is _State.RUNNING:
            return PING
        return COMMENT_KEEPALIVE if self._state is _State.EXPECTING else b""

    def _take(self, event: Event, out: list[bytes]) -> None:
        if self._state is _State.EXPECTING and type(event) is not Failed:
            self._begin(event if type(event) is Started else Started("", ""), out)
        if type(event) is BlockOpened:
            self._open(event.block, out)
        elif type(event) is BlockClosed:
            self._shut(event.proof, out)
        elif type(event) is BlockNoted:
            if event.citation is not None and isinstance(self._head, Text):
                for shown in shown_citations((event.citation,)):
                    self._write_delta({"type": "citations_delta", "citation": shown}, out)
        elif type(event) is UsageSeen:
            self._usage, self._usage_known = event.usage, True
            if self._finished is not None:
                self._end(self._finished, out)
        elif type(event) is Finished:
            self._finished = event
            if self._usage_known:
                self._end(event, out)
        elif type(event) is Failed:
            self._state = _State.ENDED
            self._head, self._prefix, self._finished = None, b"", None
            out.append(b"event: error\ndata: %b\n\n" % render_error(event.failure, f"req_{self._context.id}"))

    def _begin(self, started: Started, out: list[bytes]) -> None:
        self._state = _State.RUNNING
        self._usage, self._tier = started.usage, started.service_tier
        message = {
            **write_head(started.id, self._context),
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": write_usage(started.usage, self._context, None, started.service_tier),
        }
        _write_event("message_start", {"message": message}, out)

    def _open(self, block: object, out: list[bytes]) -> None:
        self._head, self._shown, self._prefix = block, False, b""
        self._texts.clear()
        match block:
            case Text():
                self._show({"type": "text", "text": ""}, out)
                self._prefix = self._delta_prefix("text_delta", "text")
            case ToolCall(id=identifier, name=name):
                head = {"type": "tool_use", "id": identifier, "name": name, "input": {}}
                self._show({**head, **(block.extensions or {})}, out)
                self._prefix = self._delta_prefix("input_json_delta", "partial_json")
            case Refusal():
                self._show({"type": "text", "text": ""}, out)
            case ServerTool(dialect=dialect) if dialect != NAME:
                self._steps.append(block)
                self._show_each(write_steps(block), out)
            case ServerTool(dialect=dialect, raw=raw) | Opaque(dialect=dialect, raw=raw) if dialect == NAME:
                self._show_whole(raw, out)
            case _:
                pass  # reasoning waits for its text; other blocks have no form here

    def _add(self, text: bytes, out: list[bytes]) -> None:
        """A delta of a block that needs special treatment."""
        match self._head:
            case Reasoning():
                self._show({"type": "thinking", "thinking": "", "signature": ""}, out)
                self._prefix = self._delta_prefix("thinking_delta", "thinking")
                out.append(self._prefix + text + b"}}\n\n")
            case Refusal():
                self._texts.append(text)
                out.append(self._delta_prefix("text_delta", "text") + text + b"}}\n\n")
            case Compaction():
                self._texts.append(text)
            case _:
                pass

    def _shut(self, proof: Proof | None, out: list[bytes]) -> None:
        head, self._head, self._prefix = self._head, None, b""
        match head:
            case Reasoning():
                self._sign(proof or head.proof, out)
            case Refusal():
                self._refused.append(text_of(join(self._texts)))
            case Compaction():
                self._show({"type": "compaction", "content": None}, out)
                whole = write_compaction(Compaction(text_of(join(self._texts)) or None, proof))
                self._write_delta({**fields_decoder.decode(encode_body(whole)), "type": "compaction_delta"}, out)
            case _:
                pass
        if self._shown:
            out.append(b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n' % self._index)
            self._index += 1
            self._shown = False

    def _sign(self, proof: Proof | None, out: list[bytes]) -> None:
        """The signature of the open reasoning block, or the whole block if it never had text."""
        if self._shown:
            own = proof is not None and proof.dialect == NAME and proof.originals
            signature = _signature_of(proof.originals[0]) if proof and own else seal_reasoning(proof)
            self._write_delta({"type": "signature_delta", "signature": signature}, out)
        else:
            self._show_each(write_reasoning(Reasoning("", proof)), out)

    def _end(self, finished: Finished, out: list[bytes]) -> None:
        self._state, self._finished = _State.ENDED, None
        stop = write_stop(
            finished.finish_reason,
            finished.raw_finish_reason,
            own_sequence(finished.stop_sequence, self._context),
            finished.stop_detail,
            refused=self._refused,
        )
        extensions = {name: finished.extensions[name] for name in RESPONSE_EXTENSIONS if name in finished.extensions}
        if "container" in extensions:
            stop["container"] = extensions.pop("container")
        usage = write_usage(count_searches(self._usage, self._steps), self._context, finished.extensions, self._tier)
        _write_event("message_delta", {"delta": stop, "usage": usage, **extensions}, out)
        _write_event("message_stop", {}, out)

    def _show(self, block: Any, out: list[bytes]) -> None:
        self._shown = True
        _write_event("content_block_start", {"index": self._index, "content_block": block}, out)

    def _show_each(self, blocks: Sequence[Any], out: list[bytes]) -> None:
        """Several whole blocks; the last one is left open."""
        for number, block in enumerate(blocks):
            if number:
                self._shut(None, out)
            self._show_whole(encode_body(block), out)

    def _show_whole(self, raw: bytes, out: list[bytes]) -> None:
        """A block of this dialect's own; the input of a server tool's call is sent as a delta, as for all calls."""
        fields = fields_decoder.decode(raw)
        arguments = bytes(fields.get("input", b""))
        if not arguments:
            self._show(fields, out)
            return
        self._show({**fields, "input": {}}, out)
        self._write_delta({"type": "input_json_delta", "partial_json": arguments.decode()}, out)

    def _write_delta(self, delta: dict[str, Any], out: list[bytes]) -> None:
        _write_event("content_block_delta", {"index": self._index, "delta": delta}, out)

    def _delta_prefix(self, kind: str, field: str) -> bytes:
        """A delta's SSE event up to its text; `}}` and a blank line follow."""
        return (
            f'event: content_block_delta\ndata: {{"type":"content_block_delta","index":{self._index},'
            f'"delta":{{"type":"{kind}","{field}":'
        ).encode()


def _write_event(name: str, fields: dict[str, Any], out: list[bytes]) -> None:
    out.append(b"event: %b\ndata: %b\n\n" % (name.encode(), encode_body({"type": name, **fields})))


def _signature_of(original: bytes) -> str:
    return msgspec.json.decode(original, type=WireBlock).signature or ""
