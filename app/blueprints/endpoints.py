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

# Answers a request that has been read.
Answer = Callable[["Services", ClientRequest, Record], ClientResponse]


def ask_gateway(parts: Services, client_request: ClientRequest, record: Record) -> ClientResponse:
    """The answer of endpoints that add nothing of their own."""
    return parts.gateway.answer(client_request, record)


class Endpoint(NamedTuple):
    """How a path is served: its dialect, how a request is answered, and how its model and mode are read. Requests to
    endpoints without a model (`names_model` False) do not count towards the client's limits. With `continues`, a small
    request may refer to much that is stored."""

    dialect: ClientDialect
    answer: Answer = ask_gateway
    read_peek: ReadPeek = PEEK
    names_model: bool = True
    continues: bool = False


class Endpoints:
    """The endpoints of all paths that bypass Flask's dispatch. A path may contain variable parts in Flask's notation,
    as in `/models/<path:model>:<any(ask, stream):action>`. `match` finds these, and `plain` all others."""

    def __init__(self, endpoints: Mapping[str, Endpoint]) -> None:
        self.all = endpoints
        self.roots = frozenset(path.split("/")[1] for path in endpoints)
        self.plain = {path: (endpoint, NO_PARTS) for path, endpoint in endpoints.items() if "<" not in path}
        held = {path: endpoint for path, endpoint in endpoints.items() if "<" in path}
        self._match = _open_map(held) if held else None

    def match(self, path: str) -> tuple[Endpoint, Parts] | None:
        """The endpoint of a path with variable parts, and these parts. `path` is as in WSGI, one character per byte."""
        return None if self._match is None else self._match(path.encode("latin-1").decode(errors="replace"))


def _open_map(endpoints: Mapping[str, Endpoint]) -> Callable[[str], tuple[Endpoint, Parts] | None]:
    # Imported only if a path has variable parts. Vendors' paths have none.
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
