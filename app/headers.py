"""Header fields, read once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")

# The key in the WSGI environment under which a server stores headers that it has already parsed.
FIELDS = "dragoman.headers"


class HeaderFields(dict[str, str]):
    """Headers with lower-case names. Clients repeat theirs, so equal ones are parsed once and shared: do not change
    them. `admission` caches what was decided from the headers alone, and `entrance` what was decided from headers and
    request line. Each is stored with a mark of whoever decided it."""

    __slots__ = ("admission", "entrance")

    def __init__(self, fields: Mapping[str, str]) -> None:
        super().__init__(fields)
        self.admission: tuple[object, Any] = (None, None)
        self.entrance: tuple[object, Any] = (None, None)


class FoundByNames(dict[tuple[str, ...], T]):
    """What `find` tells by the names in a head alone, which peers send again and again. It keeps neither many nor long
    ones, so that nobody can fill the memory with names."""

    _MAX_HEADS = 256
    _MAX_CHARACTERS = 2048

    def __init__(self, find: Callable[[tuple[str, ...]], T]) -> None:
        super().__init__()
        self._find = find

    def __missing__(self, names: tuple[str, ...]) -> T:
        found = self._find(names)
        if sum(map(len, names)) <= self._MAX_CHARACTERS:
            if len(self) >= self._MAX_HEADS:
                self.clear()
            self[names] = found
        return found


def name_headers(environ: Mapping[str, Any]) -> HeaderFields:
    """The headers in a WSGI environment."""
    headers = {name[5:].replace("_", "-").lower(): value for name, value in environ.items() if name[:5] == "HTTP_"}
    content_type = environ.get("CONTENT_TYPE")
    if content_type:
        headers["content-type"] = content_type
    return HeaderFields(headers)


def read_headers(environ: Mapping[str, Any]) -> HeaderFields:
    """The request's headers, as the server has parsed them, or else from the WSGI environment."""
    known = environ.get(FIELDS)
    return known if isinstance(known, HeaderFields) else name_headers(environ)
