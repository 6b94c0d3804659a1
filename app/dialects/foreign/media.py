"""Images and documents in the shape of any dialect or library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# The kind of a medium, its source in the shape of Messages, and its title.
Medium = tuple[str, dict[str, Any], str | None]

_TYPES = ("mime_type", "mimeType", "mediaType", "media_type")
_DATA = ("data", "base64", "url")


def read_media(part: Mapping[Any, Any]) -> Medium | None:
    """The image or document of a part; None for any other part."""
    match part:
        case {"type": "image" | "document" as kind, "source": {}}:
            title = part.get("title")
            return str(kind), dict(part["source"]), title if isinstance(title, str) else None
        case {"type": "image", "image": str(url)} | {"type": "image" | "input_image" | "image_url", "url": str(url)}:
            return "image", _source_of(url), None
        case {"type": "image_url" | "input_image", "image_url": {"url": str(url)} | str(url)}:
            return "image", _source_of(url), None
        case {"type": "input_image", "file_id": str(file_id)}:
            return "image", {"type": "file", "file_id": file_id}, None
        case {"type": "file", "file": {**file}} | {"type": "input_file", **file} if (
            read := _file_of(file)
        ) is not None:
            return read
        case _:
            return _read_library_medium(part)


def _read_library_medium(part: Mapping[Any, Any]) -> Medium | None:
    """The bytes of a medium beside their type, as MCP, the AI SDK, LangChain and Gemini have them."""
    kind, inner = part.get("type"), part.get("inline_data") or part.get("inlineData")
    if kind in ("image", "file", "media"):
        inner = part
    if not isinstance(inner, Mapping):
        return None
    declared, data = _text_under(_TYPES, inner), _text_under(_DATA, inner)
    if data is None or (declared is None and kind != "image"):
        return None
    declared = declared or "image/png"
    name = inner.get("filename")
    source = _source_of(data) if data.startswith(("data:", "https:", "http:")) else _inline(declared, data)
    return "image" if declared.startswith("image/") else "document", source, name if isinstance(name, str) else None


def _text_under(names: Sequence[str], fields: Mapping[Any, Any]) -> str | None:
    return next((value for name in names if isinstance(value := fields.get(name), str)), None)


def _file_of(file: Mapping[Any, Any]) -> Medium | None:
    name = file.get("filename")
    title = name if isinstance(name, str) else None
    match file:
        case {"file_data": str(data)}:
            source = _source_of(data) if data.startswith("data:") else _inline("application/pdf", data)
            return "image" if str(source.get("media_type")).startswith("image/") else "document", source, title
        case {"file_url": str(url)}:
            return "document", {"type": "url", "url": url}, title
        case {"file_id": str(file_id)}:
            return "document", {"type": "file", "file_id": file_id}, title
        case _:
            return None


def _source_of(url: str) -> dict[str, Any]:
    head, comma, data = url.partition(",")
    if url[:5].lower() == "data:" and comma and head.lower().endswith(";base64"):
        return _inline(head[5:].partition(";")[0].lower(), data)
    return {"type": "url", "url": url}


def _inline(media_type: Any, data: str) -> dict[str, Any]:
    return {"type": "base64", "media_type": str(media_type), "data": data}
