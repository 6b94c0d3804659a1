"""A credential, and the contract of credential sources."""

from __future__ import annotations

from typing import Protocol

import msgspec

from app.known_secrets import known_secrets

# The reference to the login page in messages. It has no address, since that is unknown where messages are written.
_LOGIN_PAGE = "visit /login"

# The argument of `dragoman login` for each kind of provider.
LOGIN_WORDS: dict[str, str] = {"oca": "oca", "anthropic": "claude", "codex": "codex"}

# The end of each refusal, which says what to do next.
_REMEDIES: dict[str, str] = {
    "oca": "Run `dragoman login oca` or visit /login; with a token file made by `cline auth`, run that again.",
    "anthropic": "Set ANTHROPIC_API_KEY or CLAUDE_ACCESS_TOKEN, or run `dragoman login claude` or `claude auth login`.",
    "claude_cli": "Run `claude auth login` as the user who runs the gateway, or set the provider's `api_key`.",
    "codex": "Run `dragoman login codex` or `codex login`, or set OPENAI_API_KEY.",
    "openai": "Set the provider's `api_key`, or OPENAI_API_KEY.",
}
_REMEDY = "Set the provider's `api_key`, `access_token` or `token_file`."


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """What a request shows to its upstream: an access token (bearer) or an API key, never both.

    `expires_at` is in unix seconds, or None if it is unknown. `source` says where the credential came from, for humans.
    `generation` grows by one with each change of the source in this process. `name` is its name in a pool, else empty.
    """

    access_token: str | None = None
    api_key: str | None = None
    expires_at: float | None = None
    account: str | None = None
    source: str = ""
    generation: int = 0
    name: str = ""

    def __post_init__(self) -> None:
        known_secrets.add(self.access_token, self.api_key)

    @property
    def secret(self) -> str:
        return self.access_token or self.api_key or ""

    def __repr__(self) -> str:
        kind = "access_token" if self.access_token else "api_key"
        return f"Credential({kind}={mask_secret(self.secret)}, source={self.source!r}, generation={self.generation})"


class SourceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The status of a source, for humans. `kind` is "api_key", "access_token" or "none". Contains no secret."""

    source: str
    kind: str
    account: str | None = None
    plan: str | None = None
    expires_at: float | None = None
    renewable: bool = False
    problem: str | None = None


class CredentialSource(Protocol):
    """The source of one provider's credentials.

    A source lives as long as the services of one configuration, and is shared by all threads and greenlets of its
    process. Other processes have their own for the same store. The credentials it returns are immutable: a request
    keeps the one that it began with, whatever happens to the store meanwhile.
    """

    def snapshot(self) -> Credential:
        """The credential to use now. Called for each request, so it uses neither disk nor network while the held one is
        fresh.

        If it has expired, it is renewed first, and the caller waits (at most 30 s). If it expires soon, it is returned
        and renewed in the background. Raises CredentialUnavailable, whose message ends with the remedy, or
        CredentialPostponed if a retry after `retry_after` seconds may help.
        """
        ...

    def refresh(self, failed: Credential) -> Credential:
        """The credential after `failed`, which an upstream has just refused with 401 or 403.

        Any number of requests may call this at once. Reads the store again first. Only if that still holds `failed`, it
        is renewed, once for all callers in all processes. Returns what is held then, which may still be the same
        secret: the caller must compare. Raises as `snapshot` does.
        """
        ...

    def describe(self) -> SourceStatus:
        """The status for pages and commands. Contains no secret and needs no network. Raises nothing: `problem` says if
        there is no credential."""
        ...

    def poll(self) -> None:
        """Notice changes on disk.

        Called by the watcher every few seconds, and when a request was refused. May read files, but never waits for the
        network. Raises nothing: if the store cannot be read, the held credential stays.
        """
        ...


def find_remedy(kind: str) -> str:
    """What the operator can do about a missing or refused credential of a provider of `kind`."""
    return _REMEDIES.get(kind, _REMEDY)


def name_login_page(message: str, gateway: str) -> str:
    """A message with the login page's full address. `gateway` is the URL at which its reader reached us."""
    return message.replace(_LOGIN_PAGE, f"visit {gateway}/login")


def mask_secret(secret: str | None) -> str:
    """A secret for display: only its length, because a prefix could be half of a short key."""
    return f"<{len(secret)} characters>" if secret else "<none>"
