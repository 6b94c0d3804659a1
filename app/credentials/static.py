"""A credential source that never changes: a key or token from the configuration or the environment."""

from __future__ import annotations

import time

from app.credentials.credential import LOGIN_WORDS, Credential, SourceStatus
from app.credentials.tokens import read_account, read_claims, read_expiry
from app.errors import CredentialUnavailable


class StaticSource:
    """A key or token from the configuration or the environment. It cannot be renewed, so a refusal is final.

    `source` names its place for its owner: a variable or a setting.
    """

    def __init__(
        self,
        kind: str,
        *,
        source: str,
        api_key: str | None = None,
        access_token: str | None = None,
    ) -> None:
        self._kind = kind
        self._credential = Credential(
            api_key=api_key,
            access_token=access_token,
            expires_at=read_expiry(access_token),
            account=read_account(read_claims(access_token)),
            source=source,
            generation=1,
        )

    def snapshot(self) -> Credential:
        """Always the same credential. Whether an expired token still works is left to its upstream."""
        return self._credential

    def refresh(self, failed: Credential) -> Credential:
        raise CredentialUnavailable(self._say("was refused"))

    def describe(self) -> SourceStatus:
        credential = self._credential
        is_over = credential.expires_at is not None and credential.expires_at <= time.time()
        return SourceStatus(
            source=credential.source,
            kind="api_key" if credential.api_key else "access_token",
            account=credential.account,
            expires_at=credential.expires_at,
            problem=self._say("has expired") if is_over else None,
        )

    def poll(self) -> None:
        """Does nothing."""

    def _say(self, trouble: str) -> str:
        """A message with the trouble and its remedy, which names the credential's place."""
        place = self._credential.source
        if self._credential.api_key:
            return f"The API key in {place} {trouble}: put a valid one there."
        word = LOGIN_WORDS.get(self._kind)
        login = f", or remove it and run `dragoman login {word}`" if word else ""
        return f"The access token in {place} {trouble}: put a new one there{login}."
