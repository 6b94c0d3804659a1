"""A credential source for a login that can change on disk and renew itself.

    held tokens fresh?  ── yes ──▶ return them: no lock, no disk, no network
          │ no
    read the store again ── fresh now ──▶ return
          │
    still usable?  ── yes ──▶ return, renew in the background
          │ no
    renew; all callers meanwhile wait for the same renewal, with a time limit

A renewal runs in a thread of its own. So a client that leaves cannot interrupt it between receiving a rotated
token and saving it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import msgspec

from app.credentials.credential import Credential, SourceStatus
from app.credentials.renewal import RenewalPostponed, Renewed
from app.credentials.stores.login_store import Stamp
from app.credentials.stores.stored_login import LoginMissing, StoredLogin
from app.credentials.tokens import Tokens, renewal_time
from app.errors import CredentialPostponed, CredentialUnavailable

log = logging.getLogger("dragoman.credentials")

# Seconds that a request waits for a renewal without which it cannot be sent.
WAIT_LIMIT = 30.0

# Seconds. A token that is refused this soon after we got it is not stale. A new one would be refused too, and cost a
# rotation.
_NEW = 60.0

# Seconds after a final refusal before another renewal is tried, unless the store changes earlier.
_FINAL = 30.0

Renew = Callable[[str | None], Renewed]


class LoginSource:
    """A CredentialSource for a stored login.

    `renew` gets the access token to replace and returns newer tokens; None if the login cannot be renewed. With
    `watch_closely`, each snapshot checks the store's stamp, so that a changed file takes effect with the next request.
    """

    def __init__(
        self,
        login: StoredLogin,
        renew: Renew | None,
        *,
        watch_closely: bool = False,
        wait_limit: float = WAIT_LIMIT,
        errand: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.login = login
        self._errand = errand
        self._renew = renew
        self._watch_closely = watch_closely
        self._wait_limit = wait_limit
        self._clock = clock
        self._monotonic = monotonic
        self._held: _Held | None = None
        # Guards the state last read from the store. Held during disk reads, never during network calls.
        self._reading = threading.Lock()
        self._stamp: Stamp | None = None
        self._problem: str | None = None
        self._missed = False
        self._renewal_lock = threading.Lock()
        self._running: _Renewal | None = None
        self._failure: _Failure | None = None

    def snapshot(self) -> Credential:
        held = self._held
        if held is not None and self._clock() < held.renew_at and not self._watch_closely:
            return held.credential
        held = self._reload()
        now = self._clock()
        if now < held.renew_at:
            return held.credential
        if held.tokens.is_usable(now):
            if self._is_renewable(held):
                self._begin_renewal(held.tokens.secret)
            return held.credential
        if not self._is_renewable(held):
            raise CredentialUnavailable(f"The access token in {self.login.label} has expired. {self.login.remedy}")
        return self._await_renewal(held.tokens.secret)

    def refresh(self, failed: Credential) -> Credential:
        held = self._held
        if held is not None and held.tokens.secret != failed.secret:
            return self.snapshot()
        held = self._reload(force=True)
        if held.tokens.secret not in (failed.secret, None):
            return self.snapshot()
        is_new = held.received_at is not None and self._monotonic() - held.received_at < _NEW
        if not self._is_renewable(held) or is_new:
            raise CredentialUnavailable(f"The credential from {self.login.label} was refused. {self.login.remedy}")
        return self._await_renewal(failed.secret)

    def describe(self) -> SourceStatus:
        try:
            held = self._held or self._reload()
        except CredentialUnavailable as error:
            return SourceStatus(source=self.login.label, kind="none", problem=str(error))
        tokens, now = held.tokens, self._clock()
        problem, failure = self._problem, self._failure
        if problem is None and not tokens.is_usable(now):
            if failure is not None:
                problem = str(failure.error)
            elif not self._is_renewable(held):
                problem = f"The access token has expired. {self.login.remedy}"
        return SourceStatus(
            source=self.login.label,
            kind="access_token" if tokens.access_token or not tokens.api_key else "api_key",
            account=tokens.account,
            plan=tokens.plan,
            expires_at=tokens.expires_at,
            renewable=self._is_renewable(held),
            problem=problem,
        )

    def poll(self) -> None:
        if self._errand is not None:
            self._errand()
        try:
            self.login.settle()
            self._reload()
        except LoginMissing:
            pass
        except CredentialUnavailable as error:
            self._report(str(error))
        except Exception:
            # Otherwise one odd file would stop the watching of all others.
            log.exception("Checking %s failed", self.login.label)
        self._forget_removed()

    def forget(self) -> None:
        """Drop the tokens in memory, after a logout. The next snapshot reads the store again."""
        with self._reading:
            self._held = self._stamp = self._problem = None

    def _reload(self, force: bool = False) -> _Held:
        """The store's current tokens. If it has become unreadable, the held ones stay; raises if there are none."""
        with self._reading:
            held, stamp = self._held, self.login.stamp()
            if held is not None and stamp == self._stamp and not force:
                return held
            # Without tokens to fall back on, waits a moment for a file that is being written.
            patient = held is None and stamp != self._stamp
            self._stamp = stamp
            try:
                tokens = self.login.read(patient=patient)
            except CredentialUnavailable as error:
                if held is None:
                    raise
                self._report(str(error))
                return held
            self._problem = None
            return self._swap(tokens)

    def _swap(self, tokens: Tokens, granted_at: float | None = None) -> _Held:
        held = self._held
        received_at = self._monotonic() if granted_at is not None else None
        if held is None or held.tokens != tokens:
            # The last failure concerned other tokens.
            self._failure = None
        if held is not None and held.tokens.secret == tokens.secret and held.granted_at and granted_at is None:
            # What we know of a token that we got ourselves is more accurate than its file.
            granted_at, received_at = held.granted_at, held.received_at
            tokens = msgspec.structs.replace(tokens, expires_at=held.tokens.expires_at, renew_after=None)
        if held is None or held.tokens.secret != tokens.secret:
            generation = held.credential.generation + 1 if held is not None else 1
            if held is not None and granted_at is None:
                log.info("Token file change detected. Reloading...")
            if tokens.secret:
                # The first one was reported at the start.
                level = logging.DEBUG if held is None else logging.INFO
                log.log(level, "Successfully loaded new access token from %s", self.login.label)
        else:
            generation = held.credential.generation
        credential = Credential(
            access_token=tokens.access_token,
            api_key=None if tokens.access_token else tokens.api_key,
            expires_at=tokens.expires_at,
            account=tokens.account,
            source=self.login.label,
            generation=generation,
        )
        renewable = self._renew is not None and tokens.refresh_token is not None
        renew_at = renewal_time(tokens, granted_at) if renewable else tokens.expires_at or float("inf")
        self._held = _Held(tokens, credential, renew_at if tokens.secret else 0.0, granted_at, received_at)
        return self._held

    def _is_renewable(self, held: _Held) -> bool:
        return self._renew is not None and held.tokens.refresh_token is not None

    def _await_renewal(self, unwanted: str | None) -> Credential:
        """Wait for a credential other than `unwanted`."""
        renewal = self._begin_renewal(unwanted)
        if renewal is not None and not renewal.ended.wait(self._wait_limit):
            raise CredentialPostponed(
                f"The login in {self.login.label} is still being renewed after {self._wait_limit:g} s; try again."
            )
        failure = renewal.failure if renewal is not None else self._failure
        held = self._held
        if held is not None and held.tokens.secret != unwanted and held.tokens.is_usable(self._clock()):
            return held.credential
        # A new exception for each waiting caller: a shared one would collect all their tracebacks.
        if failure is not None:
            raise self._repeat(failure) from failure.error
        raise CredentialUnavailable(
            f"The login in {self.login.label} returned no new access token. {self.login.remedy}"
        )

    def _repeat(self, failure: _Failure) -> CredentialUnavailable:
        if isinstance(failure.error, CredentialPostponed):
            return CredentialPostponed(str(failure.error), retry_after=failure.until - self._monotonic())
        return CredentialUnavailable(str(failure.error), status=failure.error.failure.status)

    def _begin_renewal(self, unwanted: str | None) -> _Renewal | None:
        """The running renewal, or a new one. None if the last failure was too recent."""
        with self._renewal_lock:
            if self._running is not None:
                return self._running
            if self._failure is not None and self._monotonic() < self._failure.until:
                return None
            held = self._held
            if held is not None and held.tokens.secret != unwanted and held.tokens.is_usable(self._clock()):
                return _Renewal.done()
            renewal = self._running = _Renewal()
            # Not a daemon, so that a normal exit waits until the tokens are saved.
            threading.Thread(target=self._run_renewal, args=(renewal, unwanted), name="dragoman-renewal").start()
            return renewal

    def _run_renewal(self, renewal: _Renewal, unwanted: str | None) -> None:
        assert self._renew is not None
        try:
            renewed = self._renew(unwanted)
            with self._reading:
                self._swap(renewed.tokens, renewed.granted_at)
        except RenewalPostponed as error:
            self._note_failure(renewal, error, error.delay)
        except CredentialUnavailable as error:
            self._note_failure(renewal, error, _FINAL)
        except Exception as error:
            # Passed on to the waiting callers, who must not be left waiting.
            log.exception("The renewal of %s failed", self.login.label)
            unavailable = CredentialUnavailable(f"The renewal failed ({type(error).__name__}). {self.login.remedy}")
            self._note_failure(renewal, unavailable, _FINAL)
        finally:
            with self._renewal_lock:
                self._running = None
            renewal.ended.set()

    def _note_failure(self, renewal: _Renewal, error: CredentialUnavailable, pause: float) -> None:
        """Note the failure, and keep using a token that is still valid without a new try for `pause` seconds."""
        log.warning("%s", error)
        with self._reading:
            renewal.failure = self._failure = _Failure(error, self._monotonic() + pause)
            held = self._held
            if held is not None and held.tokens.is_usable(self._clock()):
                renew_at = min(self._clock() + pause, held.tokens.expires_at or float("inf"))
                self._held = msgspec.structs.replace(held, renew_at=renew_at)

    def _report(self, problem: str) -> None:
        """Log a problem of the store, if it is a new one."""
        if problem != self._problem:
            self._problem = problem
            log.warning("%s", problem)

    def _forget_removed(self) -> None:
        """Drop the tokens of a file that two polls in a row did not find, because another process logged out.

        One look is not enough, because some programs remove a file before they write it again.
        """
        missing = self._held is not None and self.login.stamp() is None
        if missing and self._missed:
            self.forget()
        self._missed = missing


class _Held(msgspec.Struct, frozen=True):
    """One generation of tokens. Until `renew_at` (unix seconds) a snapshot just returns them.

    For tokens that we got ourselves, `granted_at` is the unix time and `received_at` the monotonic one.
    """

    tokens: Tokens
    credential: Credential
    renew_at: float
    granted_at: float | None
    received_at: float | None


class _Failure(msgspec.Struct, frozen=True):
    """Why there are no new tokens, and the monotonic time before which another try is useless."""

    error: CredentialUnavailable
    until: float


class _Renewal:
    """A running renewal, shared by all callers that need it."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.failure: _Failure | None = None

    @classmethod
    def done(cls) -> _Renewal:
        renewal = cls()
        renewal.ended.set()
        return renewal
