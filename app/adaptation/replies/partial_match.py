"""Checks whether growing text may end with the beginning of a marker."""

from __future__ import annotations

from collections.abc import Iterable


def beginnings(marks: Iterable[str]) -> frozenset[str]:
    """All proper prefixes of the marks."""
    return frozenset(mark[:length] for mark in marks for length in range(1, len(mark)))


def held_length(text: str, begun: frozenset[str], longest: int) -> int:
    """How many characters at the end of `text` must wait: the longest suffix in `begun`, at most `longest`."""
    for length in range(min(len(text), longest), 0, -1):
        if text[-length:] in begun:
            return length
    return 0
