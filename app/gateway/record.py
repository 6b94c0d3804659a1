"""Collects what is known about a running request; frozen into a RequestRecord at its end."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from math import floor
from typing import TYPE_CHECKING, Protocol

import msgspec

from app.accounts.record import AttemptRecord, RequestRecord, StepRecord, Terminal, Times
from app.conversation.response import Usage
from app.conversation.tokens.estimate import STREAM_BYTES, WHOLE_BYTES
from app.errors import DragomanError, FailureKind
from app.gateway.replies.paused_turn import PausedTurn
from app.headers import FoundByNames
from app.known_secrets import SHORTEST
from app.logs import hide_in_headers, hide_secrets
from app.routing.upstream import Upstream

if TYPE_CHECKING:
    from app.gateway.inspection.wiretap import Wiretap

log = logging.getLogger("dragoman")

# Maximum characters of an error message, and of a name chosen by a client.
LONGEST_MESSAGE = 300
LONGEST_WORD = 200
# Prefixes of the upstream's rate-limit headers, and how many such headers are kept.
LIMIT_HEADERS = ("x-ratelimit-", "anthropic-ratelimit-", "x-codex-", "ratelimit", "retry-after")
MAX_LIMIT_HEADERS = 40
_TAKING_TOKENS = frozenset({"generate", "completions"})
# Minimum seconds of a step to be recorded, and maximum number of steps recorded.
SHORTEST_STEP = 0.001
MAX_STEPS = 50

# Maps provider, the provider's name for the model, and usage to a cost in billionths of a dollar; None without a price.
Bill = Callable[[str, str, Usage], int | None]
# Maximum characters of a User-Agent examined, and of a client program's name.
LONGEST_HEADER = 200
LONGEST_NAME = 60


class Reserved(Protocol):
    """What the limits counted for a request in advance. It is settled once; later calls do nothing. If it `stands`, the
    count is right whatever the request comes to, and nobody need wait for the settlement."""

    @property
    def stands(self) -> bool: ...

    def settle(self, record: RequestRecord | None) -> None:
        """Replaces the advance count by what the request actually used; None if nothing is known about it."""
        ...


@dataclass(slots=True, eq=False)
class Record:
    """Collects what is known about a request while it runs. Times are in seconds.

    `write` ends the record and calls `finish`, if set, exactly once. Not a msgspec structure, whose fields take ten
    times as long to set.
    """

    id: str
    client: str
    finish: Callable[[Record], None] | None = None
    method: str = ""
    path: str = ""
    agent: str | None = None
    peer: str | None = None
    trace: str | None = None
    received: float = field(default_factory=time.time)
    started: float = field(default_factory=time.monotonic)
    key: str | None = None  # the name of the client's key, never the key
    tenant: str = ""
    admitted: bool = False  # whether the client passed the access check
    operation: str = "generate"  # empty for anything that is not an API request: an unknown path, a wrong key
    matched: str = ""  # the routing rule that matched the model's name
    message: str | None = None
    quiet: bool = False  # one of many helper requests, logged at debug level only
    session: str | None = None
    routed: float | None = None
    upstream_head: float | None = None
    first_byte: float | None = None
    first_token: float | None = None
    model: str = ""
    credential: str = ""  # the pool's name for the credential that was sent
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
    skipped: tuple[str, ...] = ()
    steps: tuple[StepRecord, ...] = ()
    attempt_status: int = 0
    bytes_in: int = 0
    history: int = 0  # bytes of what the request continues
    bytes_out: int = 0
    heard: float | None = None  # when the client last got a part of its stream (monotonic clock); pings do not count
    usage: Usage | None = None
    paused_turn: PausedTurn | None = None  # set if the answer may come in several parts, each of which costs
    watch: Callable[[Usage], None] | None = None  # called with the usage at the end
    dropped: tuple[str, ...] = ()
    lowered: tuple[str, ...] = ()
    error: FailureKind | None = None
    origin: str | None = None
    terminal: Terminal = "completed"
    # Advance counts: by the limits of the client's key, and by those of the provider asked last.
    reservation: Reserved | None = None
    counted: Reserved | None = None
    written: bool = False
    token: int = -1  # the request's number in ActiveRequests, if listed there
    wiretap: Wiretap | None = None  # observes what goes over the wire, if set
    _began: int | None = None  # when the current attempt began, in milliseconds
    _ended: int | None = None

    def act_for(self, request: Record) -> None:
        """Copies the client's details from `request`, for work that continues on its behalf after it was answered."""
        self.method, self.path, self.agent, self.peer = request.method, request.path, request.agent, request.peer
        self.key, self.tenant, self.session = request.key, request.tenant, request.session
        self.trace = request.trace
        self.bytes_in = request.bytes_in

    def begin_output(self) -> None:
        if self.first_byte is None:
            self.first_byte = time.monotonic() - self.started

    def note_token(self) -> None:
        """Notes that the first token is about to reach the client."""
        if self.first_token is None:
            self.first_token = time.monotonic() - self.started

    def go_to(self, upstream: Upstream) -> None:
        """Sets the upstream that the following attempts are sent to."""
        provider = upstream.provider
        self.upstream, self.upstream_model, self.matched = upstream.label, upstream.model, upstream.matched
        self.provider, self.billed = provider.name, provider.bills

    def skip_target(self, target: str, reason: str) -> None:
        """Notes that a target of the route is not asked, and why."""
        self.skipped += (f"{target[:LONGEST_WORD]}: {reason}",)

    def note_step(self, name: str, about: str, began: float) -> None:
        """Notes that a step which `began` then (monotonic clock) has ended. Very short steps are ignored."""
        ended = time.monotonic()
        if ended - began >= SHORTEST_STEP:
            started = int((began - self.started) * 1000)
            took = StepRecord(name, about, started, started + int((ended - began) * 1000))
            self.steps = (*self.steps, took)[:MAX_STEPS]

    def receive_head(self, status: int, headers: Mapping[str, str]) -> None:
        """Notes that the upstream has begun to answer."""
        self.upstream_head = time.monotonic() - self.started
        self.attempt_status, self.upstream_headers = status, headers

    def forget_head(self) -> None:
        """Keeps no more of the upstream's head than its limits: a stream may run for minutes."""
        self.upstream_headers = _find_limits(self.upstream_headers) if self.upstream_headers else None

    def begin_attempt(self, *, resent: bool = False) -> None:
        """Notes that the request is sent to `upstream`; `resent` if the kept connection used first had been closed."""
        now = floor((time.monotonic() - self.started) * 1000)
        if self._began is not None:
            problem = ("unreachable", "the kept connection had been closed") if resent else ("", "")
            self.tried += (self._attempt(now, *problem),)
        self.attempts += 1
        self.attempt_status = 0
        self._began = now

    def hold(self, counted: Reserved) -> None:
        """Sets what a provider's limits have counted for the next attempt. The previous one is settled as a request
        without further use."""
        if self.counted is not None:
            self.counted.settle(None)
        self.counted = counted

    def end_attempt(self, error: DragomanError) -> None:
        """Notes that the current attempt has failed."""
        if self._began is not None:
            failure = error.failure
            message = hide_secrets(failure.message[:LONGEST_MESSAGE])
            self.tried += (self._attempt(self._now(), failure.kind, message),)
            self._began = None

    def wait(self, seconds: float) -> None:
        """Notes how long the next attempt is delayed."""
        if self.tried:
            *before, last = self.tried
            self.tried = (*before, msgspec.structs.replace(last, waited=round(seconds * 1000)))

    def fail(self, error: DragomanError, terminal: Terminal = "error") -> None:
        self.terminal = terminal
        self.error, self.origin = error.failure.kind, error.failure.origin
        self.message = error.failure.message[:LONGEST_MESSAGE]

    def fault(self, fault: Exception) -> DragomanError:
        """Handles a fault of the gateway: logs it in full and returns an error that gives the client only an id to find
        it in the log."""
        log.error("request %s failed", self.id, exc_info=fault)
        error = DragomanError(f"internal error of the gateway; see its log for request {self.id}")
        self.fail(error)
        return error

    def write(self) -> None:
        """Ends the record; later calls do nothing. No field contains bodies or credentials."""
        if self.written:
            return
        self.written = True
        self._ended = floor((time.monotonic() - self.started) * 1000)
        if self.wiretap is not None:
            self.wiretap.close()
        if self.watch is not None and self.usage is not None and not self.usage.estimated:
            self.watch(self.usage)
        if self.finish is not None:
            self.finish(self)

    def freeze(self, bill: Bill | None = None, *, running: bool = False) -> RequestRecord:
        """The record as it is now; `running` if the request has not ended."""
        end = self._now() if self._ended is None else self._ended
        tried = self.tried
        if self._began is not None:
            problem = (self.error or "", self.message or "") if self.terminal in ("error", "upstream_cut") else ("", "")
            tried = (*tried, self._attempt(end, *problem))
        usage = self._find_usage()
        routed, upstream_head, first_byte, first_token = (
            self.routed, self.upstream_head, self.first_byte, self.first_token,
        )  # fmt: skip
        # By position: a call with so many names would first make a dict of them.
        done = RequestRecord(
            self.id, self.received, self.session or "", self.tenant, self.key or "",
            name_agent(self.agent) if self.agent else "", self.method, self.peer or "", self.path[:LONGEST_WORD],
            self.operation, self.client, self.upstream_dialect, self.stream, self.model[:LONGEST_WORD], self.matched,
            self.provider, self.upstream, tried, self.status, self.upstream_request_id or "",
            Times(
                None if routed is None else floor(routed * 1000),
                None if upstream_head is None else floor(upstream_head * 1000),
                None if first_byte is None else floor(first_byte * 1000),
                None if first_token is None else floor(first_token * 1000),
                end,
            ),
            self.bytes_in, self.bytes_out, usage,
            None if usage is None or bill is None else bill(self.provider, self.upstream_model, usage),
            self.billed, _find_limits(self.upstream_headers) if self.upstream_headers else {},
        )  # fmt: skip
        # Most requests need none of the fields below.
        if not (
            running or self.error or self.message or self.steps or self.skipped or self.dropped or self.lowered
            or self.trace or self.quiet or self.origin or self.upstream_status is not None
            or self.terminal != "completed"
        ):  # fmt: skip
            return done
        return msgspec.structs.replace(
            done,
            steps=self.steps,
            skipped=self.skipped,
            terminal="running" if running else self.terminal,
            silent=end - int(((self.heard or self.started) - self.started) * 1000) if running and self.stream else None,
            error=self.error or "",
            message="" if self.message is None else hide_secrets(self.message),
            origin=self.origin or "",
            upstream_status=self.upstream_status,
            losses=self.dropped,
            lowered=self.lowered,
            quiet=self.quiet,
            trace=self.trace[:LONGEST_WORD] if self.trace else "",
        )

    def _find_usage(self) -> Usage | None:
        """The usage as it was told, or an estimate: servers that do not count say nothing, or zeros."""
        usage = (self.paused_turn and self.paused_turn.spent) or self.usage
        return usage if usage is not None and (usage.output or usage.input) else self._estimate() or usage

    def _estimate(self) -> Usage | None:
        """The usage by the bytes of the request and of what came, for an upstream that answered without any; None if it
        has not answered or the request takes no tokens."""
        if not (200 <= self.attempt_status < 300 and self.bytes_out and self.operation in _TAKING_TOKENS):
            return None
        if self.terminal == "error":
            return None
        output = self.bytes_out // (STREAM_BYTES if self.stream else WHOLE_BYTES)
        return Usage(fresh=(self.bytes_in + self.history) // WHOLE_BYTES, output=output, estimated=True)

    def _attempt(self, now: int, error: str, message: str) -> AttemptRecord:
        began = self._began or 0
        return AttemptRecord(self.upstream, self.attempt_status, error, message, began, now, 0, self.credential)

    def _now(self) -> int:
        return floor((time.monotonic() - self.started) * 1000)


def _find_limits(headers: Mapping[str, str]) -> dict[str, str]:
    told_of = _limit_names[tuple(headers)]
    if not told_of:
        return {}
    found = {name: headers[known] for known, name in told_of}
    longest = max(map(len, found.values()))
    if longest < SHORTEST:
        return found  # counts and times, shorter than any secret
    if longest > LONGEST_WORD:
        found = {name: value[:LONGEST_WORD] for name, value in found.items()}
    return hide_in_headers(found)


def _find_names(names: tuple[str, ...]) -> list[tuple[str, str]]:
    """The names of a head that are rate-limit headers, each also as it is recorded."""
    return [(name, name[:LONGEST_WORD]) for name in names if name.startswith(LIMIT_HEADERS)][:MAX_LIMIT_HEADERS]


_limit_names = FoundByNames(_find_names)


@lru_cache(maxsize=1024)
def name_agent(header: str) -> str:
    """Returns `claude-cli/2.1` for `claude-cli/2.1 (external, cli)`, `OpenAI-Python/3.52` for `OpenAI/Python 3.52`, and
    an empty string for an empty header. Anything that looks like a credential is masked."""
    words = hide_secrets(header[:LONGEST_HEADER]).split()
    if not words:
        return ""
    product, _, version = words[0].partition("/")
    # The vendors' SDKs put their language where others put the version.
    if version and not any(map(str.isdigit, version)) and len(words) > 1 and words[1][:1].isdigit():
        product, version = f"{product}-{version}", words[1]
    named = f"{product}/{version}" if version else product
    return "".join(character if character.isprintable() else "?" for character in named[:LONGEST_NAME])
