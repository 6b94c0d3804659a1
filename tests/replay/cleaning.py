"""Takes out of a recorded request what belongs to a person, a machine or a moment, and long texts of other authors.

What is left has the shape of the request to the last field. Ids are counted anew: those that were equal stay so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# Characters of a text that are kept. The beginning tells what it is, and some beginnings mean something to the gateway.
KEPT = 32
LONGEST = 60
# Headers that say how to read a request; the rest tells of the machine, or who asks.
HEADERS = (
    "anthropic-version",
    "anthropic-beta",
    "session-id",
    "session_id",
    "x-session-id",
    "x-claude-code-session-id",
)

_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?<![0-9a-zA-Z])[0-9a-f]{16,}(?![0-9a-zA-Z])")
_SHORT_ID = re.compile(r"(?<![\w-])(?=[0-9a-f]{0,15}[0-9])(?=[0-9a-f]{0,15}[a-f])[0-9a-f]{6,15}(?![\w-])")
_MADE = re.compile(r"(?<=_)[0-9A-Za-z]{16,}\b")
_DATE = re.compile(r"\b20\d\d-[01]\d-[0-3]\d")
_UNORDERED = ("client_metadata",)
# What the gateway itself gave, and reads when it comes back.
_OURS = "gw1."


class Cleaner:
    """One for all requests of a run. `places` are folders and names of the machine, with what stands for each."""

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = sorted(places.items(), key=lambda place: -len(place[0]))
        self._ids: dict[str, str] = {}

    def clean_headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        return {name: self._count_ids(headers[name]) for name in HEADERS if name in headers}

    def clean(self, value: Any) -> Any:
        match value:
            case dict():
                cleaned = {self._clean_text(name): self.clean(inner) for name, inner in value.items()}
                # Codex writes these in another order each time.
                return {name: _sort(inner) if name in _UNORDERED else inner for name, inner in cleaned.items()}
            case list():
                return [self.clean(inner) for inner in value]
            case str() if value.startswith(_OURS):
                return value
            case str():
                text = self._clean_text(value)
                return text if len(text) <= LONGEST else f"{text[:KEPT]}… ({len(text)} characters)"
            case _:
                return value

    def _clean_text(self, text: str) -> str:
        for place, name in self._places:
            text = text.replace(place, name)
        return self._count_ids(_DATE.sub("2026-01-01", text))

    def _count_ids(self, text: str) -> str:
        for pattern in (_ID, _SHORT_ID, _MADE):
            text = pattern.sub(self._number, text)
        return text

    def _number(self, found: re.Match[str]) -> str:
        """An id of the same form that counts from one."""
        if found[0].isalpha() and found[0].islower():
            return found[0]  # a word of a name with underscores
        number = self._ids.setdefault(found[0], f"{len(self._ids) + 1:x}")
        form = re.sub(r"[0-9a-zA-Z]", "0", found[0])
        return form[: len(form) - len(number)] + number


def _sort(value: Any) -> Any:
    return dict(sorted(value.items())) if isinstance(value, dict) else value
