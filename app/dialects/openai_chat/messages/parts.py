"""Parses and renders content parts: text, images, files and audio."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import msgspec

from app.conversation.blocks import (
    Audio,
    Block,
    CacheHint,
    File,
    FileId,
    Image,
    Inline,
    Opaque,
    PlainText,
    Reasoning,
    Refusal,
    SearchResult,
    Text,
    Url,
)
from app.conversation.losses import Severity
from app.dialects.json_bodies import read_value
from app.dialects.openai_chat.messages.foreign_parts import FOREIGN_TYPES, read_foreign, read_library_medium
from app.dialects.openai_chat.vocabulary import NAME, KnownPart, PlainPart, WireCache, WireFile, WireImage, WirePart
from app.dialects.readable import inline_image, read_unknown
from app.errors import InvalidRequest
from app.json_values import UNREADABLE, any_decoder, fields_decoder, list_decoder, text_decoder

# The content of a message, raw or decoded.
Content = msgspec.Raw | str | list[PlainPart] | None
# Called with the path and the value of a field that the neutral model lacks.
NoteField = Callable[[str, msgspec.Raw], None]
# Called with the severity and the reason of a loss.
Lose = Callable[[Severity, str], None]

# Lifetimes of a cache hint in each of the two spellings.
_CONTROL_TTLS = {"5m": "5m", "1h": "1h", "30m": "1h", "12h": "1h"}
_BREAKPOINT_TTLS = {"30m": "30m", "12h": "12h"}

# Media types by file name, for clients that send bare base64 without one.
_TYPES_BY_ENDING = {"pdf": "application/pdf", "txt": "text/plain", "md": "text/markdown", "csv": "text/csv"}

# Types under which libraries send a file, or that only others than this dialect leave out.
_LIBRARIES = ("file", "image_url", "")

_known_part = msgspec.json.Decoder(KnownPart)
_any_part = msgspec.json.Decoder(WirePart)

# A part that stands alone, without its list.
_LONE_PART = re.compile(rb'\{\s{0,9}"type"\s{0,9}:\s{0,9}"(?:(?:input_|output_)?text|image_url|input_image)"')
_DATA_URL: Final = re.compile(r"data:([^;,]{0,200})((?:;[^;,]{0,200}){0,16}),", re.IGNORECASE)


def read_content(content: Content, path: str, note: NoteField) -> tuple[Block, ...]:
    """The blocks of a `content`: a string, a list of parts, null, or (in tool messages) any JSON, kept as text."""
    if not isinstance(content, msgspec.Raw):
        if isinstance(content, list):
            return tuple([Text(part.text, read_cache(part.cache_control)) for part in content])
        return (Text(content),) if content else ()
    match bytes(memoryview(content)[:1]):
        case b'"':
            text = read_value(content, text_decoder, path)
            return (Text(text),) if text else ()
        case b"" | b"n":
            return ()
        case b"[":
            raws = read_value(content, list_decoder, path)
            return tuple([read_part(raw, f"{path}[{index}]", note) for index, raw in enumerate(raws)])
        case b"{" if _LONE_PART.match(content):
            return (read_part(content, path, note),)
        case _:
            return (Text(bytes(content).decode("utf-8", "replace")),)


def read_part(raw: msgspec.Raw, path: str, note: NoteField) -> Block:
    """One part. An unknown type becomes `Opaque`; for an invalid part of a known type InvalidRequest says what is
    wrong."""
    try:
        part: WirePart = _known_part.decode(raw)
    except UNREADABLE:
        if bytes(memoryview(raw)[:1]) == b'"':
            return Text(read_value(raw, text_decoder, path))
        part = read_value(raw, _any_part, path)
        if part.type in _MODELLED:
            for name, value in read_value(raw, fields_decoder, path).items():
                if name not in WirePart.__struct_fields__:
                    note(f"{path}.{name}", value)
    if part.type in _LIBRARIES and part.file is None and part.image_url is None:
        medium = read_library_medium(raw, path, note)
        if medium is not None:
            return medium
    if part.type in FOREIGN_TYPES and (foreign := read_foreign(part.type, raw, path, note)) is not None:
        return foreign
    cache = read_cache(part.cache_control or part.prompt_cache_breakpoint)
    match part.type:
        case "text" | "input_text" | "output_text" | "summary_text":
            if part.text is None:
                raise InvalidRequest(f"{path}.text must be a string", param=f"{path}.text")
            return Text(part.text, cache)
        case "refusal":
            return Refusal(part.refusal or part.text or "")
        case "image_url" | "input_image":
            return _read_image(part, path, cache)
        case "file" | "input_file":
            return _read_file(part, path, cache)
        case "input_audio":
            return Audio(NAME, _compact(raw))
        case "thinking":
            return Reasoning(_text_of_thinking(any_decoder.decode(part.thinking) if len(part.thinking) else ""))
        case "":  # no part, but a tool's output, or text without a type
            return Text(part.text if part.text is not None else bytes(raw).decode("utf-8", "replace"), cache)
        case unknown:
            return Opaque(NAME, unknown, _compact(raw), read_unknown(bytes(raw), unknown))


def read_cache(wire: WireCache | None) -> CacheHint | None:
    return CacheHint(wire.ttl) if wire is not None else None


def _text_of_thinking(thinking: Any) -> str:
    """The text of a Mistral thinking part: a string, or a list of text parts."""
    match thinking:
        case str():
            return thinking
        case [*parts]:
            texts = [part.get("text") for part in parts if isinstance(part, dict)]
            return "".join([text for text in texts if isinstance(text, str)])
        case _:
            return ""


def write_cache(hint: CacheHint | None, style: str) -> dict[str, Any]:
    """The fields of a part that carry a cache hint in the upstream's style; empty if it supports none."""
    match hint, style:
        case CacheHint(ttl=ttl), "cache_control":
            control = {"type": "ephemeral"}
            if ttl in _CONTROL_TTLS and ttl != "5m":
                control["ttl"] = _CONTROL_TTLS[ttl]
            return {"cache_control": control}
        case CacheHint(ttl=ttl), "breakpoint":
            point = {"mode": "explicit"}
            if ttl in _BREAKPOINT_TTLS:
                point["ttl"] = ttl
            return {"prompt_cache_breakpoint": point}
        case _:
            return {}


def write_text(text: str, cache: CacheHint | None, cache_hints: str) -> dict[str, Any]:
    return {"type": "text", "text": text, **write_cache(cache, cache_hints)}


def write_part(block: Block, cache_hints: str, lose: Lose) -> list[Any]:
    """A block of a user's turn as parts: one, none if `lose` was called, or several for nested documents."""
    match block:
        case Text(text=text, cache=cache):
            return [write_text(text, cache, cache_hints)]
        case Image(source=FileId()):
            lose("wrong", "Chat Completions does not accept images by file id")
            return []
        case Image(source=Url() | Inline() as source, detail=detail):
            url = source.url if isinstance(source, Url) else _data_url(source)
            image = {"url": url} if detail is None else {"url": url, "detail": detail}
            return [{"type": "image_url", "image_url": image, **write_cache(block.cache, cache_hints)}]
        case File():
            return _write_file(block, cache_hints, lose)
        case SearchResult(title=title, source=source):
            text = "\n".join([title, source, *(inner.text for inner in block.blocks)])
            return [write_text(text, block.cache, cache_hints)]
        case Audio(dialect=dialect, raw=raw) | Opaque(dialect=dialect, raw=raw) if dialect == NAME:
            return [msgspec.Raw(raw)]
        case Refusal(text=text):
            return [write_text(text, None, cache_hints)]
        case _:
            lose("degrading", f"{type(block).__name__} of another dialect cannot be expressed in Chat Completions")
            return []


_MODELLED = ("text", "input_text", "output_text", "refusal", "image_url", "input_image", "file", "input_file")


def _read_image(part: WirePart, path: str, cache: CacheHint | None) -> Image | File:
    image = WireImage(part.image_url) if isinstance(part.image_url, str) else part.image_url
    if image is None or not image.url:
        if part.file_id is not None:
            return Image(FileId(part.file_id, NAME), part.detail, cache)
        raise InvalidRequest(f"{path}.image_url.url must be a URL or a data URL", param=f"{path}.image_url")
    source = _read_url(image.url)
    if isinstance(source, Inline) and not source.media_type.startswith("image/") and source.media_type:
        return File(source, cache=cache)  # clients send PDFs as images too
    return Image(source, image.detail or part.detail, cache)


def _read_file(part: WirePart, path: str, cache: CacheHint | None) -> File:
    file = part.file or WireFile(part.file_data, part.file_id, part.filename, part.file_url)
    source: Inline | Url | FileId
    if file.file_data:
        source = _read_url(file.file_data)
        if isinstance(source, Url):
            ending = (file.filename or "").rpartition(".")[2].lower()
            source = Inline(_TYPES_BY_ENDING.get(ending, "application/octet-stream"), _strip(file.file_data))
    elif file.file_id:
        source = FileId(file.file_id, NAME)
    elif file.file_url:
        source = Url(file.file_url)
    else:
        raise InvalidRequest(f"{path}.file needs file_data or file_id", param=f"{path}.file")
    return File(source, file.filename, cache=cache)


def _read_url(url: str) -> Inline | Url:
    """The bytes of a data URL, with whatever parameters and line breaks clients put into it; any other URL
    unchanged."""
    if url[:5].lower() != "data:" or (found := _DATA_URL.match(url)) is None:
        return inline_image(url) or Url(url)  # some clients send the bytes alone
    data = url[found.end() :]
    if "base64" in found[2].lower().split(";"):
        return Inline(found[1].strip().lower(), _strip(data))
    plain = base64.b64encode(unquote_to_bytes(data)).decode("ascii")
    return Inline(found[1].strip().lower() or "text/plain", plain)


def _strip(data: str) -> str:
    """Base64 without the line breaks that some encoders insert; most data has none and is not copied."""
    return "".join(data.split()) if any(blank in data for blank in " \r\n\t") else data


def _write_file(file: File, cache_hints: str, lose: Lose) -> list[Any]:
    match file.source:
        case Inline() as source:
            name = file.name or ("document.pdf" if source.media_type == "application/pdf" else "document")
            wire = {"filename": name, "file_data": _data_url(source)}
        case FileId(file_id=file_id, dialect=dialect) if dialect == NAME:
            wire = {"file_id": file_id}
        case PlainText(text=text):
            title = f' title="{file.name}"' if file.name else ""
            return [write_text(f"<document{title}>\n{text}\n</document>", file.cache, cache_hints)]
        case None:
            return [part for block in file.blocks for part in write_part(block, cache_hints, lose)]
        case _:
            lose("wrong", "Chat Completions does not accept files by URL or by another vendor's file id")
            return []
    return [{"type": "file", "file": wire, **write_cache(file.cache, cache_hints)}]


def _data_url(source: Inline) -> str:
    return f"data:{source.media_type};base64,{source.data}"


def _compact(raw: msgspec.Raw) -> bytes:
    return msgspec.json.format(bytes(raw), indent=-1)
