"""Parses the heads of ordinary requests. Others go to gunicorn's parser.

Leaving a request to gunicorn costs little time, but misreading one may be an attack. So everything that two parsers
could read differently counts as unusual. llhttp, which is strict, refuses the rest: bare line feeds, folded lines,
control characters, invalid names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from httptools import HttpParserError, HttpRequestParser
from msgspec import Struct

from app.headers import HeaderFields, name_headers
from app.server.gunicorn_settings import MAX_HEAD

HEAD_END = b"\r\n\r\n"
# gunicorn's limits for the request line and for the number of fields.
_MAX_LINE = 4094
_MAX_FIELDS = 100

# A path without escapes and fragment, used as it is. Absolute URLs and `*` do not begin with a slash, and do not match.
_REQUEST_LINE = re.compile(
    rb"""(GET|POST|PUT|PATCH|DELETE|OPTIONS)[ ]
         ( (/[!"$&->@-~]*) (?:\?([!"$-~]*))? )[ ]
         HTTP/1\.1""",
    re.VERBOSE,
)
# Fields that change how a body is framed, or what the connection speaks.
_UNUSUAL = frozenset({"EXPECT", "HTTP2-SETTINGS", "TE", "TRANSFER-ENCODING", "UPGRADE"})
_KEEPS_ALIVE = {"": True, "keep-alive": True, "close": False}
# The field that usually differs between a client's requests, as nearly all write it. Its digits are put back after the
# rest is parsed.
_LENGTHS = (b"\r\nContent-Length: ", b"\r\ncontent-length: ")
_MAX_DIGITS = 15
# Longer heads are parsed each time, so that strangers cannot fill the cache.
_MAX_REMEMBERED = 2048


class Shared(Struct, frozen=True, eq=False):
    """The part of their WSGI environments that all requests of a worker have in common."""

    environ: dict[str, Any]


class Site(Struct, frozen=True):
    """What all requests of one connection have in common.

    `environ` is the part of their WSGI environments that is not `shared` with other connections. `secure_fields` maps
    the keys by which a trusted proxy says that its client came over TLS to the values that mean so.
    """

    environ: dict[str, Any]
    secure_fields: Mapping[str, str] = {}
    shared: Shared = Shared({})


class RequestHead(Struct, frozen=True):
    """The head of a request: its WSGI environment without a body, and the body's length in bytes. `headers` have
    lower-case names and must not be changed."""

    environ: dict[str, Any]
    length: int
    keep_alive: bool
    headers: HeaderFields


def parse_head(head: bytes, site: Site) -> RequestHead | None:
    """Parses a whole head, including the empty line at its end. Returns None if it is unusual or wrong."""
    length, alike = _cut_length(head) if len(head) <= _MAX_REMEMBERED else (b"", b"")
    fields = _recall_fields(alike, site.shared) if length else _parse_fields(head, site.shared)
    if fields is None:
        return None
    environ = {**fields.environ, **site.environ}
    if length:
        environ["CONTENT_LENGTH"] = length.decode()
    if site.secure_fields and not _find_scheme(environ, site.secure_fields):
        return None
    if "SERVER_NAME" not in environ:
        _name_server(environ)
    return RequestHead(environ, int(environ.get("CONTENT_LENGTH", 0)), fields.keep_alive, fields.headers)


def _cut_length(head: bytes) -> tuple[bytes, bytes]:
    """The digits of the body's length, and the head with another length that is the same for all; empty if there is
    none or it is unusual."""
    for key in _LENGTHS:
        before, _, rest = head.partition(key)
        length = rest.partition(b"\r")[0]
        if length.isdigit() and len(length) <= _MAX_DIGITS:
            return length, b"".join((before, key, b"0", rest[len(length) :]))
    return b"", b""


class _HeadFields(Struct, frozen=True):
    """The parsed fields of a head, with the shared ones. Must not be changed, since other requests share them."""

    environ: dict[str, Any]
    headers: HeaderFields
    keep_alive: bool


def _parse_fields(head: bytes, shared: Shared) -> _HeadFields | None:
    line = parse_request_line(head[: head.find(b"\r\n")])
    if line is None or len(head) > MAX_HEAD or head.count(b"\n") > _MAX_FIELDS:
        return None
    fields = _Fields(dict(line))
    try:
        HttpRequestParser(fields).feed_data(head)
    except HttpParserError:
        return None
    environ = fields.environ
    keep_alive = _KEEPS_ALIVE.get(environ.get("HTTP_CONNECTION", "").lower())
    if keep_alive is None:
        return None
    return _HeadFields({**shared.environ, **environ}, name_headers(environ), keep_alive)


# A client's heads usually differ only in the length of the body.
_recall_fields = lru_cache(maxsize=256)(_parse_fields)


def _find_scheme(environ: dict[str, Any], secure_fields: Mapping[str, str]) -> bool:
    """Notes the scheme by which the proxy's client came. Returns False if the proxy's fields contradict each other."""
    schemes = {"https" if environ[key] == value else "http" for key, value in secure_fields.items() if key in environ}
    if schemes:
        environ["wsgi.url_scheme"] = next(iter(schemes))
    return len(schemes) <= 1


# Codex and its gateways name a session in this field. It is read as `Session-Id`, which means the same.
_SESSION = "SESSION_ID"


# Cached, since clients send the same few lines and names again and again.
@lru_cache(maxsize=512)
def parse_request_line(line: bytes) -> dict[str, str] | None:
    """The environment's entries for an ordinary request line. None for any other."""
    match = _REQUEST_LINE.fullmatch(line)
    if match is None or len(line) > _MAX_LINE:
        return None
    method, uri, path, query = (part.decode() for part in match.groups(b""))
    return {
        "REQUEST_METHOD": method,
        "RAW_URI": uri,
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SERVER_PROTOCOL": "HTTP/1.1",
    }


@lru_cache(maxsize=512)
def environ_key(name: bytes) -> str | None:
    """A field's key in the environment. None for a field that is left to gunicorn, such as `X_Name`: keys of the
    environment have no hyphens, so it would pass for `X-Name`."""
    text = name.decode("latin-1").upper()
    if text == _SESSION:
        return f"HTTP_{text}"
    if not text or "_" in text or text in _UNUSUAL:
        return None
    key = text.replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"


def _name_server(environ: dict[str, Any]) -> None:
    """Sets the server's name and port, which behind a Unix socket are those in the client's Host."""
    name, _, port = environ.get("HTTP_HOST", "").partition(":")
    environ["SERVER_NAME"] = name
    environ["SERVER_PORT"] = port or ("443" if environ["wsgi.url_scheme"] == "https" else "80")


class _Fields:
    """Receives the header fields of one request from llhttp."""

    __slots__ = ("environ",)

    def __init__(self, environ: dict[str, Any]) -> None:
        self.environ = environ

    def on_header(self, name: bytes, value: bytes) -> None:
        key = environ_key(name)
        if key is None or key in self.environ:
            # Reaches the caller as an HttpParserError.
            raise ValueError("a field that is unusual, or there twice")
        self.environ[key] = value.decode("latin-1").strip(" \t")
