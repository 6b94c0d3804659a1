"""The backend that ChatGPT logins may use for Codex.

It answers streams only, keeps nothing, and refuses most parameters; the profile `codex` says which. OpenAI means this
login for its owner's own tools: it is never shared, and only used when it is configured.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from typing import ClassVar

import msgspec

from app.conversation.blocks import DialectName
from app.conversation.capabilities import Capabilities
from app.credentials.credential import Credential
from app.errors import Failure
from app.providers.listings import read_entries, stated
from app.providers.profiles import capabilities_for
from app.providers.provider import Model, Operation, Provider, UpstreamRequest
from app.transport import Exchange

# The list of models is asked for on behalf of a client version; the backend leaves out what is too new for it.
CLIENT_VERSION = "0.169.0"
# Characters of a cache key that the backend takes, and bytes that tell one conversation from another.
MOST_KEY = 64
MOST_BEGINNING = 1000


# Where the backend keeps a turn: it gives the client a token, and wants it back with the turn's other requests.
TURN_STATE = "x-codex-turn-state"

# What a failure is called by those who used earlier gateways for this backend, and what to do about it; by its kind.
_TROUBLES = {
    "billing": (
        "ChatGPT Plus subscription required",
        "The account's plan does not include Codex: choose another.",
    ),
    "permission": (
        "ChatGPT Plus subscription required",
        "The account's plan or its workspace may not use this: choose another, or log in with another account.",
    ),
    "not_found": ("Model not available", "`dragoman models` lists what the account may use."),
    "rate_limit": (
        "Rate limit exceeded",
        "The plan's limits are shared with Codex itself: wait, or add a login.",
    ),
    "quota": ("Rate limit exceeded", "The plan's limits are shared with Codex itself: wait, or add a login."),
    "unreachable": ("Failed to connect to ChatGPT backend", "Check the network, and [server] proxies if there is one."),
}
_NO_SESSION = ("Session not found", "The backend keeps no responses: send the whole conversation again.")
# The backend's own words for a model that it has, but not for a login like this; it says them with status 400.
_NOT_FOR_PLAN = "model is not supported when using codex"
_SESSION_CODES = ("previous_response_not_found", "session_not_found", "conversation_not_found")


class CodexProvider(Provider):
    kind: ClassVar[str] = "codex"
    lists_decide: ClassVar[bool] = True
    default_base_url: ClassVar[str] = "https://chatgpt.com/backend-api/codex"
    known_models: ClassVar[tuple[str, ...]] = ("gpt-6.1-sol", "gpt-5.5")
    paths: ClassVar[Mapping[Operation, str]] = {
        "generate": "/responses",
        "compact": "/responses/compact",
        "models": "/models",
    }

    @property
    def dialect(self) -> DialectName:
        return "openai_responses"

    def url(self, operation: Operation, model: str) -> str:
        return self.base_url + self.paths[operation]

    def find_capabilities(self, model: str) -> Capabilities:
        profile = self.settings.profile or "codex"
        return capabilities_for(self.dialect, self.base_url, model, profile, self.settings.quirks)

    def send(self, upstream_request: UpstreamRequest, credential: Credential | None) -> Exchange:
        """The backend routes by session to where a conversation is cached; one that names none gets one."""
        session = upstream_request.session or name_session(upstream_request.body)
        body = upstream_request.body
        if upstream_request.operation == "generate" and body[:1] == b"{" and b'"prompt_cache_key"' not in body:
            named = b'{"prompt_cache_key":' + msgspec.json.encode(session[:MOST_KEY])
            body = named + (b"," if body[1:].lstrip()[:1] != b"}" else b"") + body[1:]
        return super().send(msgspec.structs.replace(upstream_request, session=session, body=body), credential)

    def request_headers(self, upstream_request: UpstreamRequest) -> dict[str, str]:
        headers = {**super().request_headers(upstream_request), "originator": "dragoman"}
        if upstream_request.session is not None:
            headers["session-id"] = upstream_request.session
        if upstream_request.same_dialect and TURN_STATE in upstream_request.client_headers:
            headers[TURN_STATE] = upstream_request.client_headers[TURN_STATE]
        return headers

    def auth_headers(self, credential: Credential | None, client_headers: Mapping[str, str]) -> dict[str, str]:
        headers = super().auth_headers(credential, client_headers)
        if credential is not None and credential.account is not None:
            headers["chatgpt-account-id"] = credential.account
        return headers

    def explain(self, failure: Failure) -> Failure:
        failure = super().explain(failure)
        kind = "not_found" if _NOT_FOR_PLAN in failure.message.lower() else failure.kind
        trouble = _NO_SESSION if failure.code in _SESSION_CODES else _TROUBLES.get(kind)
        if trouble is None:
            return failure
        name, remedy = trouble
        message = f"{name}: {failure.message.rstrip('. ')}. {remedy}"
        return msgspec.structs.replace(failure, message=message)

    def models(self) -> list[Model]:
        """A backend that lists none has those of the vendor, wherever it is reached."""
        return super().models() or [Model(id=name, owned_by="openai") for name in self.known_models]

    def fetch_models(self) -> list[Model]:
        url = f"{self.url('models', '')}?client_version={CLIENT_VERSION}"
        return [
            Model(entry.slug, "openai", entry.display_name, context_window=stated(entry.context_window))
            for entry in read_entries(self.fetch_json(url), _ListedModel)
            if entry.visibility == "list"
        ]


def name_session(body: bytes) -> str:
    """A name for the conversation of a request: the same for each of its turns, for they all begin alike."""
    start = body.find(b'"input"')
    beginning = body[start : start + MOST_BEGINNING] if start >= 0 else body[:MOST_BEGINNING]
    return str(uuid.UUID(bytes=hashlib.sha256(beginning).digest()[:16], version=4))


class _ListedModel(msgspec.Struct):
    slug: str
    display_name: str | None = None
    visibility: str = "list"
    context_window: int | None = None
