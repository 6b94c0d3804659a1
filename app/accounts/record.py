"""The record of one request, from which log, accounts, metrics and traces are produced."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, Protocol

import msgspec

from app.conversation.response import Usage

# How a request ended, as its client saw it.
Terminal = Literal["completed", "error", "client_closed", "upstream_cut", "stopped", "running"]


class AttemptRecord(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One attempt at one upstream. Times are in milliseconds since the request was received.

    `status` is the upstream's HTTP status, or 0 if there was none. `error` is our kind of failure and `message`
    describes it; both are empty for a successful attempt. `waited` is the pause before the next attempt. `credential`
    names the credential that was used if the provider has several; it is never the secret.
    """

    target: str
    status: int = 0
    error: str = ""
    message: str = ""
    started: int = 0
    ended: int = 0
    waited: int = 0
    credential: str = ""


class StepRecord(msgspec.Struct, frozen=True):
    """Something that a request waited for besides its upstreams: a "credential" to be renewed, a "queue", a "fetch" of
    a URL in it. `about` says whose. Times are in milliseconds since the request was received."""

    name: str
    about: str
    started: int
    ended: int


class Times(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Milliseconds since the request was received, or None for what did not happen."""

    routed: int | None = None
    upstream_head: int | None = None
    first_byte: int | None = None
    first_token: int | None = None
    end: int = 0


class RequestRecord(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The complete record of one request. Created at its end, and now and then for a stream that is still running.

    `received` is unix time in seconds. `key` is the name of the client key, or empty if none is demanded; `tenant` is
    the name under which the key's data is stored. `model` is what the client asked for, `rule` the setting that chose
    `provider` and `target`. `cost` is in billionths of a US dollar, or None if no price is known; `billed` is False for
    subscription logins, whose cost is a list price that nobody bills. `usage` is None if no tokens were used. `lowered`
    describes settings that were reduced to the upstream's limits, one sentence each. `losses` are the paths of fields
    that were dropped or coerced. `rate_limits` are the upstream's headers by lower-case name. `skipped` are the
    route's targets that were not tried, each with the reason. `steps` are those that took a millisecond or more.
    `silent` is how many milliseconds a running stream has sent its client nothing; None for anything else.
    `operation` is empty for requests that are not for the API: an unknown path, a wrong key. `quiet` requests only
    serve another one. `trace` is the client's W3C `traceparent`.
    """

    id: str
    received: float
    session: str = ""
    tenant: str = ""
    key: str = ""
    agent: str = ""
    method: str = ""
    peer: str = ""
    path: str = ""
    operation: str = "generate"
    dialect_in: str = ""
    dialect_out: str = ""
    stream: bool = False
    model: str = ""
    rule: str = ""
    provider: str = ""
    target: str = ""
    attempts: tuple[AttemptRecord, ...] = ()
    status: int = 0
    upstream_request_id: str = ""
    times: Times = Times()
    bytes_in: int = 0
    bytes_out: int = 0
    usage: Usage | None = None
    cost: int | None = None
    billed: bool = True
    rate_limits: dict[str, str] = {}
    # Few requests have any of these.
    steps: tuple[StepRecord, ...] = ()
    skipped: tuple[str, ...] = ()
    terminal: Terminal = "completed"
    error: str = ""
    message: str = ""
    origin: str = ""
    upstream_status: int | None = None
    silent: int | None = None
    losses: tuple[str, ...] = ()
    lowered: tuple[str, ...] = ()
    quiet: bool = False
    trace: str = ""

    @property
    def failed(self) -> bool:
        """Whether the client did not get a complete response. A client that left by itself is not a failure."""
        return self.terminal in ("error", "upstream_cut", "stopped")


class Sink(Protocol):
    """A receiver of records, several at a time. It must return at once, must not raise, and counts what it has
    to drop."""

    def take(self, records: Iterable[RequestRecord]) -> None: ...
