"""A stored login: its store, file format and renewal lock."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import msgspec

from app.credentials.credential import find_remedy
from app.credentials.formats.login_format import LoginFormat, check_tokens
from app.credentials.stores.login_store import LoginStore, Stamp
from app.credentials.stores.renewal_lock import RenewalLock, RenewalNote
from app.credentials.tokens import Tokens, hash_token
from app.errors import CredentialUnavailable

log = logging.getLogger("dragoman.credentials")

# Seconds that another program may take to finish a file that it writes in place, and between two looks at it.
_WRITE_TIMEOUT = 1.0
_STEP = 0.05

# Messages that users of earlier gateways for these providers know. "" is for all other kinds.
_MISSING = {
    "oca": "Not authenticated. Please visit /login to authenticate with OCA.",
    "anthropic": "No Anthropic credentials found.",
    "codex": "Not authenticated. No valid OpenAI credentials found.",
    "": "Not authenticated.",
}
_REFUSED = {
    "oca": "Refresh token expired. Please visit /login to re-authenticate.",
    "codex": "Token refresh failed.",
    "": "The login has ended.",
}


class LoginMissing(CredentialUnavailable):
    """There is no login in the store."""


class LoginBroken(CredentialUnavailable):
    """The store's content cannot be read, or is not a login."""


class StoredLogin:
    """Reads and saves the tokens of one login. To save, the caller must hold the lock.

    `kind` is the provider's, for remedies. A login that the issuer refuses for good is removed if the store is this
    program's own. Other programs' files are never cleared.
    """

    def __init__(
        self,
        kind: str,
        store: LoginStore,
        file_format: LoginFormat,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.kind = kind
        self.store = store
        self._format = file_format
        self._clock = clock
        self._renewal_lock = RenewalLock(store.places)
        self._warned = ""

    @property
    def label(self) -> str:
        return self.store.label

    @property
    def remedy(self) -> str:
        return find_remedy(self.kind)

    @property
    def refusal(self) -> str:
        """The message for a login that only a new one can replace."""
        return f"{self._say(_REFUSED)} {self.label} contains a login that its issuer no longer accepts. {self.remedy}"

    def stamp(self) -> Stamp | None:
        return self.store.stamp()

    def read(self, *, patient: bool = False) -> Tokens:
        """The current tokens: those of the file, or newer ones from the renewal note.

        `patient` waits a moment for a file that is being written. Raises LoginMissing or LoginBroken.
        """
        return self._add_note((self._read_patiently() if patient else self._read_store())[1])[0]

    def read_note(self) -> tuple[Tokens, RenewalNote]:
        """The current tokens and their renewal note. Waits a moment for a file that is being written.

        Raises as `read` does.
        """
        return self._add_note(self._read_patiently()[1])

    def lock(self, timeout: float) -> AbstractContextManager[None]:
        """Keep other processes from renewing. Raises TimeoutError."""
        return self._renewal_lock.lock(timeout)

    def save(self, tokens: Tokens, note: RenewalNote) -> Tokens:
        """Save `tokens`, which replace those that `note` is about, and return the tokens to use from now on.

        They are noted before the file is touched, and the file is read again first, so that neither a crash nor another
        program's write can lose them. If another program has put a usable login into the file meanwhile, its tokens
        are returned. If the file cannot be written, the new tokens stay in the renewal note.
        """
        survives = self._renewal_lock.write(RenewalNote(replaces=note.replaces, tokens=tokens))
        try:
            return self._put(tokens, note)
        except LoginBroken as error:
            log.warning("Renewed tokens are kept beside the login file for now: %s", error)
        except OSError as error:
            self._warn_unwritable(error, survives)
        return tokens

    def settle(self) -> None:
        """Move tokens from the renewal note to the file, if that is possible now and no renewal is running."""
        try:
            if self._add_note(self._read_store()[1])[1].tokens is None:
                return
            with self.lock(timeout=0):
                tokens, note = self.read_note()
                if note.tokens is not None:
                    self._put(tokens, note)
        except (CredentialUnavailable, OSError):
            # The note stays. TimeoutError, raised while a renewal is running, is an OSError too.
            return

    def note_failure(self, note: RenewalNote, pause: float) -> None:
        """Note for all processes that the token endpoint wants no call for `pause` seconds."""
        failures = note.failures + 1
        self._renewal_lock.write(msgspec.structs.replace(note, noted_at=self._clock(), pause=pause, failures=failures))

    def note_refusal(self, tokens: Tokens, note: RenewalNote) -> None:
        """Note for all processes that the refresh token of `tokens` is dead.

        Removes the file if it is our own and its access token is unusable too.
        """
        if self.store.is_own and not tokens.is_usable(self._clock()):
            with contextlib.suppress(OSError):
                self._renewal_lock.clear()
                self.store.discard()
                return
        self._renewal_lock.write(msgspec.structs.replace(note, refused=True))

    def await_change(self, refused: Tokens) -> bool:
        """Whether another program puts a new refresh token into the store within a moment.

        The loser of a race for a single-use token may notice before the winner has saved its new tokens.
        """
        for _ in range(int(_WRITE_TIMEOUT / _STEP)):
            try:
                if self.read().refresh_token != refused.refresh_token:
                    return True
            except CredentialUnavailable:
                pass
            time.sleep(_STEP)
        return False

    def replace(self, tokens: Tokens) -> None:
        """Save the tokens of a new login over any old one. Raises OSError, or ValueError for a broken file."""
        try:
            data = self.store.read()
        except FileNotFoundError:
            data = b""
        self.store.write(self._format.render_login(data, tokens, self._clock()))
        self._renewal_lock.clear()

    def remove(self) -> None:
        """Log out: remove the tokens, and the file if it holds nothing else. Raises OSError if that is impossible."""
        self._renewal_lock.clear()
        try:
            rest = self._format.clear_login(self.store.read())
        except ValueError:
            rest = b""
        if rest:
            self.store.write(rest)
        else:
            self.store.discard()

    def _put(self, tokens: Tokens, note: RenewalNote) -> Tokens:
        """The part of `save` that touches the store. Raises OSError, LoginBroken or LoginMissing."""
        try:
            data, found = self._read_patiently()
        except LoginMissing:
            # Somebody logged out during the call, which must not be undone.
            self._renewal_lock.clear()
            raise
        if hash_token(found.refresh_token) != note.replaces and found.is_usable(self._clock()):
            tokens = found
        else:
            self.store.write(self._format.render_login(data, tokens, self._clock()))
        self._renewal_lock.clear()
        return tokens

    def _add_note(self, tokens: Tokens) -> tuple[Tokens, RenewalNote]:
        note = self._renewal_lock.read(tokens.refresh_token)
        newer = note.tokens
        # If the issuer does not rotate refresh tokens, an old note stays valid, but the file may be newer.
        if newer is not None and (newer.expires_at or 0.0) < (tokens.expires_at or 0.0):
            newer, note = None, msgspec.structs.replace(note, tokens=None)
        return newer or tokens, note

    def _read_store(self) -> tuple[bytes, Tokens]:
        label = self.label
        try:
            data = self.store.read()
            return data, check_tokens(self._format.parse_login(data))
        except FileNotFoundError as error:
            raise LoginMissing(f"{self._say(_MISSING)} {label} does not exist. {self.remedy}") from error
        except OSError as error:
            raise LoginBroken(f"{label} cannot be read: {error.strerror or error}. {self.remedy}") from error
        except ValueError as error:
            raise LoginBroken(f"{label}: {error}. {self.remedy}") from error

    def _read_patiently(self) -> tuple[bytes, Tokens]:
        for _ in range(int(_WRITE_TIMEOUT / _STEP)):
            try:
                return self._read_store()
            except LoginBroken:
                time.sleep(_STEP)
        return self._read_store()

    def _say(self, words: dict[str, str]) -> str:
        return words.get(self.kind, words[""])

    def _warn_unwritable(self, error: OSError, survives: bool) -> None:
        where = "outside it" if survives else "only in memory and are lost when this process ends"
        warning = f"{self.label} cannot be written ({error.strerror or error}): renewed tokens are kept {where}."
        if warning != self._warned:
            self._warned = warning
            log.warning("%s", warning)
