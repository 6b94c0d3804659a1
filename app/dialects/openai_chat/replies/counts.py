"""Keeps the counts of a stream until its end: clients add up those of several events."""

from __future__ import annotations

import re

import msgspec

from app.conversation.response import Usage, complete_usage
from app.dialects.json_bodies import encode_body
from app.dialects.openai_chat.usage import find_tier, is_sound, write_usage
from app.dialects.openai_chat.vocabulary import WireChunk
from app.dialects.openai_shared.counts import WireUsage, read_usage
from app.json_values import any_decoder
from app.sse import encode_event

_USAGE = re.compile(rb',\s*+"usage"\s*+:\s*+(\{(?:[^{}]++|\{[^{}]*+\})*+\})')


class Counts(msgspec.Struct):
    """The last counts of a stream, and the event that tells them. `head` is how its chunks begin, up to a comma, as
    sent to the client; it is set once the first has come."""

    head: bytes = b""
    usage: Usage | None = None
    wire: WireUsage | None = None
    event: bytes = b""
    alone: bool = False  # they came in an event without a choice, and outweigh those beside one

    def keep(self, event: bytes, payload: bytes, chunk: WireChunk) -> None:
        """Keeps an event with counts and no choice."""
        assert chunk.usage is not None
        if chunk.choices is None and self.head:  # clients require `choices` in every chunk
            event = self._write(encode_body(any_decoder.decode(payload)["usage"]))
        self.usage, self.wire, self.event = read_usage(chunk.usage, find_tier(payload)), chunk.usage, event
        self.alone = True

    def take(self, payload: bytes, usage: WireUsage) -> bytes:
        """A payload without the counts beside its choices, which are kept."""
        tier = find_tier(payload)
        found = _USAGE.search(payload)
        if found is None:
            value = any_decoder.decode(payload)
            given = value.pop("usage", None) or (value.get("x_groq") or value["choices"][0]).get("usage")
            counts, payload = encode_body(given), encode_body(value)
        else:
            counts, payload = found[1], payload[: found.start()] + payload[found.end() :]
        if not self.alone:
            self.usage, self.wire, self.event = read_usage(usage, tier), usage, self._write(counts)
        return payload

    def tell(self, estimate: Usage | None) -> bytes:
        """The event with the counts: the upstream's, unless it sent none or under other names."""
        if estimate is not None and (self.usage is None or not self.usage.input):
            self.usage = complete_usage(self.usage, estimate)
        elif self.usage is None or (self.wire is not None and is_sound(self.wire)):
            return self.event
        return self._write(encode_body(write_usage(self.usage)))

    def _write(self, counts: bytes) -> bytes:
        return encode_event(self.head + b',"choices":[],"usage":' + counts + b"}")
