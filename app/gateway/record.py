"""Collects what is known of a running request; frozen into a RequestRecord at its end."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

import msgspec

from app.accounts.record import AttemptRecord, RequestRecord, StepRecord, Terminal, Times
from app.conversation.response import Usage
from app.errors import DragomanError, FailureKind
from app.gateway.recording.agents import name_agent
from app.gateway.replies.paused_turn import PausedTurn
from app.logs import hide_secrets
from app.routing.router import Upstream

if TYPE_CHECKING:
    from app.gateway.inspection.wiretap import Wiretap

log = logging.getLogger("dragoman")

# Characters of an error's sentence, and of a name that a client has chosen.
LONGEST_MESSAGE = 300
LONGEST_WORD = 200
# The upstream's headers that tell how much may still be asked of it, and how many of them are kept.
LIMIT_HEADERS = ("x-ratelimit-", "anthropic-ratelimit-", "x-codex-", "ratelimit", "retry-after")
MOST_LIMIT_HEADERS = 40
# Characters of the names of a head that is remembered.
_MOST_KNOWN = 2048
# Seconds that a step takes at least to be on record, and steps that are.
SHORTEST_STEP = 0.001
MOST_STEPS = 50

# The cost of an answer in billionths of a dollar, by provider, its name of the model, and usage; None without a price.
Bill = Callable[[str, str, Usage], int | None]


class Reserved(Protocol):
    """What was counted for a request beforehand. It is settled once; later calls do nothing. What `stands` is counted
    right whatever the request comes to, so that nobody waits for it to be settled."""

    @property
    def stands(self) -> bool: ...

    def settle(self, record: RequestRecord | None) -> None:
        """Counts what the request came to instead; None for one of which nothing is known."""
        ...


class Record(msgspec.Struct, eq=False):
    """Collects what is known of a request while it runs; `write` hands it on once. Times are seconds.

    `finish` is told once that the request is over; without it nobody is.
    """

    id: str
    client: str
    finish: Callable[[Record], None] | None = None
    method: str = ""
    path: str = ""
    agent: str | None = None
    peer: str | None = None
    trace: str | None = None
    received: float = msgspec.field(default_factory=time.time)
    started: float = msgspec.field(default_factory=time.monotonic)
    key: str | None = None  # the name of the client's key, never the key
    tenant: str = ""
    admitted: bool = False  # whether the client may ask at all
    operation: str = "generate"  # empty for what is no request to the API: an unknown path, a wrong key
    matched: str = ""  # what led the model's name to its upstream
    message: str | None = None
    quiet: bool = False  # one of many that only help another one, worth a line at debug
    session: str | None = None
    routed: float | None = None
    upstream_head: float | None = None
    first_byte: float | None = None
    first_token: float | None = None
    model: str = ""
    credential: str = ""  # what a pool calls the one that was shown
    stream: bool = False
    provider: str = ""
    billed: bool = True
    upstream: str = ""
    upstream_model: str = ""
    upstream_dialect: str = ""
    upstream_status: int | None = None
    upstream_request_id: str | None = None
    upstream_headers: Mapping[str, str] | None = None
    status: int = 0
    attempts: int = 0
    tried: tuple[AttemptRecord, ...] = ()
    passed_over: tuple[str, ...] = ()
    steps: tuple[StepRecord, ...] = ()
    attempt_status: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    usage: Usage | None = None
    paused_turn: PausedTurn | None = None  # where the answer may come in several, each of which costs
    watch: Callable[[Usage], None] | None = None  # who wants to know the usage
    dropped: tuple[str, ...] = ()
    lowered: tuple[str, ...] = ()
    error: FailureKind | None = None
    origin: str | None = None
    terminal: Terminal = "completed"
    # What limits have counted beforehand: those of the client's key, and of the provider that was asked last.
    reservation: Reserved | None = None
    counted: Reserved | None = None
    written: bool = False
    token: int = -1  # by which ActiveRequests knows it, where it does
    wiretap: Wiretap | None = None  # who is told what goes over the wire, where anybody is
    _began: int | None = None  # when the attempt began that is under way, in milliseconds
    _ended: int | None = None

    def stand_for(self, request: Record) -> None:
        """What goes on after `request` was answered, on behalf of the same client."""
        self.method, self.path, self.agent, self.peer = request.method, request.path, request.agent, request.peer
        self.key, self.tenant, self.session = request.key, request.tenant, request.session
        self.trace = request.trace
        self.bytes_in = request.bytes_in

    def begin_output(self) -> None:
        if self.first_byte is None:
            self.first_byte = time.monotonic() - self.started

    def note_token(self) -> None:
        """The first token is about to reach the client."""
        if self.first_token is None:
            self.first_token = time.monotonic() - self.started

    def go_to(self, upstream: Upstream) -> None:
        """What is sent from now on goes there."""
        provider = upstream.provider
        self.upstream, self.upstream_model, self.matched = upstream.label, upstream.model, upstream.matched
        self.provider, self.billed = provider.name, provider.bills

    def pass_over(self, target: str, reason: str) -> None:
        """A target of the route is not asked now."""
        self.passed_over += (f"{target[:LONGEST_WORD]}: {reason}",)

    def note_step(self, name: str, about: str, began: float) -> None:
        """Something is done that began then, by the monotonic clock. What took no time is not worth a word."""
        ended = time.monotonic()
        if ended - began >= SHORTEST_STEP:
            started = int((began - self.started) * 1000)
            took = StepRecord(name, about, started, started + int((ended - began) * 1000))
            self.steps = (*self.steps, took)[:MOST_STEPS]

    def meet_head(self, status: int, headers: Mapping[str, str]) -> None:
        """The upstream has begun to answer."""
        self.upstream_head = time.monotonic() - self.started
        self.attempt_status, self.upstream_headers = status, headers

    def begin_attempt(self, *, resent: bool = False) -> None:
        """The request is sent to `upstream`; a second time where the connection that it went out on had been closed."""
        now = int((time.monotonic() - self.started) * 1000)
        if self._began is not None:
            told = ("unreachable", "the kept connection had been closed") if resent else ("", "")
            self.tried += (self._attempt(now, *told),)
        self.attempts += 1
        self.attempt_status = 0
        self._began = now

    def hold(self, counted: Reserved) -> None:
        """What the limits of a provider have counted for what is sent next; before it nothing was used but a
        request."""
        if self.counted is not None:
            self.counted.settle(None)
        self.counted = counted

    def end_attempt(self, error: DragomanError) -> None:
        """The attempt that is under way has failed."""
        if self._began is not None:
            failure = error.failure
            said = hide_secrets(failure.message[:LONGEST_MESSAGE])
            self.tried += (self._attempt(self._now(), failure.kind, said),)
            self._began = None

    def wait(self, seconds: float) -> None:
        """The next attempt begins in so many seconds."""
        if self.tried:
            *before, last = self.tried
            self.tried = (*before, msgspec.structs.replace(last, waited=round(seconds * 1000)))

    def fail(self, error: DragomanError, terminal: Terminal = "error") -> None:
        self.terminal = terminal
        self.error, self.origin = error.failure.kind, error.failure.origin
        self.message = error.failure.message[:LONGEST_MESSAGE]

    def fault(self, fault: Exception) -> DragomanError:
        """A fault of ours: the log gets all of it, the client only an id to look for there."""
        log.error("request %s failed", self.id, exc_info=fault)
        error = DragomanError(f"internal error of the gateway; see its log for request {self.id}")
        self.fail(error)
        return error

    def write(self) -> None:
        """The request is over. Bodies and credentials are in none of its fields."""
        if self.written:
            return
        self.written = True
        self._ended = int((time.monotonic() - self.started) * 1000)
        if self.wiretap is not None:
            self.wiretap.close()
        if self.watch is not None and self.usage is not None and not self.usage.estimated:
            self.watch(self.usage)
        if self.finish is not None:
            self.finish(self)

    def freeze(self, bill: Bill | None = None, *, running: bool = False) -> RequestRecord:
        """All of it as it is now; `running` for a request that goes on."""
        end = self._now() if self._ended is None else self._ended
        tried = self.tried
        if self._began is not None:
            told = (self.error or "", self.message or "") if self.terminal in ("error", "upstream_cut") else ("", "")
            tried = (*tried, self._attempt(end, *told))
        usage = (self.paused_turn and self.paused_turn.spent) or self.usage
        routed, upstream_head, first_byte, first_token = (
            self.routed, self.upstream_head, self.first_byte, self.first_token,
        )  # fmt: skip
        done = RequestRecord(
            id=self.id,
            received=self.received,
            session=self.session or "",
            tenant=self.tenant,
            key=self.key or "",
            agent=name_agent(self.agent) if self.agent else "",
            method=self.method,
            peer=self.peer or "",
            path=self.path[:LONGEST_WORD],
            dialect_in=self.client,
            dialect_out=self.upstream_dialect,
            stream=self.stream,
            model=self.model[:LONGEST_WORD],
            rule=self.matched,
            provider=self.provider,
            target=self.upstream,
            attempts=tried,
            status=self.status,
            upstream_request_id=self.upstream_request_id or "",
            times=Times(
                None if routed is None else int(routed * 1000),
                None if upstream_head is None else int(upstream_head * 1000),
                None if first_byte is None else int(first_byte * 1000),
                None if first_token is None else int(first_token * 1000),
                end,
            ),
            bytes_in=self.bytes_in,
            bytes_out=self.bytes_out,
            usage=usage,
            cost=None if usage is None or bill is None else bill(self.provider, self.upstream_model, usage),
            billed=self.billed,
            rate_limits=_find_limits(self.upstream_headers) if self.upstream_headers else {},
        )
        # Most requests never come to any of what follows.
        if not (
            running or self.error or self.message or self.steps or self.passed_over or self.dropped or self.lowered
            or self.trace or self.quiet or self.origin or self.upstream_status is not None
            or self.operation != "generate" or self.terminal != "completed"
        ):  # fmt: skip
            return done
        return msgspec.structs.replace(
            done,
            operation=self.operation,
            steps=self.steps,
            passed_over=self.passed_over,
            terminal="running" if running else self.terminal,
            error=self.error or "",
            message="" if self.message is None else hide_secrets(self.message),
            origin=self.origin or "",
            upstream_status=self.upstream_status,
            losses=self.dropped,
            lowered=self.lowered,
            quiet=self.quiet,
            trace=self.trace[:LONGEST_WORD] if self.trace else "",
        )

    def _attempt(self, now: int, error: str, message: str) -> AttemptRecord:
        began = self._began or 0
        return AttemptRecord(self.upstream, self.attempt_status, error, message, began, now, 0, self.credential)

    def _now(self) -> int:
        return int((time.monotonic() - self.started) * 1000)


def _find_limits(headers: Mapping[str, str]) -> dict[str, str]:
    names = tuple(headers)
    find = _find_names if len("".join(names)) <= _MOST_KNOWN else _find_names.__wrapped__
    told_of = find(names)
    if not told_of:
        return {}
    found = {name[:LONGEST_WORD]: headers[name][:LONGEST_WORD] for name in told_of}
    if hide_secrets(told := "\n".join(found.values())) == told:
        return found
    return {name: hide_secrets(value) for name, value in found.items()}


# Upstreams send the same names again and again.
@lru_cache(maxsize=256)
def _find_names(names: tuple[str, ...]) -> list[str]:
    """Those of the names of a head that tell of limits."""
    return [name for name in names if name.startswith(LIMIT_HEADERS)][:MOST_LIMIT_HEADERS]
