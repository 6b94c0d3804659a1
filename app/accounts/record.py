"""The record of one request, from which the log, accounts, metrics and traces are all made."""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

from app.conversation.response import Usage

# How a request ended, as its client saw it.
Terminal = Literal["completed", "error", "client_closed", "upstream_cut", "stopped", "running"]


class AttemptRecord(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One try at one upstream. Times are milliseconds since the request was received.

    `status` is the upstream's HTTP status, 0 where none came. `error` is our kind of the failure and `message` its
    sentence; both are empty for an attempt that was answered. `waited` is the pause before the next attempt.
    `credential` names the one that was used where a provider has several; it is never the secret.
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
    """Something that a request waited for beside its upstreams: a "credential" that was renewed, a "queue", a "fetch"
    of what its client named by URL. `about` says whose. Times are milliseconds since the request was received."""

    name: str
    about: str
    started: int
    ended: int


class Times(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Milliseconds since the request was received; None for what did not happen."""

    routed: int | None = None
    upstream_head: int | None = None
    first_byte: int | None = None
    first_token: int | None = None
    end: int = 0


class RequestRecord(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """One request, complete. Made once at its end, and now and then for a stream that still runs.

    `received` is unix time in seconds. `key` is the name of the client key, empty where none is demanded; `tenant` the
    name under which the key's things are kept. `model` is what the client asked for, `rule` the setting that chose
    `provider` and `target`. `cost` is in billionths of a US dollar, None where no price is known; `billed` is False for
    logins of subscriptions, whose cost is a list price that nobody bills. `usage` is None where no tokens were spent.
    `lowered` holds settings that were reduced to what the upstream takes, as sentences; `losses` the paths of fields
    that were dropped or coerced. `rate_limits` are the upstream's headers by lower-case name. `passed_over` are targets
    of the route that were not asked, each with the reason. `steps` are those that took a millisecond or more.
    `operation` is empty for what is no request to the API: an unknown path, a wrong key. `quiet` requests only help
    another one.
    `trace` is the client's W3C `traceparent`.
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
    steps: tuple[StepRecord, ...] = ()
    passed_over: tuple[str, ...] = ()
    status: int = 0
    terminal: Terminal = "completed"
    error: str = ""
    message: str = ""
    origin: str = ""
    upstream_status: int | None = None
    upstream_request_id: str = ""
    times: Times = Times()
    bytes_in: int = 0
    bytes_out: int = 0
    usage: Usage | None = None
    cost: int | None = None
    billed: bool = True
    losses: tuple[str, ...] = ()
    lowered: tuple[str, ...] = ()
    rate_limits: dict[str, str] = {}
    quiet: bool = False
    trace: str = ""

    @property
    def failed(self) -> bool:
        """Whether the client did not get a whole answer; one that left on its own is not counted as a failure."""
        return self.terminal in ("error", "upstream_cut", "stopped")


class Sink(Protocol):
    """Something that takes records. It must return at once, must not raise, and counts what it has to leave out."""

    def take(self, record: RequestRecord) -> None: ...
