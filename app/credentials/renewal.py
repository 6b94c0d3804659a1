"""Renews a login under a lock, once for all processes."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import msgspec

from app.credentials.oauth.token_reply import GrantPostponed, GrantRefused
from app.credentials.stores.renewal_lock import RenewalNote
from app.credentials.stores.stored_login import StoredLogin
from app.credentials.tokens import Tokens, merge_tokens
from app.errors import CredentialPostponed, CredentialUnavailable

# Seconds. A process that dies releases its lock, and a running one needs at most two slow calls.
LOCK_TIMEOUT = 45.0

_FIRST_DELAY = 2.0
_LONGEST_DELAY = 300.0
# The longest pause that an issuer may demand.
_LONGEST_RETRY_AFTER = 86400.0

RefreshCall = Callable[[Tokens], Tokens]


class RenewalPostponed(CredentialPostponed):
    """There will be no new tokens for `delay` seconds."""

    def __init__(self, message: str, delay: float) -> None:
        super().__init__(message, retry_after=delay)
        self.delay = delay


class Renewed(msgspec.Struct, frozen=True):
    """Tokens to use from now on. `granted_at` is None if another process got them."""

    tokens: Tokens
    granted_at: float | None


def renew_login(
    login: StoredLogin,
    call: RefreshCall,
    unwanted: str | None,
    clock: Callable[[], float] = time.time,
) -> Renewed:
    """Fresh tokens for `login`: from the store if another process has renewed it, else from the issuer and then saved.

    `unwanted` is the access token to replace, because it is about to expire or an upstream refused it. If the store
    holds another usable one, that is returned. Raises RenewalPostponed (try later), or CredentialUnavailable with the
    remedy (somebody must log in).
    """
    try:
        with login.lock(LOCK_TIMEOUT):
            return _renew_locked(login, call, unwanted, clock)
    except TimeoutError as error:
        raise RenewalPostponed(f"{login.label}: {error}.", _FIRST_DELAY) from error


def _renew_locked(
    login: StoredLogin,
    call: RefreshCall,
    unwanted: str | None,
    clock: Callable[[], float],
    again: bool = False,
) -> Renewed:
    tokens, note = login.read_note()
    now = clock()
    if tokens.secret != unwanted and tokens.is_usable(now):
        return Renewed(tokens, None)
    if tokens.refresh_token is None:
        raise CredentialUnavailable(f"{login.label} has no refresh token. {login.remedy}")
    if note.refused:
        login.note_refusal(tokens, note)
        raise CredentialUnavailable(login.refusal)
    if (left := note.wait_left(now)) > 0:
        raise RenewalPostponed(_postponed_message(login, left), left)
    try:
        grant = call(tokens)
    except GrantRefused as error:
        # Another program may just have used the refresh token. Then its new tokens work for us too.
        if not again and login.await_change(tokens):
            return _renew_locked(login, call, unwanted, clock, again=True)
        login.note_refusal(tokens, note)
        raise CredentialUnavailable(login.refusal) from error
    except GrantPostponed as error:
        delay = _delay(note, error.retry_after)
        login.note_failure(note, delay)
        raise RenewalPostponed(f"{error} {_postponed_message(login, delay)}", delay) from error
    return Renewed(login.save(merge_tokens(tokens, grant), note), now)


def _postponed_message(login: StoredLogin, delay: float) -> str:
    return (
        f"Token refresh failed. The login in {login.label} could not be renewed; the next attempt is in {delay:.0f} s."
    )


def _delay(note: RenewalNote, retry_after: float | None) -> float:
    backed_off = min(_LONGEST_DELAY, _FIRST_DELAY * 2.0 ** min(note.failures, 16)) * (0.75 + random.random() / 2)
    return min(_LONGEST_RETRY_AFTER, max(backed_off, retry_after or 0.0))
