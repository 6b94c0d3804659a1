"""The gateway's input and output: a client's request and the response to it."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from app.conversation.request import Request
from app.dialects.contract import ClientDialect, StreamPassthrough
from app.dialects.json_bodies import repair_surrogates
from app.errors import InvalidRequest
from app.gateway.client_access.client_keys import ANYBODY, ClientKey
from app.gateway.large_bodies.body_budget import Hold
from app.gateway.large_bodies.heavy_work import run_heavy
from app.gateway.peek import NO_PARTS, PEEK, Parts, Peek, ReadPeek
from app.providers.conversation_names import name_conversation
from app.providers.provider import Operation
from app.routing.upstream import Upstream
from app.transport import Exchange

T = TypeVar("T")

# Maximum characters of any name from a client: a model, a tool, a session, an earlier response.
MAX_NAME = 256
# What reading a body may raise for a value that its field does not allow.
UNREADABLE = (msgspec.MsgspecError, UnicodeError, OverflowError)
# Maximum characters of the decoder's message quoted in the error.
MAX_TOLD = 200


def new_id() -> str:
    """32 hex digits: about when it was made, in 8, and 24 that nobody can guess, since ids made from these give access
    to stored responses and conversations.

    Ids of one time stand beside each other in a database's index. Without the time, every row of a batch would change
    another page of it.
    """
    while True:
        try:
            return _drawn.pop()
        except IndexError:
            began = f"{int(time.time()):08x}"
            digits = os.urandom(_RANDOM * _DRAWN_AT_ONCE).hex(" ", _RANDOM).split()
            _drawn.extend([began + each for each in digits])


# Unused ids: random bytes for many are drawn at once. A forked process draws its own.
_drawn: list[str] = []
_DRAWN_AT_ONCE = 64
# Random bytes of an id.
_RANDOM = 12
os.register_at_fork(after_in_child=_drawn.clear)


class ReadOnce(Generic[T]):
    """A property that is computed on first access and then stored in the instance."""

    def __init__(self, read: Callable[[Any], T]) -> None:
        self._read = read
        self._name = read.__name__
        self.__doc__ = read.__doc__

    def __get__(self, owner: Any, _: type) -> T:
        found = self._read(owner)
        setattr(owner, self._name, found)  # asking for its `__dict__` would make one, which costs more
        return found


class ClientRequest:
    """One request of a client.

    `headers` have lower-case names and contain no gateway credential. `provider` is the provider named in the path (a
    mount); `session` is the client's session, if it names one, and `session_mounted` whether it does so in the path.
    `key` says what the client may do; `tenant` is derived from it and is empty without a key. `operation` is requested
    of upstreams that offer it; all others are asked to generate. The endpoint supplies `read_peek` and `parts` (the
    parts of the path). A request that continues a response, or whose response is to be stored, has a `continuation`.
    `plans` are the plans for requests with the same head, by model and mode (plan.py). Unless `keeps_body`, the body is
    dropped once it is parsed, because a large one would otherwise be held twice during translation. `hold` is the
    request's part of the memory for bodies.
    """

    provider: str | None = None
    session: str | None = None
    session_mounted: bool = False
    read_peek: ReadPeek = staticmethod(PEEK)
    parts: Parts = NO_PARTS
    operation: Operation = "generate"
    continuation: Continuation | None = None
    plans: dict[tuple[str, bool], Any] | None = None
    keeps_body = True
    hold: Hold | None = None

    def __init__(
        self, dialect: ClientDialect, body: bytes, headers: Mapping[str, str], key: ClientKey = ANYBODY,
        request_id: str | None = None,
    ) -> None:  # fmt: skip
        self.id = request_id or new_id()
        self.dialect = dialect
        self.body = body
        self.size = len(body)
        self.headers = headers
        self.key = key
        self.tenant = key.tenant
        self.parse = dialect.parse_request

    @ReadOnce
    def conversation(self) -> str:
        """The client's session, or a name for the conversation that the body continues."""
        return self.session or name_conversation(self.body)

    @ReadOnce
    def peek(self) -> Peek:
        """Model and mode. Raises InvalidRequest if the body is not a JSON object or names no model."""
        try:
            peek = self.read_peek(self.body, self.parts)
        except msgspec.ValidationError as error:
            raise _explain(error) from error
        except RecursionError as error:
            raise InvalidRequest("the request body is nested too deeply") from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            # Clients that cut text by UTF-16 units send halves of surrogate pairs, which no upstream accepts.
            whole = run_heavy(len(self.body), repair_surrogates, self.body)
            if whole == self.body:
                raise InvalidRequest(f"the request body is not valid JSON: {error}") from error
            self.body = whole
            return self.peek
        if not peek.model:
            raise InvalidRequest("model string is required", param="model")
        if peek.names or len(peek.model) > MAX_NAME:
            _check_names(peek)
        return peek

    @ReadOnce
    def request(self) -> Request:
        """The whole request in neutral form. Raises InvalidRequest."""
        self.size = len(self.body)
        try:
            parsed = run_heavy(self.size, self.parse, self.body, self.headers)
        except UNREADABLE as error:
            raise unreadable(error) from error
        for tool in parsed.tools:
            if len(tool.name) > MAX_NAME:
                raise _too_long("tools")
        if self.parts:
            # The parser sees the body only, not the model and mode in the path.
            peek = self.peek
            parsed = msgspec.structs.replace(parsed, model=peek.model, stream=bool(peek.stream))
        if not self.keeps_body:
            self.body = b""
        return parsed

    def release_hold(self) -> None:
        """Gives back the room of the body."""
        if self.hold is not None:
            self.hold.release()

    def with_body(self, body: bytes) -> ClientRequest:
        """The same request with another body."""
        other = ClientRequest(self.dialect, body, self.headers, self.key, self.id)
        other.provider, other.session, other.session_mounted = self.provider, self.session, self.session_mounted
        other.read_peek, other.parts, other.parse = self.read_peek, self.parts, self.parse
        other.operation, other.continuation = self.operation, self.continuation
        return other


_OTHER_MODEL = re.compile(r"\$\.((?!(?-i:model))model)`", re.IGNORECASE)


def _check_names(peek: Peek) -> None:
    """Raises InvalidRequest for overlong names, since names are looked up, compared, logged and quoted in errors."""
    if len(peek.model) > MAX_NAME:
        raise _too_long("model")
    for field in peek.names:
        name = getattr(peek, field)
        if isinstance(name, dict):
            name = name.get("id")
        if isinstance(name, str) and len(name) > MAX_NAME:
            raise _too_long(field)


def _explain(error: msgspec.ValidationError) -> InvalidRequest:
    text = str(error)
    if "`$.stream`" in text:
        return InvalidRequest("stream must be true or false", param="stream")
    if (other := _OTHER_MODEL.search(text)) is not None:
        return InvalidRequest(f"{other[1]}: the name of this field is model, in small letters", param=other[1])
    if "model" in text:
        return InvalidRequest("model string is required", param="model")
    return InvalidRequest("Request body must be a JSON object")


def unreadable(error: Exception) -> InvalidRequest:
    return InvalidRequest(f"the request body cannot be read: {str(error)[:MAX_TOLD]}")


def _too_long(field: str) -> InvalidRequest:
    return InvalidRequest(f"{field}: a name has at most {MAX_NAME} characters", param=field)


class ClientResponse(msgspec.Struct):
    """The answer to the client. `body` is either whole or the parts of a stream, each written as soon as it exists. If
    the upstream's stream `came_whole`, there is nothing to wait for, and they may be written at once."""

    status: int
    headers: dict[str, str]
    body: bytes | Iterator[bytes]
    came_whole: bool = False


class StartedResponse(msgspec.Struct):
    """A successful answer that an upstream has begun. `first` is the output that is ready for the client: all of it if
    there is no `stream`. `token_mark` finds the first token in the client's output, which `speaks` if it has it."""

    exchange: Exchange | None
    upstream: Upstream
    stream: StreamPassthrough | None
    first: bytes
    headers: dict[str, str]
    token_mark: re.Pattern[bytes] | None = None
    speaks: bool = False


class Continuation(Protocol):
    """What a request continues, and what happens to its answer, for clients whose history is kept on the server."""

    @property
    def adopted(self) -> bool:
        """Whether the answer must be rewritten as the gateway's own, since no upstream could have given it."""
        ...

    def prepare(self, upstream: Upstream) -> ClientRequest:
        """The request for one upstream, with the history added if that upstream does not know it. Raises
        InvalidRequest, NotFound or LedgerUnavailable."""
        ...

    def watch(self, started: StartedResponse) -> StartedResponse:
        """Wraps the answer so that it is stored before the client sees its end."""
        ...
