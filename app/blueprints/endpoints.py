"""Maps API paths to endpoints, ahead of Flask's dispatch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from app.dialects.contract import ClientDialect
from app.gateway.messages import ClientRequest, ClientResponse
from app.gateway.peek import NO_PARTS, PEEK, Parts, ReadPeek
from app.gateway.record import Record

if TYPE_CHECKING:
    from app.services import Services

# How a request is answered once it is read.
Answer = Callable[["Services", ClientRequest, Record], ClientResponse]


def ask_gateway(parts: Services, client_request: ClientRequest, record: Record) -> ClientResponse:
    """The answer of a dialect with nothing of its own in the way."""
    return parts.gateway.answer(client_request, record)


class Endpoint(NamedTuple):
    """What a path leads to: the dialect that is spoken there, how a request is answered, and how its model and mode
    are read. What asks no model (`names_model`) takes nothing of a client's limits."""

    dialect: ClientDialect
    answer: Answer = ask_gateway
    read_peek: ReadPeek = PEEK
    names_model: bool = True


class Endpoints:
    """The endpoint of each path that is answered without Flask's dispatch. A path may hold parts in Flask's notation,
    as in `/models/<path:model>:<any(ask, stream):action>`; these are tried where `plain` has none."""

    def __init__(self, endpoints: Mapping[str, Endpoint]) -> None:
        self.all = endpoints
        self.roots = frozenset(path.split("/")[1] for path in endpoints)
        self.plain = {path: (endpoint, NO_PARTS) for path, endpoint in endpoints.items() if "<" not in path}
        held = {path: endpoint for path, endpoint in endpoints.items() if "<" in path}
        self._match = _open_map(held) if held else None

    def match(self, path: str) -> tuple[Endpoint, Parts] | None:
        """The endpoint of a path with parts, and these. `path` is WSGI's, whose characters stand for bytes."""
        return None if self._match is None else self._match(path.encode("latin-1").decode(errors="replace"))


def _open_map(endpoints: Mapping[str, Endpoint]) -> Callable[[str], tuple[Endpoint, Parts] | None]:
    # Imported where a path has parts at all; the vendors' have none.
    from werkzeug.exceptions import HTTPException
    from werkzeug.routing import Map, Rule

    rules = [Rule(path, endpoint=endpoint) for path, endpoint in endpoints.items()]
    adapter = Map(rules, strict_slashes=False, merge_slashes=False).bind("")

    def match(path: str) -> tuple[Endpoint, Parts] | None:
        try:
            endpoint, parts = adapter.match(path)
        except HTTPException:
            return None
        return endpoint, parts

    return match
