"""Wraps the free-text input of a custom tool in a JSON argument, for upstreams that support only function tools."""

from __future__ import annotations

import json
import re
from typing import Any

from app.conversation.literals import literal

INPUT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
}

# Maximum characters before the string `input` begins; more blanks wait for the end.
LONGEST_HEAD = 256
_HEAD = re.compile(r'\s*\{\s*"input"\s*:\s*"')
# Characters of a JSON string, up to its end or to an incomplete escape.
_RUN = re.compile(
    r"""(?: [^"\\]++
      | \\[^u]
      | \\u (?![dD][89abAB]) [0-9a-fA-F]{4}
      | \\u [dD][89abAB][0-9a-fA-F]{2} (?= [^\\] | \\[^u] | \\u[0-9a-fA-F]{4} )   # a high surrogate waits for the low
      | \\u (?= [0-9a-fA-F]{0,3}[^0-9a-fA-F] )                                    # no escape at all
    )*+""",
    re.VERBOSE | re.DOTALL,
)
# A run that is valid inside a literal unchanged. Models also write real newlines and wrong escapes.
_CLEAN = re.compile(r'(?:[^\\\x00-\x1f\ud800-\udfff]++|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*+')
_WRONG_ESCAPE = re.compile(r'(\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})|\\')


def wrap_input(text: str) -> str:
    """The JSON arguments that contain `text`."""
    return '{"input":' + literal(text).decode("utf-8") + "}"


class InputReader:
    """Extracts the free text from arguments that arrive piece by piece.

    The string `input` is passed on as it arrives. Other arguments wait for their end: an object with one string means
    that string, and anything else was free text from the start, because some models omit the wrapping.
    """

    def __init__(self) -> None:
        self._waiting: list[str] = []  # before it is known which of these it is
        self._late = False  # only the end shows what was meant
        self._text = ""  # of the string `input`, not yet passed on
        self._inside = False  # within that string
        self._over = False  # after its end, or known to be free text that ended there
        self._free = False

    def feed(self, arguments: str) -> bytes | None:
        """The literal of the input that these arguments add, if any."""
        if self._over:
            return None
        if self._free:
            return literal(arguments)
        if self._inside:
            self._text += arguments
            return self._read_string()
        self._waiting.append(arguments)
        return None if self._late or not arguments or arguments.isspace() else self._read_start()

    def close(self) -> bytes | None:
        """The literal of the input that only the end reveals, if any."""
        text = self._text if self._inside else "".join(self._waiting)
        if self._over or self._free or not text:
            return None
        self._over = True
        return _literal_of_run(text) if self._inside else literal(_meant_by(text))

    def _read_start(self) -> bytes | None:
        text = "".join(self._waiting)
        start = text.lstrip()
        if start[0] != "{":
            self._free = True
            return literal(text)
        self._waiting = [start]
        head = _HEAD.match(start)
        if head is None:
            self._late = len(start) > LONGEST_HEAD
            return None
        self._inside, self._text = True, start[head.end() :]
        return self._read_string()

    def _read_string(self) -> bytes | None:
        run = _RUN.match(self._text)
        text = run.group() if run else ""
        self._text = self._text[len(text) :]
        self._over = self._text.startswith('"')
        return _literal_of_run(text) if text else None


def _literal_of_run(run: str) -> bytes:
    """The literal of a piece of a JSON string: usually the piece itself."""
    if _CLEAN.fullmatch(run):
        return b'"' + run.encode("utf-8") + b'"'
    repaired = _WRONG_ESCAPE.sub(lambda escape: escape.group(1) or r"\\", run)
    return literal(json.loads(f'"{repaired}"', strict=False))


def _meant_by(arguments: str) -> str:
    """The input in complete arguments that do not begin with the string `input`."""
    try:
        value = json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments
    match value:
        case {"input": str(text)}:
            return text
        case {**members} if not members:
            return ""
        case {**members} if len(members) == 1:
            match next(iter(members.values())):
                case str(text) | [str(), str(text)]:  # a command and its argument, as a shell is given them
                    return text
            return arguments
        case _:
            return arguments
