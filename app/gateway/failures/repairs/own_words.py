"""Separates an upstream's own words in an error from quotes of the client's request."""

from __future__ import annotations

import html
import re
import string
import unicodedata
from collections.abc import Iterator
from itertools import pairwise
from typing import Any
from urllib.parse import unquote_plus

import msgspec

from app.fairness import give_way

# Maximum characters of an error message examined, and bytes of a request searched for quotations.
LONGEST_MESSAGE = 500
LONGEST_REQUEST = 1024 * 1024
# Maximum words of a message looked for: a real message names the field among its first words.
MAX_WORDS = 60

# Searches of a long request before other requests run, and the bytes from which a request is long.
_SEARCHES = 8
_LONG = 64 * 1024

# Fields that every message has are not chosen by the client.
_OF_MESSAGES = frozenset({"role", "content"})
_WORD = re.compile(r"\w+")
_KEPT = (string.ascii_letters + string.digits + "_").encode()
# How JSON and programs escape a letter, and how many times over a quotation may be escaped.
_ESCAPED = re.compile(r"\\{1,4}+u([0-9a-fA-F]{4})")
_MAX_ESCAPED = 3
# Characters that a quotation may leave out.
_JOINTS = b" _"
# Maps ASCII to lower case, and to a space what is not part of a word; other bytes stay unchanged.
_FOLDED = bytes(code if code in _KEPT or code > 127 else 0x20 for code in range(256)).lower()
# Maximum characters of texts that are not ASCII, and maximum different ones: folding such a character takes twenty
# times as long, and the first time a hundred times. No language has more.
MAX_FOREIGN = 200_000
MAX_LETTERS = 6000
# Maximum characters that one character folds to: some expand to a whole phrase.
_LONGEST_FOLD = 3


def own_words(message: str, request: bytes) -> str:
    """An error message without what may be quoted from `request`, the JSON body that was sent.

    Escapes are undone first. A word is removed if it equals a whole text or name in the request; consecutive words are
    removed if their letters occur consecutively in the request, whatever separates them. Single words that merely occur
    in a prompt stay, or no message would keep its meaning. If the request cannot be searched the result is empty.
    """
    message = _undo_escapes(message[:LONGEST_MESSAGE])
    texts = _read_texts(request)
    if texts is None:
        return ""
    words = list(_WORD.finditer(message))[:MAX_WORDS]
    if len(words) == MAX_WORDS:
        message = message[: words[-1].end()]
    kept: list[str] = []
    end = 0
    for index in sorted(_find_quoted([_fold(word.group()) for word in words], texts)):
        kept += (message[end : words[index].start()], "…")
        end = words[index].end()
    return "".join([*kept, message[end:]])


def _read_texts(request: bytes) -> set[bytes] | None:
    """The texts and names that the client chose, folded; None if they cannot be searched."""
    if len(request) > LONGEST_REQUEST:
        return None
    try:
        sent = msgspec.json.decode(request)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    client_texts = list(_client_texts(sent))
    foreign = [text for text in client_texts if not text.isascii()]
    if sum(map(len, foreign)) > MAX_FOREIGN or len(set().union(*foreign)) > MAX_LETTERS:
        return None
    return {b" ".join(_fold(text).split()) for text in client_texts}


def _find_quoted(words: list[bytes], texts: set[bytes]) -> set[int]:
    """The places of the words of a message that may be quoted from the texts."""
    sought = b" \0 ".join(texts)
    solid = sought.translate(None, _JOINTS)
    pairs = [b"".join(pair).translate(None, _JOINTS) for pair in pairwise(words)]
    joined = set()
    for number, pair in enumerate(dict.fromkeys(pairs)):
        if number % _SEARCHES == 0 and len(solid) > _LONG:
            give_way()
        if pair in solid:
            joined.add(pair)
    quoted: set[int] = set()
    for index, word in enumerate(words):
        # A word that is not ASCII may be several words in the request.
        apart = not word.isascii() and word not in sought and word.translate(None, _JOINTS) in solid
        if word in texts or apart:
            quoted.add(index)
        if index and pairs[index - 1] in joined:
            quoted.update((index - 1, index))
    return quoted


def _undo_escapes(text: str) -> str:
    """Undoes escapes of JSON, URLs and HTML, which may be applied several times over."""
    for _ in range(_MAX_ESCAPED):
        plain = unquote_plus(html.unescape(_ESCAPED.sub(lambda code: chr(int(code[1], 16)), text)))
        if plain == text:
            break
        text = plain
    return text


class _Folds(dict[int, str]):
    """Maps each character to the form used for comparison: its plain compatible form in lower case without marks, or a
    space if it is not part of a word."""

    def __missing__(self, code: int) -> str:
        letter = chr(code)
        plain = unicodedata.normalize("NFKC" if unicodedata.name(letter, "").startswith("HANGUL") else "NFKD", letter)
        kept = "".join(each for each in plain.casefold() if not unicodedata.combining(each))[:_LONGEST_FOLD]
        folded = kept if _WORD.fullmatch(kept) else "" if not kept else " "
        if len(self) >= _MAX_FOLDS:
            self.clear()
        self[code] = folded
        return folded


_MAX_FOLDS = 8192
_folds = _Folds()


def _fold(text: str) -> bytes:
    if not text.isascii():
        text = text.translate(_folds)
    return text.encode("utf-8", "replace").translate(_FOLDED)


def _client_texts(body: Any) -> Iterator[str]:
    """The texts and names in a request that the client chose: all but the plain names of its fields."""
    pending = [body]
    while pending:
        value = pending.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            plain = str.isidentifier if value is body else _OF_MESSAGES.__contains__
            yield from (name for name in value if not plain(name))
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)
