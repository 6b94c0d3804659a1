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

from app.turns import give_way

# Characters of an error message that are looked at, and bytes of a request that are searched for quotations.
LONGEST_MESSAGE = 500
LONGEST_REQUEST = 1024 * 1024
# Words of a message that are looked for: a real one has the field among its first.
MOST_WORDS = 60

# Searches of a long request before others have their turn, and bytes that are long.
_SEARCHES = 8
_LONG = 64 * 1024

# What every message has is no client's word.
_OF_MESSAGES = frozenset({"role", "content"})
_WORD = re.compile(r"\w+")
_KEPT = (string.ascii_letters + string.digits + "_").encode()
# How JSON and programs escape a letter, and how often a quotation may have been escaped.
_ESCAPED = re.compile(r"\\{1,4}+u([0-9a-fA-F]{4})")
_MOST_ESCAPED = 3
# What a quotation may leave out.
_JOINTS = b" _"
# ASCII in lower case, and a space for whatever is no part of a word; the rest as it is.
_FOLDED = bytes(code if code in _KEPT or code > 127 else 0x20 for code in range(256)).lower()
# Characters of texts that are not ASCII, and different ones among them: to fold one takes twenty times as long, and to
# learn how a hundred times. No language has more.
MOST_FOREIGN = 200_000
MOST_LETTERS = 6000
# What a character may become: there are some that stand for a whole sentence.
_LONGEST_FOLD = 3


def own_words(message: str, request: bytes) -> str:
    """An error message without what it may have from `request`, the JSON body that was sent.

    A word goes if the request holds it as a whole text or name, and any words in a row whose letters stand in a row
    there as well, whatever is between them; escapes are undone before. Single words that merely occur in a prompt are
    left, or no message would say anything. A request that cannot be searched leaves nothing.
    """
    message = _undo_escapes(message[:LONGEST_MESSAGE])
    if len(request) > LONGEST_REQUEST:
        return ""
    try:
        sent = msgspec.json.decode(request)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    said = list(_client_texts(sent))
    foreign = [text for text in said if not text.isascii()]
    if sum(map(len, foreign)) > MOST_FOREIGN or len(set().union(*foreign)) > MOST_LETTERS:
        return ""
    texts = {b" ".join(_fold(text).split()) for text in said}
    sought = b" \0 ".join(texts)
    solid = sought.translate(None, _JOINTS)
    words = list(_WORD.finditer(message))[:MOST_WORDS]
    if len(words) == MOST_WORDS:
        message = message[: words[-1].end()]
    folded = [_fold(word.group()) for word in words]
    pairs = [b"".join(pair).translate(None, _JOINTS) for pair in pairwise(folded)]
    joined = set()
    for number, pair in enumerate(dict.fromkeys(pairs)):
        if number % _SEARCHES == 0 and len(solid) > _LONG:
            give_way()
        if pair in solid:
            joined.add(pair)
    quoted: set[int] = set()
    for index, word in enumerate(folded):
        if word in texts:
            quoted.add(index)
        elif not word.isascii() and word not in sought and word.translate(None, _JOINTS) in solid:
            quoted.add(index)  # several words there
        if index and pairs[index - 1] in joined:
            quoted.update((index - 1, index))
    kept: list[str] = []
    end = 0
    for index in sorted(quoted):
        kept += (message[end : words[index].start()], "…")
        end = words[index].end()
    return "".join([*kept, message[end:]])


def _undo_escapes(text: str) -> str:
    """What a text says that may be escaped as in JSON, a URL or HTML, perhaps more than once over."""
    for _ in range(_MOST_ESCAPED):
        plain = unquote_plus(html.unescape(_ESCAPED.sub(lambda code: chr(int(code[1], 16)), text)))
        if plain == text:
            break
        text = plain
    return text


class _Folds(dict[int, str]):
    """Each character as it is compared: of compatible ones the plain one, in lower case, without its marks, and a
    space for what is no part of a word."""

    def __missing__(self, code: int) -> str:
        letter = chr(code)
        plain = unicodedata.normalize("NFKC" if unicodedata.name(letter, "").startswith("HANGUL") else "NFKD", letter)
        kept = "".join(each for each in plain.casefold() if not unicodedata.combining(each))[:_LONGEST_FOLD]
        folded = kept if _WORD.fullmatch(kept) else "" if not kept else " "
        if len(self) >= _MOST_FOLDS:
            self.clear()
        self[code] = folded
        return folded


_MOST_FOLDS = 8192
_folds = _Folds()


def _fold(text: str) -> bytes:
    if not text.isascii():
        text = text.translate(_folds)
    return text.encode("utf-8", "replace").translate(_FOLDED)


def _client_texts(body: Any) -> Iterator[str]:
    """Texts of a request, and names in it, that its client chose: all but the plain names of its fields."""
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
