"""Renders citations as `url_citation` annotations."""

from __future__ import annotations

from typing import Any


def write_citation(citation: dict[str, Any], start: int = 0, end: int = 0) -> dict[str, Any] | None:
    """A citation of any dialect as an annotation; None unless it refers to a web page.

    `start` and `end` are the position of the cited block in the whole text, in characters. Responses counts within the
    block; Messages cites all of it.
    """
    match citation:
        case {"type": "url_citation", "url_citation": {}}:
            return citation
        case {"url": str(url)} | {"source": str(url)} if url.startswith(("http://", "https://")) or "url" in citation:
            found = {"url": url, "title": citation.get("title") or url}
            first, last = citation.get("start_index"), citation.get("end_index")
            placed = isinstance(first, int) and isinstance(last, int) and last > 0
            found["start_index"] = start + first if placed and first is not None else start
            found["end_index"] = start + last if placed and last is not None else end
            return {"type": "url_citation", "url_citation": found}
        case _:
            return None
