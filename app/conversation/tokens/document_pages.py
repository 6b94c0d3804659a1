"""Counts the pages of a PDF.

A PDF states the number in the root of its page tree, which is near its beginning or end unless it is compressed. Only
the ends are decoded, because a document may be megabytes long.
"""

from __future__ import annotations

import re

from app.conversation.tokens.image_sizes import first_bytes

HEAD = 1024  # a linearized document describes itself here
END = 49_152  # bytes examined at each end; divisible by three, as base64 requires
BYTES_PER_PAGE = 50_000  # for a document that does not state its pages
MAX_PAGES = 1000  # more than any vendor accepts, so a false number does no harm

_TREE = re.compile(rb"/Type\s*/Pages\b")
_COUNT = re.compile(rb"/Count\s+(\d{1,6})")
_LINEARIZED = re.compile(rb"/Linearized\b[^>]{0,200}/N\s+(\d{1,6})")
_PAGE = re.compile(rb"/Type\s*/Page\b")


def count_pages(data: str) -> int:
    """Pages of a PDF in base64, at least 1; estimated from its length if it does not state them."""
    ends = first_bytes(data, END)
    whole = len(data) <= END // 3 * 4
    if not whole:
        ends += b"\n" + first_bytes(data[-(len(data) % 4 + END // 3 * 4) :], END + 3)
    counts = _LINEARIZED.findall(ends[:HEAD])
    for item in ends.split(b"endobj"):
        if _TREE.search(item):
            counts += _COUNT.findall(item)
    if not counts and whole:
        return max(1, len(_PAGE.findall(ends)))
    pages = max(map(int, counts), default=0) or 1 + len(data) * 3 // 4 // BYTES_PER_PAGE
    return min(pages, MAX_PAGES)
