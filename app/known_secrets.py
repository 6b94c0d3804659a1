"""Masks this process's secrets, by value, in any text.

An upstream may quote the key that it was sent anywhere in its reply: in an error message, a header, a page of HTML,
escaped or encoded or cut short. So the values themselves are searched for, in the encodings in which they may appear,
wherever text leaves that this program did not write: errors and headers for clients, the log, the commands' output. The
text of a successful reply is the model's and passes unsearched.

Each text is searched twice. As it is, it is searched for the usual spellings of the values. Reduced to its letters and
digits, in lower case, it is searched for the values, and for their encodings as base64, base32 and notations of bytes.
So separators do not matter (`73:6b:2d`, `[115, 107, 45]`, line ends, the zeros of UTF-16), nor does the alphabet of
base64. Escapes (`\\u0073k`, `%73k`, `&#115;k`) are undone, and the result is searched too.

A search costs one look-up per `_GRAM` characters, which are one number of 64 bits if they are ASCII. It is enough to
look up the aligned pieces of a text: a run of 2 * `_GRAM` - 1 characters of a secret always contains one of them,
wherever it begins.
"""

from __future__ import annotations

import base64
import html
import json
import re
import sys
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from urllib.parse import quote, quote_plus

MASK = "[masked]"

# Shorter values are ordinary words ("none", "ollama"), and would be masked in every text.
SHORTEST = 8
# The shortest part of a value that counts as a secret.
SHORTEST_PART = 2 * SHORTEST - 1
# Login tokens are renewed again and again. Only the latest may still be quoted.
MAX_RENEWED = 64

_GRAM = SHORTEST
# The number of pieces that are indexed at each end of a spelling. Tokens are long, and each piece costs memory. A part
# from the middle of a long token is not found; one that touches an indexed piece is found as a whole.
_MAX_PLACES = 128
# The same for rare encodings, such as those of an encoding, which are found only as a whole.
_FEW_PLACES = _GRAM

# Bounds of the texts known to hold no secret: servers repeat names and values of headers, but hostile ones send ever
# new ones. Longer texts are searched each time.
_MAX_PLAIN = 1024
_LONGEST_PLAIN = 100

# Characters as JSON, programs, URLs and HTML escape them, perhaps several times over.
_ESCAPE = re.compile(
    r"\\{1,8}+(?:[uU]\{?0{0,6}+([0-9a-fA-F]{2})\}?|x([0-9a-fA-F]{2})|([01][0-7]{2}))|%(?:25){0,3}+([0-9a-fA-F]{2})"
    r"|&(?:amp;){0,3}+#(?:[xX]0{0,6}+([0-9a-fA-F]{2})|0{0,6}+([0-9]{2,3}));?"
)
_BASES = (16, 16, 8, 16, 16, 10)
# The most layers of escapes that are undone.
_MAX_UNDONE = 3
# For the search by letters and digits alone: letters become lower case, everything else is removed.
_WORD = re.compile(r"[A-Za-z0-9]+")
_SMALL = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", b"abcdefghijklmnopqrstuvwxyz")
_BETWEEN = bytes(code for code in range(256) if _WORD.match(chr(code)) is None)

# Pieces of spellings, as numbers. Each maps to the spellings that contain it, and its place in them.
_Grams = dict[int, tuple[tuple[str, int], ...]]
# Ranges of a text, as (begin, end).
_Spans = list[tuple[int, int]]


class KnownSecrets:
    """The values that must not leave. Adding one is rare and costly, searching for all is cheap."""

    def __init__(self) -> None:
        self.version = 0  # another number whenever what is masked changes
        self.forget()

    def forget(self) -> None:
        """Forgets all values."""
        self._configured: set[str] = set()
        self._renewed: dict[str, None] = {}
        self._unlearn()

    def configure(self, values: Iterable[str]) -> None:
        """Adds a configuration's secrets. Earlier ones stay, since replies that quote them may still arrive."""
        fresh = {value for value in values if len(value) >= SHORTEST} - self._configured
        if fresh:
            self._configured |= fresh
            self._learn(fresh)

    def add(self, *values: str | None) -> None:
        """Adds short-lived secrets, such as the tokens of a login."""
        fresh = [value for value in values if value and len(value) >= SHORTEST and value not in self._renewed]
        if not fresh:
            return
        self._renewed.update(dict.fromkeys(fresh))
        if len(self._renewed) <= MAX_RENEWED:
            self._learn(fresh)
            return
        for value in list(self._renewed)[: MAX_RENEWED // 2]:
            del self._renewed[value]
        self._unlearn()
        self._learn({*self._configured, *self._renewed})

    def mask(self, text: str) -> str:
        """The text with `[masked]` for each secret and each long enough part of one; the very object if it has none."""
        if not self._configured and not self._renewed:
            return text
        if "\\" in text or "%" in text or "&" in text:
            return self._mask_escaped(text)
        return _replace_spans(text, self._find(text)) if self._is_suspect(text) else text

    def mask_bytes(self, data: bytes) -> bytes:
        """`mask` for bytes, usually UTF-8. Returns the very object if there is nothing to mask."""
        text = data.decode("utf-8", "surrogateescape")
        masked = self.mask(text)
        return data if masked is text else masked.encode("utf-8", "surrogateescape")

    def mask_headers(self, headers: dict[str, str]) -> dict[str, str]:
        """`mask` for the values of headers. Headers whose names contain a secret are removed."""
        if not self._plain.issuperset(headers):
            headers = {name: value for name, value in headers.items() if self.is_plain(name)}
        plain = self._plain
        for value in headers.values():
            # Counts and times are shorter than any secret.
            if len(value) >= SHORTEST and value not in plain and not self.is_plain(value):
                return {name: self.mask(value) for name, value in headers.items()}
        return headers

    def is_plain(self, text: str) -> bool:
        """Whether a text holds no secret. Remembers a short one, so that asking again costs nothing."""
        known = self._plain  # another set as soon as another thread adds a secret
        if text in known:
            return True
        plain = self.mask(text) is text
        if plain and len(text) <= _LONGEST_PLAIN:
            if len(known) >= _MAX_PLAIN:
                known.clear()
            known.add(text)
        return plain

    def _unlearn(self) -> None:
        self.version += 1
        self._grams: _Grams = {}
        self._loose: _Grams = {}
        self._short: tuple[str, ...] = ()  # spellings too short to be found by pieces for certain
        self._plain: set[str] = set()  # names and values of headers known to hold no secret

    def _learn(self, values: Iterable[str]) -> None:
        # Copies, since other threads may be searching the current tables.
        grams, loose, short = dict(self._grams), dict(self._loose), dict.fromkeys(self._short)
        for value in values:
            for spelling in dict.fromkeys(_spellings(value)):
                if len(spelling) < SHORTEST_PART:
                    short[spelling] = None
                else:
                    _note(grams, spelling, _MAX_PLACES)
            for maximum, encoded in _encodings(value):
                if len(letters := _letters(encoded)) >= SHORTEST_PART:
                    _note(loose, letters, maximum)
        self._grams, self._loose, self._plain = grams, loose, set()
        self._short = tuple(sorted(short, key=len, reverse=True))
        self.version += 1

    def _mask_escaped(self, text: str) -> str:
        readings = [text]
        while len(readings) <= _MAX_UNDONE and (undone := _ESCAPE.sub(_unescape, readings[-1])) != readings[-1]:
            readings.append(undone)
        if not any(map(self._is_suspect, readings)):
            return text
        spans = self._find(text)
        places: _Spans | None = None
        for reading, undone in pairwise(readings):
            places = _place(reading, places)
            spans += [(places[begin][0], places[end - 1][1]) for begin, end in self._find(undone)]
        return _replace_spans(text, spans)

    def _is_suspect(self, text: str) -> bool:
        """Whether a text contains a piece of a secret, as it is or by its letters and digits."""
        if len(text) >= SHORTEST_PART and not (
            self._grams.keys().isdisjoint(_split(text)) and self._loose.keys().isdisjoint(_split(_letters(text)))
        ):
            return True
        return bool(self._short) and any(map(text.__contains__, self._short))

    def _find(self, text: str) -> _Spans:
        spans = _find_parts(text, self._grams)
        for value in self._short:
            place = text.find(value)
            while place >= 0:
                spans.append((place, place + len(value)))
                place = text.find(value, place + len(value))
        if found := _find_parts(_letters(text), self._loose):
            words = list(_WORD.finditer(text))
            counts = [0]
            for word in words:
                counts.append(counts[-1] + len(word[0]))
            for begin, end in found:
                first, last = bisect_right(counts, begin) - 1, bisect_right(counts, end - 1) - 1
                spans.append((words[first].start() + begin - counts[first], words[last].start() + end - counts[last]))
        return spans


def _letters(text: str) -> str:
    """A text reduced to its ASCII letters and digits, in lower case."""
    return text.encode("utf-8", "surrogatepass").translate(_SMALL, _BETWEEN).decode("ascii")


def _split(text: str) -> Sequence[int]:
    """The aligned pieces of a text."""
    if text.isascii():
        return array("Q", text[: len(text) // _GRAM * _GRAM].encode())
    return [_number(text[start : start + _GRAM]) for start in range(0, len(text), _GRAM)]


def _number(piece: str) -> int:
    return int.from_bytes(piece.encode("utf-8", "surrogatepass"), sys.byteorder)


def _note(grams: _Grams, spelling: str, maximum: int) -> None:
    """Indexes the pieces of a spelling, at most `maximum` at each of its ends."""
    count = len(spelling) - _GRAM + 1
    for place in range(count) if count <= 2 * maximum else (*range(maximum), *range(count - maximum, count)):
        gram = _number(spelling[place : place + _GRAM])
        grams[gram] = (*grams.get(gram, ()), (spelling, place))[:4]


def _find_parts(text: str, grams: _Grams) -> _Spans:
    """The runs of a text, in order and without overlaps, that are a long enough part of a spelling."""
    spans = []
    end = 0
    start = 0
    while start <= len(text) - _GRAM:
        places = grams.get(_number(text[start : start + _GRAM]), ())
        begin, stop = max(
            (_extend(text, start, spelling, place, end) for spelling, place in places),
            key=lambda run: run[1] - run[0],
            default=(start, start),
        )
        if stop - begin >= SHORTEST_PART:
            spans.append((begin, stop))
            start = end = stop
        else:
            start += _GRAM
    return spans


def _extend(text: str, start: int, spelling: str, place: int, end: int) -> tuple[int, int]:
    """The run around `start`, not before `end`, in which the text equals the spelling around `place`."""
    back = 0
    while start - back > end and place - back > 0 and text[start - back - 1] == spelling[place - back - 1]:
        back += 1
    on = _GRAM
    while start + on < len(text) and place + on < len(spelling) and text[start + on] == spelling[place + on]:
        on += 1
    return start - back, start + on


def _unescape(found: re.Match[str]) -> str:
    return next(chr(int(digits, base)) for digits, base in zip(found.groups(), _BASES, strict=True) if digits)


def _place(text: str, places: _Spans | None) -> _Spans:
    """The range in `text` of each character of its unescaped form. If `places` gives the ranges of `text`'s own
    characters in an original text, the ranges are in that original."""
    spans: _Spans = []
    end = 0
    for found in _ESCAPE.finditer(text):
        spans += [(each, each + 1) for each in range(end, found.start())]
        spans.append(found.span())
        end = found.end()
    spans += [(each, each + 1) for each in range(end, len(text))]
    return spans if places is None else [(places[begin][0], places[end - 1][1]) for begin, end in spans]


def _replace_spans(text: str, spans: _Spans) -> str:
    kept: list[str] = []
    end = 0
    for begin, stop in sorted(spans):
        if begin >= end:
            # Removes backslashes before the mask, which would escape its first character.
            kept += (text[end:begin].rstrip("\\"), MASK)
        end = max(end, stop)
    return "".join([*kept, text[end:]]) if kept else text


def _spellings(value: str) -> Iterator[str]:
    """The spellings of a value in a text: as it is, in upper or lower case, escaped for JSON, URLs or HTML, encoded."""
    yield value
    yield value.upper()
    yield value.lower()
    yield json.dumps(value)[1:-1]
    yield json.dumps(value)[1:-1].replace("/", r"\/")
    yield json.dumps(json.dumps(value))[3:-3]
    for quoted in (quote(value, safe=""), quote_plus(value), quote(value), quote(quote(value, safe=""), safe="")):
        yield quoted
        yield _lower_escapes(quoted)
    yield html.escape(value)
    yield html.escape(value).replace("&#x27;", "&#39;").replace("&quot;", "&#34;")
    for encoded in _in_base64(value.encode("utf-8", "surrogateescape")):
        if len(encoded) < SHORTEST_PART:
            yield encoded
            yield encoded.replace("+", "-").replace("/", "_")


def _encodings(value: str) -> Iterator[tuple[int, str]]:
    """What to search for in a text's letters and digits, each with the number of pieces to index at its ends."""
    data = value.encode("utf-8", "surrogateescape")
    once = _in_base64(data)
    for usual in (value, data.hex(), *once):
        yield _MAX_PLACES, usual
    rare = [
        "".join(map(str, data)),
        "".join(f"0x{code:02x}" for code in data),
        "".join(f"u{code:04x}" for code in data),
    ]
    rare += _in_base32(data)
    # Encoded twice.
    rare += [data.hex().encode().hex(), *(each.encode().hex() for each in once)]
    inner = [data.hex(), *once, *{quote(value, safe=""), json.dumps(value)[1:-1]} - {value}]
    rare += [twice for each in inner for twice in _in_base64(each.encode())]
    rare += _in_base64(data.decode("latin-1").encode("utf-16-le"))
    for each in rare:
        yield _FEW_PLACES, each


def _in_base64(data: bytes) -> list[str]:
    """The base64 characters that depend on the data alone, for each of its three alignments in a longer text."""
    encoded = [base64.b64encode(b"\0" * shift + data).rstrip(b"=").decode() for shift in range(3)]
    return [text[-(-shift * 8 // 6) : (shift + len(data)) * 8 // 6] for shift, text in enumerate(encoded)]


def _in_base32(data: bytes) -> list[str]:
    encoded = [base64.b32encode(b"\0" * shift + data).rstrip(b"=").decode() for shift in range(5)]
    return [text[-(-shift * 8 // 5) : (shift + len(data)) * 8 // 5] for shift, text in enumerate(encoded)]


def _lower_escapes(text: str) -> str:
    head, *rest = text.split("%")
    return "%".join([head, *(part[:2].lower() + part[2:] for part in rest)])


known_secrets = KnownSecrets()
