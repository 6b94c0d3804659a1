"""Decides what to try next at an upstream that failed: another credential, a changed request, or the same again."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import NoReturn

import msgspec

from app.conversation.capabilities import Capabilities
from app.conversation.tokens.estimate import estimate_tokens
from app.credentials.credential import Credential, find_remedy
from app.errors import CredentialPostponed, CredentialUnavailable, DragomanError, Failure
from app.gateway.attempt import Attempt
from app.gateway.failures.explanation import raise_explained
from app.gateway.failures.learned_facts import COOL_DOWN, LearnedFacts
from app.gateway.failures.policy import cool_down, is_paced, recognise_overflow, wait_before_retry
from app.gateway.failures.pool_switch import switch_credential
from app.gateway.failures.repairs.change import UNSEALED, seals_for_account
from app.gateway.failures.repairs.last_resorts import find_last_resort
from app.gateway.failures.repairs.repair import find_repair, is_general
from app.gateway.messages import ClientRequest
from app.gateway.record import Record
from app.gateway.upstream_health.retry_budget import RetryBudget
from app.routing.upstream import Upstream

log = logging.getLogger("dragoman")

# Maximum changes to one request after refusals that name a field. Strict servers name one field at a time, and agents
# send more of those that only their vendor knows than a few.
MAX_REPAIRS = 8


class Recovery:
    """The tries of one request at one upstream. The next one uses `credential` and `capabilities`."""

    credential: Credential | None
    capabilities: Capabilities

    def __init__(
        self, client_request: ClientRequest, record: Record, upstream: Upstream, facts: LearnedFacts,
        budget: RetryBudget,
    ) -> None:  # fmt: skip
        self._client_request = client_request
        self._record = record
        self._upstream = upstream
        self._facts = facts
        self._budget = budget
        self._renewed = False
        self._remedy: str | None = None
        self._repairs = MAX_REPAIRS

    def handle(self, error: DragomanError, attempt: Attempt, number: int, *, may_repeat: bool) -> float:
        """Seconds until the next try, after try `number` failed. Raises the failure, explained, if nothing is left to
        try."""
        self.credential, self.capabilities = attempt.target.credential, attempt.target.capabilities
        try:
            error = recognise_overflow(error, self.capabilities.context_window, partial(estimate, attempt))
            self._record.end_attempt(error)
            failure, upstream = error.failure, self._upstream
            log.debug("request %s: attempt %d at %s failed: %s", self._record.id, number, upstream.label, failure.kind)
            if self._renew(failure):
                return 0.0
            may_send = attempt.target.sends.may_send
            if self._switch(error, may_send=may_send) or self._repair(failure, attempt):
                return 0.0
            wait = find_wait(error, number, self._budget) if may_repeat and may_send else None
            if wait is None:
                self._give_up(error, attempt)
            self._record.wait(wait)
            return wait
        finally:
            del error  # its traceback holds this frame, and all that was read of the reply with it

    def _give_up(self, error: DragomanError, attempt: Attempt) -> NoReturn:
        try:
            pause = cool_down(error)
            if pause is not None:
                label, tenant = self._upstream.label, self._client_request.tenant
                self._facts.report(label, tenant, COOL_DOWN, times=1, seconds=pause)
            raise_explained(error, attempt, self._remedy or find_remedy(self._upstream.provider.settings.kind))
        finally:
            del error

    def _renew(self, failure: Failure) -> bool:
        """Tries to renew a refused credential, once for each; returns whether there is a new one."""
        if failure.kind not in ("upstream_auth", "permission") or self._renewed:
            return False
        self._renewed = True
        provider, began = self._upstream.provider, time.monotonic()
        forbidden = failure.kind == "permission"
        try:
            other = provider.renew(self.credential, self._client_request.tenant, forbidden=forbidden)
        except CredentialPostponed as postponed:
            if forbidden:
                return False  # mostly a rule that no new credential changes, so the refusal says more
            # A new one may appear by itself, so no remedy suggests a login.
            refusal = provider.explain(failure).message.rstrip(". ")
            both = f"{refusal}. {postponed.failure.message}"
            postponed.failure = msgspec.structs.replace(postponed.failure, message=both)
            raise
        except CredentialUnavailable as unavailable:
            other, self._remedy = None, str(unavailable)
        self._record.note_step("credential", provider.name, began)
        self.credential = other or self.credential
        return other is not None

    def _switch(self, error: DragomanError, *, may_send: bool) -> bool:
        """Switches to another credential of the provider's pool; returns whether there is one."""
        other = switch_credential(self._upstream.provider, self.credential, error, self._client_request)
        if other is None or not may_send:
            return False
        self.credential, self._renewed = other, False
        self._record.credential = other.name
        if seals_for_account(self.capabilities.dialect):
            self.capabilities = UNSEALED(self.capabilities)
        return True

    def _repair(self, failure: Failure, attempt: Attempt) -> bool:
        """Changes the capabilities so that the request may pass; returns whether a repair was found."""
        lowers = failure.kind == "context_overflow" and self._client_request.dialect.TRAITS.fits_limit
        if not self._repairs or lowers:
            return False
        sent, before = attempt.upstream_request.body, self.capabilities
        repair = find_repair(failure, before, sent, attempt.target.operation)
        if repair is not None:
            general = is_general(failure, repair, before, sent)
        elif (repair := find_last_resort(failure, attempt, before)) is not None:
            general = repair.learned
        else:
            return False
        self._repairs -= 1
        self.capabilities = repair.change(before)
        if general:
            self._facts.report(self._upstream.label, self._client_request.tenant, repair.name, repair.change)
        return True


def find_wait(error: DragomanError, number: int, budget: RetryBudget) -> float | None:
    """Seconds to wait before the same request is sent again, after try `number` failed; None if that is useless or the
    budget does not allow it. If the upstream names the time, the first retry is not charged to the budget, because the
    upstream sets the pace."""
    wait = wait_before_retry(error, number)
    granted = wait is not None and ((number == 1 and is_paced(error)) or budget.spend(time.monotonic()))
    return wait if granted else None


def estimate(attempt: Attempt) -> int:
    """A rough count of a request's tokens."""
    request = attempt.client_request
    return estimate_tokens(request.request, attempt.target.model, request.dialect.TRAITS.image_rule)
