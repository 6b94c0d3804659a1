"""Citations as Chat Completions shows them: `url_citation` annotations of a message."""

from __future__ import annotations

from typing import Any


def write_citation(citation: dict[str, Any]) -> dict[str, Any] | None:
    """A citation of any dialect as an annotation; None if it does not point to a page of the web."""
    match citation:
        case {"type": "url_citation", "url_citation": {}}:
            return citation
        case {"url": str(url)}:
            found = {"url": url, "title": citation.get("title") or url}
            found["start_index"] = citation.get("start_index") or 0
            found["end_index"] = citation.get("end_index") or 0
            return {"type": "url_citation", "url_citation": found}
        case _:
            return None
