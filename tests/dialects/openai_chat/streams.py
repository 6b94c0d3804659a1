"""Streams of Chat Completions, read and written, for tests."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from app.conversation.blocks import Proof
from app.conversation.events import BlockClosed, BlockDelta, BlockOpened, Event
from app.conversation.literals import literal
from app.conversation.response import Response
from app.conversation.streams.fold import fold
from app.dialects.openai_chat import StreamParser
from app.sse import SseDecoder

ReadWire = Callable[[str], bytes]


def parse(chunks: Sequence[Any], end: bool = True) -> list[Event]:
    parser = StreamParser()
    data = [chunk.encode() if isinstance(chunk, str) else json.dumps(chunk).encode() for chunk in chunks]
    return parser.feed(data) + (parser.close() if end else [])


def parse_wire(stream: bytes) -> list[Event]:
    decoder, parser = SseDecoder(), StreamParser()
    return parser.feed(decoder.feed(stream) + decoder.close()) + parser.close()


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    return {"id": "chatcmpl-1", "created": 7, "model": "m", "choices": [choice], **more}


def said(chunks: Sequence[Any]) -> Response:
    return fold(parse(chunks))


def block(index: int, head: Any, *texts: str, proof: Proof | None = None) -> list[Event]:
    said: list[Event] = [BlockDelta(index, literal(text)) for text in texts]
    return [BlockOpened(index, head), *said, BlockClosed(index, proof)]
