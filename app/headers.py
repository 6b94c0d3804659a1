"""A request's header fields, read once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Where a server that has read them already leaves them in the WSGI environment.
FIELDS = "dragoman.headers"


class HeaderFields(dict[str, str]):
    """Headers with lower-case names. A client sends the same ones again and again, so they are read once and shared:
    not to be changed. `admission` is for whoever has decided something by them alone, to keep with its own mark."""

    __slots__ = ("admission",)

    def __init__(self, fields: Mapping[str, str]) -> None:
        super().__init__(fields)
        self.admission: tuple[object, Any] = (None, None)


def name_headers(environ: Mapping[str, Any]) -> HeaderFields:
    """The headers in a WSGI environment."""
    headers = {name[5:].replace("_", "-").lower(): value for name, value in environ.items() if name[:5] == "HTTP_"}
    content_type = environ.get("CONTENT_TYPE")
    if content_type:
        headers["content-type"] = content_type
    return HeaderFields(headers)


def read_headers(environ: Mapping[str, Any]) -> HeaderFields:
    """The request's headers, read already or straight from the WSGI environment."""
    known = environ.get(FIELDS)
    return known if isinstance(known, HeaderFields) else name_headers(environ)
