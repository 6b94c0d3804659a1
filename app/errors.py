"""The tree of errors; each branch says whose fault it is.

    DragomanError                      carries a Failure: what every dialect needs to render an error
    ├── ConfigError                    the operator: a setting is wrong; names its key
    ├── ClientError                    the client: 4xx, never retried
    │   ├── InvalidRequest             400, names the field
    │   ├── Unsupported                400, the route cannot express a field (a wrong loss)
    │   ├── Unauthorized               401, the client's key is missing or wrong
    │   ├── Forbidden                  403
    │   ├── NotFound                   404
    │   ├── TooLarge                   413
    │   ├── TooMany                    429
    │   │   └── LimitReached           a limit or a budget of the client's key
    │   └── UnsupportedEncoding        415
    ├── CredentialUnavailable          the operator: no usable credential for an upstream; says the remedy
    │   └── CredentialPostponed        503, there may be one soon: its issuer cannot be reached, or asks to wait
    ├── LedgerUnavailable              the operator: what outlives a request cannot be stored or read
    │   └── LedgerSilent               its database does not answer
    ├── UpstreamSpared                 503, an upstream is not asked, because its queue is long
    ├── ProgramUnavailable             the operator: an upstream's program does not run; says the remedy
    └── UpstreamError                  the upstream
        ├── UpstreamRefused            it answered with an error, as a status or inside a stream
        ├── UpstreamMalformed          its reply is not in its dialect
        ├── UpstreamUnreachable        nothing reached it; safe to try again
        ├── UpstreamBusy               nothing was sent, because it has too many requests already
        ├── UpstreamTimeout            it was silent for too long
        │   └── UpstreamGone           it also failed to answer a probe
        └── UpstreamCut                its reply broke off

`ClientGone` (app/transport/active.py, a GreenletExit) is not part of the tree: nobody is left to receive an error, so
no `except Exception` may catch it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from app.known_secrets import known_secrets

FailureKind = Literal[
    "invalid_request",
    "unsupported",
    "authentication",
    "billing",
    "permission",
    "not_found",
    "conflict",
    "too_large",
    "unsupported_media",
    "context_overflow",
    "content_filter",
    "rate_limit",
    "quota",
    "overloaded",
    "timeout",
    "upstream_auth",
    "unreachable",
    "internal",
]

# The code for replies that are not model replies: a proxy's page, a body in another dialect.
MALFORMED = "malformed_reply"
# The code of a failure that was an answer without content: asking again costs as much as the answer.
EMPTY_ANSWER = "empty_answer"

Origin = Literal["client", "gateway", "upstream"]

# The status of each kind, if the upstream gave none.
STATUS: dict[FailureKind, int] = {
    "invalid_request": 400,
    "unsupported": 400,
    "authentication": 401,
    "billing": 402,
    "permission": 403,
    "not_found": 404,
    "conflict": 409,
    "too_large": 413,
    "unsupported_media": 415,
    "context_overflow": 400,
    "content_filter": 400,
    "rate_limit": 429,
    "quota": 429,
    "overloaded": 503,
    "timeout": 504,
    "upstream_auth": 502,
    "unreachable": 502,
    "internal": 500,
}


# Failures that only the operator, or whoever chose the model, can end: retrying later is of no use.
LASTING: frozenset[FailureKind] = frozenset({"upstream_auth", "authentication", "permission", "billing", "not_found"})


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong, independent of any dialect.

    `status` is the HTTP status for the client, or 0 for the kind's own. `code` and `param` are the upstream's, or
    name the client's field. `retry_after` is the header's text (seconds or a date) and never invented. `resets_at`
    is when a limit ends, as in the upstream's body; `until` is the same in unix seconds, if it is far away.
    `tokens` describes a context overflow: input tokens, requested output tokens and limit, as far as they are
    known.
    """

    kind: FailureKind
    message: str
    status: int = 0
    code: str | None = None
    param: str | None = None
    retry_after: str | None = None
    resets_at: str | None = None
    until: int | None = None
    origin: Origin = "gateway"
    tokens: tuple[int | None, int | None, int | None] | None = None

    def __post_init__(self) -> None:
        # Secrets are masked here because every error of an upstream reaches clients and the log as a failure; and no
        # text has halves of surrogate pairs, which neither of them can be told.
        for name in ("message", "code", "param", "retry_after"):
            text = getattr(self, name)
            if text is not None and (masked := known_secrets.mask(_join_halves(text))) is not text:
                msgspec.structs.force_setattr(self, name, masked)

    @property
    def http_status(self) -> int:
        return self.status or STATUS[self.kind]


def _join_halves(text: str) -> str:
    """A text that UTF-8 can hold: a half without its other half becomes U+FFFD."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


SAID_NOTHING = Failure(
    kind="overloaded", message="the model gave an empty answer", code=EMPTY_ANSWER, origin="upstream"
)


class DragomanError(Exception):
    """The root of the tree. Dialects render its `failure`."""

    kind: FailureKind = "internal"
    origin: Origin = "gateway"

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None, status: int = 0) -> None:
        super().__init__(message)
        self.failure = Failure(
            kind=self.kind, message=message, status=status, code=code, param=param, origin=self.origin
        )


class ConfigError(DragomanError):
    """A setting is wrong. `key` is its dotted name, for example `providers.local.base_url`. `place` is its file and
    line, if known. `faults` are all faults found in the same check."""

    def __init__(self, message: str, *, key: str = "", place: str = "") -> None:
        text = f"{key}: {message}" if key else message
        super().__init__(f"{place} {text}" if place else text)
        self.key = key
        self.reason = message
        self.faults: tuple[ConfigError, ...] = (self,)

    @classmethod
    def join(cls, faults: Sequence[ConfigError]) -> ConfigError:
        """One error for one or more faults. Its `key` is that of the first."""
        if len(faults) == 1:
            return faults[0]
        joined = cls("\n".join(str(fault) for fault in faults))
        joined.key, joined.faults = faults[0].key, tuple(faults)
        return joined


class ClientError(DragomanError):
    kind: FailureKind = "invalid_request"
    origin: Origin = "client"


class InvalidRequest(ClientError):
    pass


class Unsupported(ClientError):
    kind = "unsupported"

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message, param=param, code="unsupported_parameter")


class Unauthorized(ClientError):
    kind = "authentication"


class Forbidden(ClientError):
    kind = "permission"


class NotFound(ClientError):
    kind = "not_found"


class Conflict(ClientError):
    kind = "conflict"


class TooLarge(ClientError):
    kind = "too_large"


class TooMany(ClientError):
    kind = "rate_limit"


class LimitReached(TooMany):
    """A limit of the client's key. `headers` report it as the client's vendor does."""

    def __init__(self, message: str, *, headers: Mapping[str, str], retry_after: str, is_budget: bool) -> None:
        super().__init__(message, status=429)
        kind: FailureKind = "quota" if is_budget else "rate_limit"
        self.failure = msgspec.structs.replace(self.failure, kind=kind, retry_after=retry_after)
        self.headers = dict(headers)


class UnsupportedEncoding(ClientError):
    kind = "unsupported_media"


class CredentialUnavailable(DragomanError):
    """There is no usable credential for an upstream. The message ends with the remedy."""

    kind: FailureKind = "authentication"


class CredentialPostponed(CredentialUnavailable):
    """There is no credential yet: its issuer cannot be reached, or wants no call for `retry_after` seconds.

    A login would not help, so the status must not make clients ask their users for one.
    """

    kind = "internal"

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message, status=503)
        if retry_after is not None:
            seconds = str(max(1, math.ceil(retry_after)))
            self.failure = msgspec.structs.replace(self.failure, retry_after=seconds)


class LedgerUnavailable(DragomanError):
    """The ledger cannot be written or read now. `reason` is for the operator only, since it may name the database."""

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message, status=503)
        self.reason = reason


class LedgerSilent(LedgerUnavailable):
    """The ledger's database does not answer."""


class ProgramUnavailable(DragomanError):
    """The program that serves as an upstream does not run here (503), only reports why it cannot work, or died
    (502)."""

    def __init__(self, message: str, status: int = 503) -> None:
        super().__init__(message, status=status)


class UpstreamSpared(DragomanError):
    """The gateway did not ask an upstream. It may be asked again in `retry_after` seconds."""

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message, status=503)
        self.failure = msgspec.structs.replace(self.failure, retry_after=str(retry_after))


class UpstreamError(DragomanError):
    origin: Origin = "upstream"


class UpstreamRefused(UpstreamError):
    """The upstream answered with an error. `headers` are those of its reply that a client may see. `body` is the reply
    itself if the client speaks the same dialect, or `events` if it said so in a stream and clients look there for it.
    `is_spent` is True if the headers say that a limit of the account is used up."""

    body: bytes | None = None
    events: bytes | None = None
    is_spent: bool = False

    def __init__(self, failure: Failure, headers: Mapping[str, str] | None = None) -> None:
        Exception.__init__(self, failure.message)
        self.failure = failure
        self.headers = dict(headers or {})


class UpstreamMalformed(UpstreamError):
    """The reply is not in the upstream's dialect. `code` is MALFORMED if a retry would bring the same."""

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message, status=502, code=code)


class ListRefused(UpstreamMalformed):
    """The upstream lists no models. The message is our own, and about the account."""


def in_units(size: int) -> str:
    """A limit in bytes as error messages write it."""
    units = ((20, "MiB"), (10, "KiB"), (0, "bytes"))
    return next(f"{size >> shift} {unit}" for shift, unit in units if not size % (1 << shift))


class UpstreamUnreachable(UpstreamError):
    """The request did not reach the upstream, so a retry repeats nothing."""

    kind: FailureKind = "unreachable"

    def __init__(self, message: str) -> None:
        super().__init__(message, status=502)


class UpstreamBusy(UpstreamError):
    kind = "overloaded"


class UpstreamTimeout(UpstreamError):
    """The upstream was silent for too long. `phase` is "connect", "first_byte", "idle" or "total"."""

    kind = "timeout"

    def __init__(self, phase: str, seconds: float) -> None:
        super().__init__(f"the upstream was silent for {seconds:g} s ({phase.replace('_', ' ')} time limit)")
        self.phase = phase


class UpstreamGone(UpstreamTimeout):
    """The upstream answered neither the request nor a probe that a live server answers at once."""

    def __init__(self, seconds: float) -> None:
        super().__init__("first_byte", seconds)
        message = f"the upstream was silent for {seconds:.0f} s, and did not list its models either"
        self.failure = msgspec.structs.replace(self.failure, message=message)
        self.args = (message,)


class UpstreamCut(UpstreamError):
    """The reply broke off. `began` says whether any byte of it had arrived."""

    def __init__(self, message: str, *, began: bool) -> None:
        super().__init__(message, status=502)
        self.began = began
