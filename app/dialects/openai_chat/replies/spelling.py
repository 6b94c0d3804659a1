"""How an upstream spells the chunks of a stream, and how its client is to get them."""

from __future__ import annotations

import re

from app.dialects.json_bodies import encode_body
from app.json_values import any_decoder, decode_or_none
from app.sse import encode_event

# Maximum bytes of what every chunk begins with: it may be written before each word of an answer.
MAX_IDENTITY = 1000

# The mark of a chunk that only adds to the answer, in its two spellings.
_TIGHT, _LOOSE = b'"finish_reason":null', b'"finish_reason": null'
# The marks of a chunk with text (`reasoning_content` has the same ending), and of counts, in the same two spellings.
_SAYS = {_TIGHT: (b'content":"', b'"reasoning":"'), _LOOSE: (b'content": "', b'"reasoning": "')}
_COUNTS = {_TIGHT: b'"usage":{', _LOOSE: b'"usage": {'}
_ODD_ROLE = re.compile(rb'"role"\s*+:\s*+"(?!assistant")\w{0,20}+"')

_MODEL = re.compile(rb'"model"\s*+:\s*+("(?:[^"\\]++|\\.)++")')
# The start of a chunk, up to the four fields that are the same in all chunks of a stream.
_IDENTITY = re.compile(rb'data: \{(?:"(?:id|object|created|model)"\s*+:\s*+(?:"(?:[^"\\]++|\\.)*+"|\d++)\s*+,\s*+){4}')
_BLANKS = re.compile(rb"\n{3,}")


class Spelling:
    """Learns the upstream's spelling from the first events, and mends names in all of them without decoding any.

    `names` are the upstream's name of the model and the client's, or how their chunks begin, if that differs; None
    before the first name.
    """

    __slots__ = ("_calm", "_model", "_odd_role", "_start", "names")

    def __init__(self, model: str) -> None:
        self.names: tuple[bytes, bytes] | None = None
        self._model = model
        self._start = b""  # how all of the client's chunks begin, if they do
        self._calm = _TIGHT
        self._odd_role = b'"role":""'

    def mend(self, events: bytes) -> bytes:
        """Whole events with the client's name of the model, one identity, and a role that clients know."""
        if self.names is None:
            self._learn(events)
        if self.names is not None and self.names[0] != self.names[1]:
            events = events.replace(*self.names)
        if self._start and not self._are_alike(events):
            events = b"".join(map(self._unify, split_events(events)))
        if events.find(self._odd_role) >= 0:  # MiniMax's is empty; the AI SDK accepts no role but its own
            events = events.replace(self._odd_role, b'"role":"assistant"')
        return events

    def take_words(self, events: bytes) -> tuple[bytes, bytes]:
        """Splits events into leading ones that only add text, each of which contains its text and its null finish
        reason and nothing more, and the rest. One read often contains many words and the end.

        Counting a few words costs a fraction of decoding; anything less simple is checked event by event.
        """
        end = events.find(b"\n\n", events.rfind(self._calm)) + 2
        words = events if end == len(events) else events[:end]
        count = words.count(self._calm)
        if not count or words.count(b"\n") != 2 * count:  # each has a data line and a blank line
            return b"", events
        content, reasoning = _SAYS[self._calm]
        if words.count(content) != count and words.count(reasoning) != count:
            return b"", events
        if words.find(b'"tool_calls"') >= 0 or words.find(b'"message":') >= 0:
            return b"", events
        # A server that counts in one event counts in all.
        last = words.rfind(b"\n\n", 0, -2) + 1
        return (words, events[end:]) if words.find(_COUNTS[self._calm], last) < 0 else (b"", events)

    def _learn(self, events: bytes) -> None:
        found = _MODEL.search(events)
        if found is None:
            return
        new = found[0][: found.start(1) - found.start()] + encode_body(self._model)
        self.names = found[0], new
        head = _IDENTITY.search(events)
        fits = head is not None and len(head[0]) <= MAX_IDENTITY and b'""' not in head[0]
        if head is not None and fits and head.start() < found.start() < head.end():
            self._start = head[0].replace(found[0], new)
        self._calm = _LOOSE if _LOOSE in events else _TIGHT
        if (role := _ODD_ROLE.search(events)) is not None:
            self._odd_role = role[0]

    def _are_alike(self, events: bytes) -> bool:
        """Whether the first and the last event have the identity of the stream; then so have those between."""
        last = events.rfind(b"\n\n", 0, -2)
        return events.startswith(self._start) and (last < 0 or events.startswith(self._start, last + 2))

    def _unify(self, event: bytes) -> bytes:
        """An event of a server that gives chunks an identity of their own. Ollama dates each anew."""
        if event.startswith(self._start):
            return event
        if (found := _IDENTITY.match(event)) is None:
            return self._complete(event)
        self.names = found[0], self._start  # those that follow are likely to begin so
        return self._start + event[found.end() :]

    def _complete(self, event: bytes) -> bytes:
        """An event with the fields of the first chunk that it lacks, because many clients' types require them."""
        payload = event[len(b"data:") :] if event.startswith(b"data:") else b""
        chunk = decode_or_none(payload, any_decoder)
        if not isinstance(chunk, dict) or "choices" not in chunk:
            return event
        head = any_decoder.decode(self._start[len(b"data: ") :].rstrip(b", ") + b"}")
        complete = all(chunk.get(name) is not None for name in head)
        return event if complete else encode_event(encode_body({**chunk, **head}))


def split_events(events: bytes) -> list[bytes]:
    """Whole events, each with its blank line. Extra blank lines are dropped: one read may contain ten thousand of
    them."""
    if events.find(b"\n\n") == len(events) - 2:
        return [events]
    if events.find(b"\n\n\n") >= 0:
        events = _BLANKS.sub(b"\n\n", events)
    return [event + b"\n\n" for event in events.split(b"\n\n")[:-1]]
