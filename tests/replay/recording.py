"""Recorded requests and what the gateway makes of them, as files.

    tests/replay/<program>/<number>.request                  what the program asks, cleaned
                           <number>.<upstream's dialect>     what the upstream is asked

A file is a first line, headers that matter, an empty line, and a body with one entry a line.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
_DEEPEST = 2


class Recorded(NamedTuple):
    """`first` is the method and the path, with the query."""

    first: str
    headers: dict[str, str]
    body: Any

    def write(self) -> str:
        head = [self.first, *(f"{name}: {value}" for name, value in self.headers.items())]
        return "\n".join([*head, "", _spread(self.body), ""])


def read(text: str) -> Recorded:
    head, _, body = text.partition("\n\n")
    first, *lines = head.split("\n")
    return Recorded(first, dict(line.split(": ", 1) for line in lines), json.loads(body))


def requests_of(folder: str) -> list[Path]:
    return sorted((HERE / folder).glob("*.request"))


def _spread(value: Any, depth: int = 0) -> str:
    """JSON with each field of the top, and each entry of the lists there, on a line of its own."""
    inner, outer = "  " * (depth + 1), "  " * depth
    match value:
        case dict() if value and depth < 1:
            fields = [f"{inner}{json.dumps(name)}: {_spread(one, depth + 1)}" for name, one in value.items()]
            return "{\n" + ",\n".join(fields) + f"\n{outer}}}"
        case list() if value and depth < _DEEPEST:
            entries = [inner + _spread(one, depth + 1) for one in value]
            return "[\n" + ",\n".join(entries) + f"\n{outer}]"
        case _:
            return json.dumps(value, ensure_ascii=False)
