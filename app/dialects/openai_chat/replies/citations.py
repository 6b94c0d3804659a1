"""Renders citations as `url_citation` annotations, and reads the sources that servers name beside an answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from app.json_values import any_decoder


def read_sources(*lists: msgspec.Raw) -> list[dict[str, Any]]:
    """The pages in the first list that has some, as citations: Perplexity's `search_results`, or the addresses alone in
    `citations`, which xAI has too."""
    for raw in lists:
        entries = any_decoder.decode(raw) if bytes(memoryview(raw)[:1]) == b"[" else []
        pages = [entry if isinstance(entry, dict) else {"url": entry} for entry in entries]
        found = [
            {"type": "url_citation", "url": page["url"], "title": page.get("title") or page["url"]}
            for page in pages
            if isinstance(page.get("url"), str)
        ]
        if found:
            return found
    return []


def place_citations(texts: Iterable[tuple[int, int, Sequence[dict[str, Any]]]]) -> list[dict[str, Any]]:
    """The annotations of an answer, from the length of each of its texts, how much of that is a break before it, and
    its citations."""
    annotations: list[dict[str, Any]] = []
    end = 0
    for length, gap, citations in texts:
        start, end = end + gap, end + length
        placed = [_write_citation(citation, start, end) for citation in citations]
        annotations += [annotation for annotation in placed if annotation is not None]
    return annotations


def _write_citation(citation: dict[str, Any], start: int = 0, end: int = 0) -> dict[str, Any] | None:
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
