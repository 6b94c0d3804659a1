"""Passes requests and replies of the same dialect."""

from __future__ import annotations

import msgspec

from app.conversation.capabilities import Capabilities, RenderContext
from app.conversation.losses import Loss
from app.conversation.response import Usage
from app.dialects.error_kinds import decode_error
from app.dialects.json_bodies import encode_body, read_body, replace_model
from app.dialects.openai_chat.errors import error_event
from app.dialects.openai_chat.passing_response import missing_head
from app.dialects.openai_chat.response_parser import parse_response
from app.dialects.openai_chat.usage import find_usage
from app.dialects.openai_chat.vocabulary import WireChunk
from app.dialects.openai_shared.counts import read_usage
from app.errors import Failure, UpstreamCut
from app.json_values import decode_or_none, fields_decoder, object_decoder
from app.sse import COMMENT_KEEPALIVE, DONE, SseDecoder, encode_event


def pass_request(body: bytes, capabilities: Capabilities) -> bytes:
    """The body with the upstream's model name, and with its limit lowered to the route's. It always passes, because no
    other upstream could accept what this one refuses."""
    if find_lowered(body, capabilities):
        body = encode_body({**read_body(body), "max_tokens": capabilities.max_output})
    return replace_model(body, capabilities.model) if capabilities.model else body


def pass_response(body: bytes, context: RenderContext, capabilities: Capabilities) -> tuple[bytes, Usage | None]:
    """A whole reply and its usage, with the client's name of the model and missing fields added. Raises UpstreamRefused
    for an error inside a reply of status 200, UpstreamMalformed for anything that is no reply."""
    parse_response(body)
    if missing := missing_head(object_decoder.decode(body), context, "text_completion"):
        body = encode_body({**fields_decoder.decode(body), **missing})
    return replace_model(body, context.model), find_usage(body)


class _Limit(msgspec.Struct):
    max_tokens: int | None = None


_limit_decoder = msgspec.json.Decoder(_Limit)
_chunk_decoder = msgspec.json.Decoder(WireChunk)


def find_lowered(body: bytes, capabilities: Capabilities) -> list[Loss]:
    """The losses from lowering the limit in `pass_request`."""
    maximum = capabilities.max_output
    asked = None if maximum is None else decode_or_none(msgspec.Raw(body), _limit_decoder)
    if maximum is None or asked is None or asked.max_tokens is None or asked.max_tokens <= maximum:
        return []
    why = f"lowered from {asked.max_tokens} to the {maximum} tokens that this model can answer"
    return [Loss("degrading", "max_tokens", why, (asked.max_tokens, maximum))]


class StreamPassthrough:
    """A stream whose events pass one by one, with the client's name of the model."""

    def __init__(self, context: RenderContext, capabilities: Capabilities) -> None:
        self.usage: Usage | None = None
        self.finished = False
        self._model = context.model
        self._decoder = SseDecoder(context.max_event)
        self.failed: Failure | None = None

    def run(self, part: bytes) -> tuple[bytes, bytes]:
        return b"", part

    def feed(self, part: bytes) -> bytes:
        return self._pass(self._decoder.feed(part))

    def close(self) -> bytes:
        out = self._pass(self._decoder.close())
        if self.failed is not None:
            return out
        if self.finished:
            return out + DONE
        cut = UpstreamCut("the upstream's stream ended before it was complete", began=True)
        return out + self.fail(cut.failure)

    def fail(self, failure: Failure) -> bytes:
        if self.failed is not None:
            return b""
        self.failed = failure
        return error_event(failure)

    def ping(self) -> bytes:
        return COMMENT_KEEPALIVE

    def _pass(self, data: list[bytes]) -> bytes:
        """The encoded payloads, without the end mark, which `close` writes."""
        if self.failed is not None:
            return b""
        return b"".join(self._encode(payload) for payload in data if payload.strip() != b"[DONE]")

    def _encode(self, payload: bytes) -> bytes:
        chunk = decode_or_none(payload, _chunk_decoder)
        if chunk is None:
            return encode_event(payload.replace(b"\n", b" "))
        self.failed = decode_error(payload) if len(chunk.error) else None
        if chunk.usage is not None:
            self.usage = read_usage(chunk.usage)
        if any(choice.finish_reason is not None for choice in chunk.choices or ()):
            self.finished = True
        return encode_event(replace_model(payload.replace(b"\n", b" "), self._model))
