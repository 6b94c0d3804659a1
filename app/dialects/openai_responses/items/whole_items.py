"""Renders the events of items that an upstream sent only at the end of its stream."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from app.dialects.openai_responses.items.output import Output
from app.dialects.openai_responses.vocabulary import TEXTS
from app.json_values import decode_or_none, object_decoder

# Lists of parts, with the index field of their events and the prefix of the events' names.
_LISTS = {
    "content": ("content_index", "response.content_part"),
    "summary": ("summary_index", "response.reasoning_summary_part"),
}


def write_whole_item(output: Output, raw: bytes) -> None:
    """Writes all events of one item. The last one has the same bytes as the terminal response."""
    item = object_decoder.decode(raw)
    place = {"item_id": item.get("id"), "output_index": len(output.items)}
    lists = {name: item[name] for name in _LISTS if _is_parts(item.get(name))}
    output.add_item({**_without_text(item), "status": "in_progress", **{name: [] for name in lists}})
    for name, parts in lists.items():
        counter, kind = _LISTS[name]
        for index, part in enumerate(parts):
            there = {**place, counter: index}
            output.write(f"{kind}.added", **there, part=_without_text(part))
            _write_text(output, part, there)
            output.write(f"{kind}.done", **there, part=part)
    _write_text(output, item, place)
    output.end_item(raw)


def has_text(raw: bytes) -> bool:
    """Whether a finished item is a message with text or a call with input. Clients such as the AI SDK show texts only
    from deltas."""
    item = object_decoder.decode(raw)
    if (text := _text_of(item)) is not None:
        return bool(item.get(text[0]))
    parts = item.get("content") if item.get("type") == "message" else None
    if not isinstance(parts, list):
        return bool(parts)
    return any(part.get(text[0]) for part in parts if isinstance(part, dict) and (text := _text_of(part)))


def are_silent(items: Iterable[msgspec.Raw | bytes]) -> bool:
    """Whether the items of a response are messages without text, or there are none."""
    return all(_is_silent(decode_or_none(raw, object_decoder) or {}) for raw in items)


def _is_silent(item: dict[str, Any]) -> bool:
    parts = item.get("content") or []
    if item.get("type") != "message" or not isinstance(parts, list) or not _is_parts(parts):
        return False
    return all((text := _text_of(part)) is not None and not part.get(text[0]) for part in parts)


def _is_parts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(part, dict) for part in value)


def _text_of(holder: dict[str, Any]) -> tuple[str, str] | None:
    kind = holder.get("type")
    return TEXTS.get(kind) if isinstance(kind, str) else None


def _without_text(holder: dict[str, Any]) -> dict[str, Any]:
    text = _text_of(holder)
    return {**holder, text[0]: ""} if text else holder


def _write_text(output: Output, holder: dict[str, Any], place: dict[str, Any]) -> None:
    text = _text_of(holder)
    if text is None:
        return
    field, kind = text
    content = holder.get(field) or ""
    probable = {"logprobs": holder.get("logprobs") or []} if kind == "response.output_text" else {}
    named = {"name": holder.get("name")} if field == "arguments" else {}
    output.write(f"{kind}.delta", **place, delta=content, **probable)
    output.write(f"{kind}.done", **place, **{field: content}, **probable, **named)
