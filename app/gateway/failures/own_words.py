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

# Characters of an error message that are looked at, and bytes of a request that are searched for quotations.
LONGEST_MESSAGE = 500
LONGEST_REQUEST = 1024 * 1024
# Words of a message that are looked for: a real one has the field among its first.
MOST_WORDS = 80

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
    texts = {b" ".join(_fold(text).split()) for text in _client_texts(sent)}
    sought = b" \0 ".join(texts)
    solid = sought.translate(None, _JOINTS)
    words = list(_WORD.finditer(message))[:MOST_WORDS]
    if len(words) == MOST_WORDS:
        message = message[: words[-1].end()]
    folded = [_fold(word.group()) for word in words]
    pairs = [b"".join(pair).translate(None, _JOINTS) for pair in pairwise(folded)]
    joined = {pair for pair in set(pairs) if pair in solid}
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


def _fold(text: str) -> bytes:
    if not text.isascii():
        text = " ".join(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))
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
