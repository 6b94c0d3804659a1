"""The secrets that this process knows, by value, and texts without them.

An upstream may put the key that it was sent into whatever it answers: an error's message, a header, a page of HTML,
escaped or encoded or cut short. So what is looked for are the values themselves, in the encodings that texts come in;
and it is looked for wherever text leaves that this program did not write: errors and headers for clients, the log, what
the commands print. The text of a good answer is the model's and passes.

Looking costs one look-up for each `_GRAM` characters: of a run that is twice as long at least one aligned piece stands
among the pieces of the secret, at whatever place both begin. What is escaped character by character (`\\u0073\\u006b…`,
`%73%6b…`, `&#115;…`), which a reader undoes, is undone before it is looked at.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

MASK = "[masked]"

# Shorter values are words that would riddle every text: "none", "ollama".
SHORTEST = 8
# What is left of a value that was cut counts from this length on.
SHORTEST_PART = 2 * SHORTEST - 1
# Login tokens are renewed for ever; the last of them may still be quoted.
MOST_RENEWED = 64

_GRAM = SHORTEST
# Of a spelling, the places at each of its ends where a piece of it is looked for. Tokens are long, and each place costs
# memory; what is cut in the middle of one is not seen, what goes on from an end is seen to its end.
_MOST_PLACES = 128

# Characters that are escaped one by one, each perhaps more than once over: as JSON and programs, URLs, and HTML do it.
_ESCAPE = re.compile(
    r"\\{1,8}+(?:u00([0-9a-fA-F]{2})|x([0-9a-fA-F]{2})|([01][0-7]{2}))|%(?:25){0,3}+([0-9a-fA-F]{2})"
    r"|&(?:amp;){0,3}+#(?:[xX]0{0,4}+([0-9a-fA-F]{2})|0{0,4}+([0-9]{2,3}));"
)
_ESCAPED = re.compile(f"(?:{_ESCAPE.pattern}){{{SHORTEST},}}+")
_BASES = (16, 16, 8, 16, 16, 10)
_SIGNS = ("\\u00", "\\x", "\\0", "\\1", "%", "&#", "&amp;#")


class KnownSecrets:
    """Values that must not leave. Adding one is rare, looking for all is cheap."""

    def __init__(self) -> None:
        self._configured: set[str] = set()
        self._renewed: dict[str, None] = {}
        self._grams: dict[str, tuple[tuple[str, int], ...]] = {}
        self._short: tuple[str, ...] = ()  # too short for a gram of them to be sure to be seen

    def configure(self, values: Iterable[str]) -> None:
        """Adds the secrets of a configuration; those of an earlier one stay, for replies to it may be under way."""
        fresh = {value for value in values if len(value) >= SHORTEST} - self._configured
        if fresh:
            self._configured |= fresh
            self._learn(fresh)

    def add(self, *values: str | None) -> None:
        """Adds secrets that come and go, such as tokens of a login."""
        fresh = [value for value in values if value and len(value) >= SHORTEST and value not in self._renewed]
        if not fresh:
            return
        self._renewed.update(dict.fromkeys(fresh))
        if len(self._renewed) <= MOST_RENEWED:
            self._learn(fresh)
            return
        for value in list(self._renewed)[: MOST_RENEWED // 2]:
            del self._renewed[value]
        self._grams, self._short = {}, ()
        self._learn({*self._configured, *self._renewed})

    def forget(self) -> None:
        """Knows nothing any more."""
        self._configured, self._renewed, self._grams, self._short = set(), {}, {}, ()

    def mask(self, text: str) -> str:
        """The text with `[masked]` in place of each secret, and of each longer part of one."""
        grams = self._grams
        if not grams and not self._short:
            return text
        if any(sign in text for sign in _SIGNS):
            text = _ESCAPED.sub(self._mask_escaped, text)
        for start in range(0, len(text) - _GRAM + 1, _GRAM):
            if text[start : start + _GRAM] in grams:
                text = self._mask_parts(text)
                break
        for value in self._short:
            if value in text:
                text = text.replace(value, MASK)
        return text

    def mask_bytes(self, data: bytes) -> bytes:
        """The same for bytes, of which most are UTF-8; the very object where nothing is to be hidden."""
        text = data.decode("utf-8", "surrogateescape")
        masked = self.mask(text)
        return data if masked is text else masked.encode("utf-8", "surrogateescape")

    def mask_headers(self, headers: dict[str, str]) -> dict[str, str]:
        """The same for the values of headers."""
        if self.mask(joined := "\n".join(headers.values())) is joined:
            return headers
        return {name: self.mask(value) for name, value in headers.items()}

    def _learn(self, values: Iterable[str]) -> None:
        grams = dict(self._grams)
        short = dict.fromkeys(self._short)
        for spelling in dict.fromkeys(spelling for value in values for spelling in _spellings(value)):
            if len(spelling) < SHORTEST_PART:
                short[spelling] = None
                continue
            for place in _places(len(spelling) - _GRAM + 1):
                gram = spelling[place : place + _GRAM]
                grams[gram] = (*grams.get(gram, ()), (spelling, place))[:4]
        self._grams = grams
        self._short = tuple(sorted(short, key=len, reverse=True))

    def _mask_escaped(self, found: re.Match[str]) -> str:
        """What is escaped, or the mask where it holds a secret."""
        plain = _ESCAPE.sub(_unescape, found[0])
        starts = range(0, len(plain) - _GRAM + 1, _GRAM)
        hidden = (
            any(plain[start : start + _GRAM] in self._grams for start in starts) and self._mask_parts(plain) != plain
        )
        return MASK if hidden or any(value in plain for value in self._short) else found[0]

    def _mask_parts(self, text: str) -> str:
        kept: list[str] = []
        end = 0
        start = 0
        while start <= len(text) - _GRAM:
            places = self._grams.get(text[start : start + _GRAM], ())
            begin, stop = max(
                (_extend(text, start, spelling, place, end) for spelling, place in places),
                key=lambda run: run[1] - run[0],
                default=(start, start),
            )
            if stop - begin >= SHORTEST_PART:
                # A backslash before it would make an escape of the mask's first character.
                kept += (text[end:begin].rstrip("\\"), MASK)
                start = end = stop
            else:
                start += _GRAM
        if not kept:
            return text
        return "".join([*kept, text[end:]])


def _places(count: int) -> Iterable[int]:
    """The places of a spelling's pieces that are looked for."""
    if count <= 2 * _MOST_PLACES:
        return range(count)
    return (*range(_MOST_PLACES), *range(count - _MOST_PLACES, count))


def _unescape(found: re.Match[str]) -> str:
    return next(chr(int(digits, base)) for digits, base in zip(found.groups(), _BASES, strict=True) if digits)


def _extend(text: str, start: int, spelling: str, place: int, end: int) -> tuple[int, int]:
    """The run around `start`, after `end`, in which the text goes on like the spelling around `place`."""
    back = 0
    while start - back > end and place - back > 0 and text[start - back - 1] == spelling[place - back - 1]:
        back += 1
    on = _GRAM
    while start + on < len(text) and place + on < len(spelling) and text[start + on] == spelling[place + on]:
        on += 1
    return start - back, start + on


def _spellings(value: str) -> Iterator[str]:
    """How a value may be written: as it is, escaped for JSON, a URL or HTML, in base64 at each alignment, in hex."""
    yield value
    yield json.dumps(value)[1:-1]
    yield json.dumps(value)[1:-1].replace("/", r"\/")
    yield json.dumps(json.dumps(value))[3:-3]
    for quoted in (quote(value, safe=""), quote_plus(value), quote(value), quote(quote(value, safe=""), safe="")):
        yield quoted
        yield _lower_escapes(quoted)
    yield html.escape(value)
    yield html.escape(value).replace("&#x27;", "&#39;").replace("&quot;", "&#34;")
    yield value.upper()
    yield value.lower()
    data = value.encode("utf-8", "surrogateescape")
    for shift in range(3):
        # Characters of base64 that hold bits of the value alone, whatever stands before and behind it.
        encoded = base64.b64encode(b"\0" * shift + data).rstrip(b"=").decode()
        whole = encoded[-(-shift * 8 // 6) : (shift + len(data)) * 8 // 6]
        yield whole
        yield whole.replace("+", "-").replace("/", "_")
    yield data.hex()
    yield data.hex().upper()


def _lower_escapes(text: str) -> str:
    head, *rest = text.split("%")
    return "%".join([head, *(part[:2].lower() + part[2:] for part in rest)])


known_secrets = KnownSecrets()
