"""Parses and renders content parts of messages and tool outputs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, assert_never

import msgspec

from app.conversation.blocks import (
    Audio,
    Block,
    CacheHint,
    Compaction,
    File,
    FileId,
    Image,
    Inline,
    Opaque,
    PlainText,
    Reasoning,
    Refusal,
    SearchResult,
    ServerTool,
    Source,
    Text,
    ToolCall,
    ToolResult,
    Url,
)
from app.conversation.capabilities import Capabilities
from app.conversation.losses import Loss
from app.dialects.json_bodies import read_value
from app.dialects.openai_responses.vocabulary import (
    ANNOTATIONS,
    CACHE_TTLS,
    FILE_TYPES,
    NAME,
    TEXT_PARTS,
    ImageUrl,
    Part,
    part_decoder,
)
from app.dialects.readable import inline_image, read_unknown, readable_text
from app.errors import InvalidRequest

# The prefix that distinguishes the type of an unknown part from that of an unknown item.
PART_PREFIX = "content."

_content_decoder = msgspec.json.Decoder(str | list[msgspec.Raw] | None)
_DATA_URL = re.compile(r"data:([^;,]{0,200})((?:;[^;,]{0,200}){0,16}),", re.IGNORECASE)


def parse_content(raw: msgspec.Raw, path: str, *, phase: str | None = None) -> list[Block]:
    """Blocks of a content that is a string, a list of parts, or null. Raises InvalidRequest."""
    content = read_value(raw, _content_decoder, path)
    if content is None:
        return []
    if isinstance(content, str):
        return [Text(content, phase=phase)]
    return [parse_part(part, f"{path}[{index}]", phase) for index, part in enumerate(content)]


def parse_part(raw: msgspec.Raw, path: str, phase: str | None = None) -> Block:
    part = read_value(raw, part_decoder, path)
    kind = part.type
    if kind in TEXT_PARTS or (kind is None and part.text is not None):
        text = part.text if part.text is not None else readable_text(bytes(raw))  # some have it under another name
        return Text(text, _hint(part), tuple(part.annotations or ()), phase)
    match kind:
        case "refusal":
            return Refusal(part.refusal or "")
        case "input_image" | "image_url":
            return _parse_image(part, path)
        case "input_file":
            return _parse_file(part, path)
        case "input_audio":
            return Audio(NAME, bytes(raw))
        case None:
            raise InvalidRequest(f"{path}.type: a content part needs a type", param=f"{path}.type")
        case _:
            return Opaque(NAME, PART_PREFIX + kind, bytes(raw), read_unknown(bytes(raw), kind))


def render_parts(
    blocks: Sequence[Block], capabilities: Capabilities, losses: list[Loss], path: str
) -> list[dict[str, Any] | msgspec.Raw]:
    """Input parts of a user's or a tool's content, in order. What cannot be expressed is added to `losses`."""
    parts: list[dict[str, Any] | msgspec.Raw] = []
    for block in blocks:
        match block:
            case Text(text=text):
                parts.append({"type": "input_text", "text": text, **_breakpoint(block.cache, capabilities)})
            case Image():
                parts.append(_render_image(block, capabilities))
            case File():
                parts.extend(_render_file(block, capabilities, losses, path))
            case SearchResult():
                text = "\n".join((block.title, block.source, *(inner.text for inner in block.blocks)))
                parts.append({"type": "input_text", "text": text, **_breakpoint(block.cache, capabilities)})
            case Refusal(text=text):
                parts.append({"type": "input_text", "text": text})
            case Audio(dialect="openai_responses", raw=raw):
                parts.append(msgspec.Raw(raw))
            case Opaque(dialect="openai_responses", raw=raw):
                parts.append(msgspec.Raw(raw))
            case Audio():
                losses.append(Loss("wrong", path, "the upstream does not accept audio"))
            case Opaque(type=kind):
                losses.append(Loss("degrading", path, f"this dialect cannot express a block of type {kind!r}"))
            case Reasoning() | ToolCall() | ToolResult() | ServerTool() | Compaction():
                losses.append(Loss("degrading", path, "this block is allowed only in an assistant turn"))
            case _:
                assert_never(block)
    return parts


def annotation_of(citation: dict[str, Any]) -> dict[str, Any] | None:
    """A citation of any dialect as an annotation; None if it refers to no page."""
    kind = citation.get("type")
    nested = citation.get("url_citation")
    if kind == "url_citation" and isinstance(nested, dict):
        return {"type": "url_citation", **nested}
    if kind in ANNOTATIONS:
        return citation
    if isinstance(citation.get("url"), str):
        title = citation.get("title") or citation["url"]
        return {"type": "url_citation", "url": citation["url"], "title": title, "start_index": 0, "end_index": 0}
    return None


def _hint(part: Part) -> CacheHint | None:
    return CacheHint(part.prompt_cache_breakpoint.ttl) if part.prompt_cache_breakpoint else None


def _parse_image(part: Part, path: str) -> Image:
    url, detail = part.image_url, part.detail
    if isinstance(url, ImageUrl):
        detail, url = url.detail or detail, url.url
    if detail == "auto":
        detail = None
    if url is not None:
        return Image(_parse_url(url), detail, _hint(part))
    if part.file_id is not None:
        return Image(FileId(part.file_id, NAME), detail, _hint(part))
    raise InvalidRequest(f"{path}: an image needs image_url or file_id", param=f"{path}.image_url")


def _parse_file(part: Part, path: str) -> File:
    source: Source
    if part.file_data is not None:
        parsed = _parse_url(part.file_data)
        if isinstance(parsed, Url):  # bare base64: the file name decides the type
            ending = (part.filename or "").rpartition(".")[2].lower()
            parsed = Inline(FILE_TYPES.get(ending, "application/pdf"), "".join(part.file_data.split()))
        source = parsed
    elif part.file_url is not None:
        source = Url(part.file_url)
    elif part.file_id is not None:
        source = FileId(part.file_id, NAME)
    else:
        where = f"{path}.file_data"
        raise InvalidRequest(f"{path}: a file needs file_data, file_url or file_id", param=where)
    return File(source, part.filename, cache=_hint(part), extensions={"detail": part.detail} if part.detail else None)


def _parse_url(url: str) -> Inline | Url:
    """The bytes of a base64 data URL; any other URL unchanged."""
    found = _DATA_URL.match(url)
    if found is None or "base64" not in found[2].lower():
        return inline_image(url) or Url(url)  # some clients send the bytes alone
    return Inline(found[1].strip().lower() or "application/octet-stream", "".join(url[found.end() :].split()))


def _breakpoint(cache: CacheHint | None, capabilities: Capabilities) -> dict[str, Any]:
    if cache is None or capabilities.cache_hints != "breakpoint":
        return {}
    ttl = CACHE_TTLS.get(cache.ttl or "")
    return {"prompt_cache_breakpoint": {"mode": "explicit", **({"ttl": ttl} if ttl else {})}}


def _render_image(image: Image, capabilities: Capabilities) -> dict[str, Any]:
    part: dict[str, Any] = {"type": "input_image"}
    match image.source:
        case Inline(media_type=media_type, data=data):
            part["image_url"] = f"data:{media_type};base64,{data}"
        case Url(url=url):
            part["image_url"] = url
        case FileId(file_id=file_id):
            part["file_id"] = file_id
        case _:
            assert_never(image.source)
    # The reference calls `detail` optional; servers that validate strictly require it.
    return {**part, "detail": image.detail or "auto", **_breakpoint(image.cache, capabilities)}


def _render_file(
    file: File, capabilities: Capabilities, losses: list[Loss], path: str
) -> list[dict[str, Any] | msgspec.Raw]:
    hint = _breakpoint(file.cache, capabilities)
    name = {"filename": file.name} if file.name else {}
    hint |= {"detail": file.extensions["detail"]} if file.extensions and "detail" in file.extensions else {}
    match file.source:
        case Inline(media_type=media_type, data=data):
            ending = next((ending for ending, known in FILE_TYPES.items() if known == media_type), "pdf")
            name = name or {"filename": f"document.{ending}"}
            return [{"type": "input_file", **name, "file_data": f"data:{media_type};base64,{data}", **hint}]
        case Url(url=url):
            return [{"type": "input_file", "file_url": url, **name, **hint}]
        case FileId(file_id=file_id):
            return [{"type": "input_file", "file_id": file_id, **name, **hint}]
        case PlainText(text=text):
            return [{"type": "input_text", "text": f"{_document_head(file)}\n{text}\n</document>", **hint}]
        case None:
            inner = render_parts(file.blocks, capabilities, losses, path)
            head = {"type": "input_text", "text": _document_head(file)}
            return [head, *inner, {"type": "input_text", "text": "</document>", **hint}]
        case _:
            assert_never(file.source)


def _document_head(file: File) -> str:
    title = (file.name or "document").replace('"', "'")
    return f'<document title="{title}">' + (f"\n{file.context}" if file.context else "")
