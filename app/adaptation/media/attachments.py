"""Detects an attachment's real type from its bytes, regardless of its label.

Only the first bytes are decoded, because attachments may be megabytes long and there may be hundreds.
"""

from __future__ import annotations

import re

from app.conversation.blocks import FileId, Inline, PlainText, Source, Url
from app.conversation.tokens.image_sizes import first_bytes

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
)

_TEXTUAL = re.compile(
    r"text/.*|.*\+(?:json|xml)|application/(?:json|xml|yaml|x-yaml|toml|javascript|x-javascript|typescript"
    r"|x-sh|x-python|x-httpd-php|sql|graphql|x-ndjson|ld\+json)"
)
# Labels that clients use for unknown types.
_UNKNOWN = ("", "application/octet-stream", "binary/octet-stream")
_ALIASES = {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg", "application/x-pdf": "application/pdf"}

_DATA_URL = re.compile(r"data:([^;,]{0,200})((?:;[^;,]{0,200}){0,16}?)(;base64)?,", re.IGNORECASE)
_TO_STANDARD = str.maketrans("-_", "+/", " \t\r\n")
_ODD = "-_\n\r \t"
_SNIFFED = 48


def normalise(source: Source) -> Source:
    """The source with standard base64 and the media type that its bytes show; a data URL becomes inline data.

    Returns the same object if nothing had to change.
    """
    match source:
        case Url() if source.url[:5].lower() == "data:":
            inline = _from_data_url(source.url)
            return normalise(inline) if inline is not None else source
        case Inline() if source.data[:5].lower() == "data:":  # a data URL where its bytes belong
            inline = _from_data_url(source.data)
            return normalise(inline) if inline is not None else source
        case Inline():
            data = source.data
            if any(character in data for character in _ODD):
                data = data.translate(_TO_STANDARD)
            if len(data) % 4 > 1 and not data.endswith("="):  # URL-safe base64 omits the padding
                data += "=" * (-len(data) % 4)
            declared = source.media_type.partition(";")[0].strip().lower()
            media_type = _sniff(data, declared)
            if data is source.data and media_type == source.media_type:
                return source
            return Inline(media_type, data)
        case Url() | FileId() | PlainText():
            return source


def is_textual(source: Inline) -> bool:
    """Whether the bytes are characters, judged by the label, or by the bytes if the label says nothing."""
    if _TEXTUAL.fullmatch(source.media_type):
        return True
    if source.media_type not in _UNKNOWN:
        return False
    start = first_bytes(source.data, 3072)
    return start != b"" and b"\0" not in start and _is_utf8(start)


def decode_text(source: Inline) -> str:
    """The characters of a textual attachment; anything but UTF-8 is read as Latin-1."""
    raw = first_bytes(source.data, len(source.data))
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _sniff(data: str, declared: str) -> str:
    start = first_bytes(data, _SNIFFED)
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "image/webp"
    if start[:2] == b"BM" and start[6:10] == bytes(4):
        return "image/bmp"
    # Office documents are zip archives: their declared type is more precise.
    for magic, media_type in _MAGIC:
        if start.startswith(magic):
            return declared if media_type == "application/zip" and declared not in _UNKNOWN else media_type
    if declared.startswith("image/") and declared != "image/svg+xml" and start.lstrip()[:1] in (b"<", b"{"):
        return "text/plain"  # the page or the error that came in place of an image
    return _ALIASES.get(declared, declared) or "application/octet-stream"


def _from_data_url(url: str) -> Inline | None:
    head = _DATA_URL.match(url)
    if head is None or head[3] is None:
        return None
    return Inline(head[1].lower() or "text/plain", url[head.end() :])


def _is_utf8(start: bytes) -> bool:
    """Whether bytes are UTF-8, ignoring a character cut off at the end."""
    try:
        start.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start >= len(start) - 3
    return True
