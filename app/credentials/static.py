"""The source that never changes by itself: a key or token from the configuration or the environment."""

from __future__ import annotations

from app.credentials.credential import Credential, SourceStatus, find_remedy
from app.credentials.tokens import read_account, read_claims, read_expiry
from app.errors import CredentialUnavailable


class StaticSource:
    """A key or token from the configuration or the environment. Nothing can renew it, so a refusal is final."""

    def __init__(self, kind: str, *, source: str, api_key: str | None = None, access_token: str | None = None) -> None:
        self._remedy = find_remedy(kind)
        self._credential = Credential(
            api_key=api_key,
            access_token=access_token,
            expires_at=read_expiry(access_token),
            account=read_account(read_claims(access_token)),
            source=source,
            generation=1,
        )

    def snapshot(self) -> Credential:
        return self._credential

    def refresh(self, failed: Credential) -> Credential:
        raise CredentialUnavailable(f"The credential from {self._credential.source} was refused. {self._remedy}")

    def describe(self) -> SourceStatus:
        credential = self._credential
        return SourceStatus(
            source=credential.source,
            kind="api_key" if credential.api_key else "access_token",
            account=credential.account,
            expires_at=credential.expires_at,
        )

    def poll(self) -> None:
        """There is nothing to look at."""
