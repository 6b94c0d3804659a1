"""Log probabilities of tokens, as both of OpenAI's dialects have them.

Chat requires a list of alternatives and Responses bytes too, but servers leave either out, and so do the deltas of
Responses.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def complete_logprobs(entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The entries with their bytes and alternatives; an alternative without a token or a number is none."""
    return [{**_with_bytes(entry), "top_logprobs": _alternatives(entry.get("top_logprobs"))} for entry in entries]


def _alternatives(listed: Any) -> list[dict[str, Any]]:
    others = listed if isinstance(listed, list) else ()
    return [_with_bytes(other) for other in others if isinstance(other, dict) and {"token", "logprob"} <= other.keys()]


def _with_bytes(entry: dict[str, Any]) -> dict[str, Any]:
    known = entry.get("bytes")
    return {**entry, "bytes": list(str(entry.get("token")).encode("utf-8", "replace")) if known is None else known}
