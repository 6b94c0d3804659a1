"""Handles JSON string literals, the form in which text moves through streams without being decoded.

A literal is the bytes of one JSON string, quotes included, exactly as an upstream sent it. Most paths only move it from
one frame to another, which avoids unescaping and escaping, and a surrogate pair that an upstream split over two deltas
is whole again once both are joined.
"""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Iterable, Sequence

import msgspec

from app.json_values import UNREADABLE, any_decoder, decode_or_none, fields_decoder, text_decoder

_encode = msgspec.json.Encoder().encode

EMPTY = b'""'

# Whole pairs and other escapes match too and are skipped; only a lone half has a group.
HALVES = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.", re.DOTALL
)
_BLANK = re.compile(rb'"(?: |\\[ntr])*+"')
_PLANE = 0x10F800 - 0xD800
_HIDDEN = re.compile(rb"\xf4\x8f[\xa0-\xbf][\x80-\xbf]")


def literal(text: str) -> bytes:
    """The literal of `text`. A lone surrogate, which UTF-8 cannot hold, is written as an escape."""
    try:
        return _encode(text)
    except UnicodeEncodeError:
        return json.dumps(text).encode("ascii")


def text_of(value: bytes) -> str:
    """The characters of a literal; lone surrogate escapes survive as lone surrogates."""
    try:
        return text_decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return str(json.loads(value.decode("utf-8", "replace"), strict=False))


def is_blank(value: bytes) -> bool:
    """Whether a literal contains only white space."""
    return _BLANK.fullmatch(value) is not None


def hide_halves(data: bytes) -> bytes:
    """JSON text with every escaped half of a surrogate pair replaced by a character of the last private plane.

    A strict decoder rejects such halves, even in raw fields; `show_halves` restores them in a literal.
    """
    # A search costs a tenth of the pattern's time, and one for a single byte a tenth of that.
    if b"\\" not in data or (b"\\ud" not in data and b"\\uD" not in data):
        return data
    hidden, end = bytearray(), 0  # the text may hold millions of halves: append rather than create an object for each
    for found in HALVES.finditer(data):
        if found[1] is not None:
            hidden += data[end : found.start(1)]
            hidden += chr(_PLANE + int(found[1][2:], 16)).encode()
            end = found.end(1)
    return bytes(hidden + data[end:]) if end else data


def show_halves(value: bytes) -> bytes:
    """A literal with the halves restored that `hide_halves` replaced."""
    shown, end = bytearray(), 0
    for found in _HIDDEN.finditer(value):
        shown += value[end : found.start()]
        shown += b"\\u%04x" % (ord(found[0].decode()) - _PLANE)
        end = found.end()
    return bytes(shown + value[end:]) if end else value


def join(values: Iterable[bytes]) -> bytes:
    """Several literals joined into one, in order."""
    return b'"' + b"".join([value[1:-1] for value in values]) + b'"'


# Prefixes of the literal of an object's text: white space may precede the brace.
_OBJECT_STARTS = (b'"{', b'" ', b'"\\n', b'"\\t', b'"\\r')


def begins_object(piece: bytes) -> bool:
    """Whether the literal of arguments, or of their first piece, begins like the text of an object."""
    return piece.startswith(_OBJECT_STARTS) and not is_blank(piece)


class HalfPairs:
    """Holds back half of a surrogate pair at the end of a delta until the other half comes with the next one: parsers
    of Rust and others reject an event with a lone half.

    The deltas are read after `hide_halves`, because ours does too."""

    def __init__(self) -> None:
        self._held: dict[Hashable, str] = {}

    def join(self, block: Hashable, value: bytes) -> bytes:
        """The literal that a delta with hidden halves adds to `block`, beginning with the half held back before."""
        text = self._held.pop(block, "") + text_of(show_halves(value))
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        if "\ud800" <= text[-1:] <= "\udbff":
            self._held[block], text = text[-1], text[:-1]
        return literal(text)


# After these characters an object may begin inside an object.
_BEFORE_VALUES = (":", ",", "[")
# Maximum pieces that are checked for repeating the whole object.
_MAX_DOUBTS = 64
NOTHING = b'"{}"'
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_one = json.JSONDecoder(strict=False)


class Resent:
    """Finds the new part of pieces of an object's text, for servers that resend all of it: DeepSeek behind Qianfan with
    each piece, others once more at the end. No real continuation of an object can begin like the object itself.

    `always`: each piece repeats all of it.
    """

    __slots__ = ("always", "doubts")

    def __init__(self) -> None:
        self.always = False
        self.doubts = 0

    def rest_of(self, pieces: Sequence[bytes], added: bytes) -> bytes:
        """The literal of the part of `added` that `pieces` do not contain yet; all of them are literals."""
        if not pieces or not added.startswith(b'"{') or self.doubts >= _MAX_DOUBTS:
            return added
        if added != NOTHING and not added.startswith(pieces[0][:-1]):
            return added
        had, now = text_of(join(pieces)), text_of(added)
        if now.startswith(had) and (self.always or had.rstrip()[-1:] not in _BEFORE_VALUES or is_object(now)):
            self.always = True
            return literal(now[len(had) :])
        self.doubts += 1
        return EMPTY if had.rstrip().endswith("}") and is_object(had) else added


class Snapshots:
    """Finds the new part of deltas that each repeat the whole text so far, as MiniMax sends them.

    One delta that begins with the text before it proves nothing ("ha", "ha!"), so it waits for the next; two in a row,
    from the beginning of a text, are no writing. Neither are rows of one character, so those are kept.
    """

    __slots__ = ("_before", "_waiting", "proven", "settled")

    def __init__(self) -> None:
        self._before: str | None = None
        self._waiting = b""
        self.proven = False
        self.settled = False  # the deltas are plain, or no more are compared

    @property
    def is_waiting(self) -> bool:
        return bool(self._waiting)

    @property
    def is_open(self) -> bool:
        """Whether one delta came, and the next decides."""
        return self._before is not None and not (self.settled or self.proven or self._waiting)

    def begins_anew(self, text: bytes) -> bool:
        """Whether the first text of a run, the inside of a literal, shows that the deltas are plain."""
        if self.is_open:
            self.settled = not text_of(b'"%b"' % text).startswith(self._before or "")
        return self.settled

    def take(self, added: bytes) -> bytes:
        """The literal that a delta adds to the text, with one that waited; empty if it waits or adds nothing."""
        if self.settled or added == EMPTY:
            return added
        now, before = text_of(added), self._before
        if before is None:
            self._before = now
            return added
        grows = now.startswith(before) and len(now) > len(before)
        if self.proven:
            if not grows:
                self.settled = not before.startswith(now)
                return added if self.settled else EMPTY
            self._before = now
            return literal(now[len(before) :])
        if self._waiting:
            waited = text_of(self._waiting)
            self.proven = now.startswith(waited) and len(now) > len(waited) and len(set(now)) > 2
            self.settled = not self.proven
            if not self.proven:
                return join((self.flush(), added))
            self._waiting, self._before = b"", now
            return literal(now[len(before) :])
        if grows:
            self._waiting = added
            return EMPTY
        self.settled = True
        return added

    def flush(self) -> bytes:
        """What waited, once nothing can follow it."""
        waited, self._waiting = self._waiting, b""
        return waited or EMPTY

    def settle(self, whole: str) -> bytes:
        """The same, once the whole text is known, which says whether what waited repeats it."""
        waited, before = text_of(self.flush()), self._before or ""
        repeats = whole.startswith(waited) and not whole.startswith(before + waited)
        return literal(waited[len(before) :] if repeats else waited)


def one_object(text: str) -> str:
    """The object in a text of several, of which all others are empty or the same; the text itself if it is anything
    else. Servers write `{}` before the arguments of a call, or the arguments twice."""
    whole, text = text, text.strip()
    found, start = "{}", 0
    while start < len(text):
        try:
            value, end = _one.raw_decode(text, start)
        except (ValueError, RecursionError):
            return whole
        if not isinstance(value, dict) or (value and found not in ("{}", text[start:end])):
            return whole
        found = text[start:end] if value else found
        while text[end : end + 1].isspace():
            end += 1
        start = end
    return found


# The list is PHP's empty object.
_NO_ARGUMENTS = ("", "null", '""', "[]", "None", "undefined")


def as_object(arguments: str) -> tuple[str, bool]:
    """The arguments of a call as the text of a JSON object, verbatim if they are one; and whether they are valid JSON.

    Arguments that say nothing become {}, an object inside a string or a list is unwrapped, another value is put under
    "value", an object is taken out of a fence or of the words around it, and anything else is put under "_raw".
    """
    text = arguments.strip()
    if text in _NO_ARGUMENTS:
        return "{}", True
    if is_object(text):
        return text, True
    data = text.encode("utf-8", "replace")
    if (hidden := hide_halves(data)) != data and decode_or_none(hidden, fields_decoder) is not None:
        return data.decode(), True  # a half of a surrogate pair is valid JSON that only our decoder refuses
    value = decode_or_none(text, any_decoder)
    if isinstance(value, str) and value.lstrip().startswith("{"):
        return as_object(value)
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
        return text[1:-1].strip(), True
    if value is not None:
        return f'{{"value":{text}}}', True
    if is_object(escaped := _STRINGS.sub(_escape_controls, text)):
        return escaped, True
    inner = text[text.find("{") : text.rfind("}") + 1]
    if is_object(inner):
        return inner, False
    return '{"_raw":' + literal(arguments.encode("utf-8", "replace").decode()).decode() + "}", False


_STRINGS = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\Z)', re.DOTALL)
_CONTROLS = re.compile(r"[\x00-\x1f]")


def _escape_controls(string: re.Match[str]) -> str:
    """A JSON string with its raw control characters escaped: models break lines in it."""
    return _CONTROLS.sub(lambda control: f"\\u{ord(control[0]):04x}", string[0])


class ObjectEnd:
    """Whether pieces of a text are a whole JSON object by now, without reading any of them twice."""

    __slots__ = ("_depth", "_in_string", "_kept", "_read", "_whole")

    def __init__(self) -> None:
        self._read = 0  # pieces
        self._depth = 0
        self._in_string = False
        self._kept = ""  # a backslash whose character comes with the next piece
        self._whole: bool | None = None  # None until the outermost bracket is closed

    def is_reached(self, pieces: Sequence[bytes]) -> bool:
        """Whether literals, the same as at the last call and more, are one object."""
        while self._read < len(pieces):
            piece = pieces[self._read]
            self._read += 1
            if self._whole is not None:
                self._whole = self._whole and (piece == EMPTY or is_blank(piece))
            elif self._closes(self._kept + text_of(piece)):
                self._whole = is_object(text_of(join(pieces[: self._read])))
        return bool(self._whole)

    def _closes(self, text: str) -> bool:
        """Whether the outermost bracket is closed at the end of the next text."""
        # Within a string, what precedes its end is as if it had been opened here.
        outside, quote, inside = _STRING.sub("", '"' + text if self._in_string else text).partition('"')
        self._in_string = bool(quote)
        self._kept = "\\" if (len(inside) - len(inside.rstrip("\\"))) % 2 else ""
        closed = outside.count("}") + outside.count("]")
        self._depth += outside.count("{") + outside.count("[") - closed
        return closed > 0 and self._depth <= 0 and not quote


def is_object(text: str) -> bool:
    """Whether a text is exactly one JSON object."""
    try:
        fields_decoder.decode(text)
    except UNREADABLE:
        return False
    return True
