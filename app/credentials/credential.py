"""A credential, and the contract of credential sources."""

from __future__ import annotations

from typing import Protocol

import msgspec

from app.known_secrets import known_secrets

# How messages name the page that makes a login: without an address, for they are written where nobody knows it.
_LOGIN_PAGE = "visit /login"

# The word by which `dragoman login` knows the login of each kind of provider.
LOGIN_WORDS: dict[str, str] = {"oca": "oca", "anthropic": "claude", "codex": "codex"}

# Each refusal ends with the words that tell its reader what to do next.
_REMEDIES: dict[str, str] = {
    "oca": "Run `dragoman login oca` or visit /login; with a token file made by `cline auth`, run that again.",
    "anthropic": "Set ANTHROPIC_API_KEY or CLAUDE_ACCESS_TOKEN, or run `dragoman login claude` or `claude auth login`.",
    "claude_cli": "Run `claude auth login` as the user who runs the gateway, or set the provider's `api_key`.",
    "codex": "Run `dragoman login codex` or `codex login`, or set OPENAI_API_KEY.",
    "openai": "Set the provider's `api_key`, or OPENAI_API_KEY.",
}
_REMEDY = "Set the provider's `api_key`, `access_token` or `token_file`."


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """What one request shows to its upstream: an access token (bearer) or an API key, never both.

    `expires_at` is in unix seconds, None when nobody knows. `source` tells a human where it came from. `generation`
    grows by one with each change of the source, in this process. `name` is what a pool calls it, empty elsewhere.
    """

    access_token: str | None = None
    api_key: str | None = None
    expires_at: float | None = None
    account: str | None = None
    plan: str | None = None
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
    """What a human may know about a source. `kind` is "api_key", "access_token" or "none"; nothing in it is secret."""

    source: str
    kind: str
    account: str | None = None
    plan: str | None = None
    expires_at: float | None = None
    renewable: bool = False
    problem: str | None = None


class CredentialSource(Protocol):
    """Where the credentials of one provider come from.

    One object lives as long as the services of one configuration, and is shared by all threads and greenlets of its
    process; other processes have their own over the same store. What it hands out is immutable: a request keeps the
    credential that it began with, whatever happens to the store meanwhile.
    """

    def snapshot(self) -> Credential:
        """The credential to use now. Called for each request, so it touches no disk and no network while what is held
        is fresh.

        An expired one is renewed first, for which the caller waits (30 s at most); one that expires soon is handed out
        and renewed beside the request. Raises CredentialUnavailable, whose message ends with what its reader can do,
        and CredentialPostponed where trying again after `retry_after` seconds may help.
        """
        ...

    def refresh(self, failed: Credential) -> Credential:
        """The credential after `failed`, which an upstream has just refused with 401 or 403.

        Called by any number of requests at once. The store is read again first; only if it still holds what failed is
        it renewed, once for all who ask, in this process and in others. Gives what is held now, which need not be
        another secret: the caller compares. Raises as `snapshot` does.
        """
        ...

    def describe(self) -> SourceStatus:
        """What a status page or a command may show: no secret, and nothing that has to be asked of a server. Raises
        nothing; a source that has no credential says so in `problem`."""
        ...

    def poll(self) -> None:
        """Notice a change of what lies on disk.

        Called by the watcher every few seconds, and where a request was refused. May read files, never waits for the
        network. Raises nothing: a store that cannot be read leaves what is held.
        """
        ...


def find_remedy(kind: str) -> str:
    """What whoever runs the gateway can do about a missing or refused credential of a provider of `kind`."""
    return _REMEDIES.get(kind, _REMEDY)


def spell_login_page(message: str, gateway: str) -> str:
    """A message with the login page's whole address; `gateway` is the URL under which its reader reached us."""
    return message.replace(_LOGIN_PAGE, f"visit {gateway}/login")


def mask_secret(secret: str | None) -> str:
    """A secret for human eyes: its length only, because a prefix of a short key is half of it."""
    return f"<{len(secret)} characters>" if secret else "<none>"
