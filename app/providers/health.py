"""Tracks a provider's recent successes and failures."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import msgspec

from app.conversation.response import Usage
from app.errors import (
    CredentialUnavailable,
    DragomanError,
    FailureKind,
    ListRefused,
    ProgramUnavailable,
    UpstreamError,
    UpstreamMalformed,
    UpstreamRefused,
)
from app.providers.quotas import QuotaWindow

log = logging.getLogger("dragoman")

# Failures that concern only the request, not the provider.
_OF_THE_REQUEST: frozenset[FailureKind] = frozenset(
    {"invalid_request", "unsupported", "conflict", "too_large", "unsupported_media", "context_overflow",
     "content_filter"}
)  # fmt: skip
# Kinds whose message is kept, because it is about the account. Any other message may quote a conversation, which not
# everyone who can see the gateway's health may read.
_QUOTED: frozenset[FailureKind] = frozenset({"upstream_auth", "billing", "quota"})
# Failures that may concern one model or one minute, and say nothing about the provider as a whole.
_PASSING: frozenset[FailureKind] = frozenset({"not_found", "rate_limit", "permission"})
# A server that counts less than this share of our rough estimate has not read the whole request; and the minimum of
# missing tokens that is worth a warning.
CUT_SHARE = 0.6
LEAST_CUT = 1000
MAX_CUTS = 32
# Seconds between two successes that the other workers are told of.
NEWS_PERIOD = 10.0
# Maximum characters of a message.
_LONGEST = 500


class Trouble(msgspec.Struct, frozen=True):
    """A failure of a provider: when it was seen (unix seconds), its kind, and a message that quotes nobody."""

    at: float
    kind: FailureKind
    message: str


class OutcomeNote(msgspec.Struct, frozen=True):
    """What one worker tells the others of a provider with the settings that `provider` marks."""

    provider: str
    last_success: float | None = None
    failing_since: float | None = None
    last_failure: Trouble | None = None
    quotas: dict[str, tuple[QuotaWindow, ...]] = {}

    def join(self, other: OutcomeNote) -> OutcomeNote:
        """What both know together."""
        fresh, stale = (self, other) if (self.last_success or 0.0) >= (other.last_success or 0.0) else (other, self)
        failures = [note.last_failure for note in (self, other) if note.last_failure is not None]
        failure = max(failures, key=lambda trouble: trouble.at, default=None)
        success = fresh.last_success or 0.0
        failing_since = None
        if failure is not None and failure.at >= success:
            begun = (note.failing_since for note in (self, other))
            failing_since = min((at for at in begun if at is not None and at >= success), default=failure.at)
        quotas = {**stale.quotas, **fresh.quotas}
        return OutcomeNote(self.provider, fresh.last_success, failing_since, failure, quotas)


class ProviderHealth:
    """The last success and the last failure of one provider, as seen by this process and told by the others.

    `failing_since` is when the first failure after the last success was seen. `listed_at` is when its list of models
    last arrived, `listing` why the last request for it failed; None if it succeeded. `quotas` are the used shares
    of an account's windows, by credential name ("" outside a pool). Written by every request and read by status pages
    without a lock: each update is one assignment.
    """

    __slots__ = (
        "_clock", "_noted", "context_cuts", "failing_since", "last_failure", "last_success", "listed_at", "listing",
        "quotas",
    )  # fmt: skip

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._noted: float | None = None
        self.last_success: float | None = None
        self.failing_since: float | None = None
        self.last_failure: Trouble | None = None
        self.listing: Trouble | None = None
        self.listed_at: float | None = None
        self.quotas: dict[str, tuple[QuotaWindow, ...]] = {}
        self.context_cuts: dict[str, str] = {}  # models whose server drops what exceeds its context, with a message

    def succeed(self) -> None:
        """Notes that a request was answered."""
        self.last_success = self._clock()
        self.failing_since = None

    def fail(self, error: DragomanError) -> None:
        """Notes that a request failed, unless the client is to blame."""
        trouble = self._describe(error)
        if trouble is not None:
            self.last_failure = trouble
            self.failing_since = self.failing_since or trouble.at

    def take_note(self, provider: str) -> OutcomeNote | None:
        """What the other workers should know; None while there is nothing. Of successes in a row, one in a while."""
        success, failure = self.last_success, self.last_failure
        if success is None and failure is None:
            return None
        before, failed_at = self._noted, failure.at if failure is not None else 0.0
        if success is not None and (before is None or success - before >= NEWS_PERIOD or before <= failed_at):
            self._noted = success
        return OutcomeNote(provider, self._noted, self.failing_since, failure, dict(self.quotas))

    def adopt(self, note: OutcomeNote) -> None:
        """Takes over what is newer in another worker."""
        own = OutcomeNote(note.provider, self.last_success, self.failing_since, self.last_failure, dict(self.quotas))
        known = own.join(note)
        self.last_success, self.last_failure = known.last_success, known.last_failure
        self.failing_since, self.quotas = known.failing_since, known.quotas

    def compare(self, upstream: str, estimate: int, usage: Usage) -> None:
        """Notes, and logs once, that an upstream has read far less of a request than it was sent."""
        if usage.input >= CUT_SHARE * estimate or estimate - usage.input < LEAST_CUT or upstream in self.context_cuts:
            return
        message = (
            f"it read only {usage.input} of about {estimate} tokens: it silently drops what exceeds its context "
            "window. Give it a larger one (for Ollama: num_ctx, or OLLAMA_CONTEXT_LENGTH)"
        )
        if len(self.context_cuts) < MAX_CUTS:
            self.context_cuts[upstream] = message
            log.warning("%s: %s", upstream, message)

    def list_models(self, error: DragomanError | None = None) -> None:
        """Notes that its model list arrived, or failed with `error`."""
        self.listing = None if error is None else self._describe(error)
        if error is None:
            self.listed_at = self._clock()

    @property
    def problem(self) -> Trouble | None:
        """The last failure, if no success followed and it concerns the provider as a whole."""
        trouble = self.last_failure
        return trouble if self.failing_since and trouble is not None and trouble.kind not in _PASSING else None

    def _describe(self, error: DragomanError) -> Trouble | None:
        failure = error.failure
        ours = isinstance(error, CredentialUnavailable | ProgramUnavailable)
        # A refused key that the client supplied is the client's problem.
        others = isinstance(error, UpstreamError) and failure.kind != "authentication"
        if failure.kind in _OF_THE_REQUEST or not (ours or others):
            return None
        return Trouble(self._clock(), failure.kind, _find_sentence(error)[:_LONGEST])


def _find_sentence(error: DragomanError) -> str:
    failure = error.failure
    if isinstance(error, UpstreamRefused) and failure.kind not in _QUOTED:
        return f"it answered with an error of kind {failure.kind}" + (
            f" (HTTP {failure.status})" if failure.status else ""
        )
    if isinstance(error, UpstreamMalformed) and not isinstance(error, ListRefused):
        return "it sent an invalid reply"
    return failure.message
