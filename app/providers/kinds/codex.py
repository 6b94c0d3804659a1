"""The backend that ChatGPT logins may use for Codex.

It answers streams only, stores nothing, and refuses most parameters; the profile `codex` says which. OpenAI intends
this login for its owner's own tools: it is never shared, and only used if configured.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

import msgspec

from app.conversation.blocks import DialectName
from app.conversation.capabilities import Capabilities
from app.credentials.credential import Credential, CredentialSource
from app.errors import Failure
from app.providers.catalogue import Model
from app.providers.conversation_names import name_conversation
from app.providers.listings import read_entries, stated
from app.providers.profiles import capabilities_for
from app.providers.provider import Operation, Provider, UpstreamRequest
from app.settings import ProviderSettings
from app.transport import Exchange, Transport

# The list of models is requested for a client version; the backend omits models too new for it.
CLIENT_VERSION = "0.171.0"
# Maximum characters of a cache key.
MAX_KEY = 64

# The header with the backend's token for a turn, which the turn's other requests must send back.
TURN_STATE = "x-codex-turn-state"

# By kind of failure: the wording that users of earlier gateways for this backend know, and the remedy.
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
# The backend's words, with status 400, for a model that exists but not for this kind of login.
_NOT_FOR_PLAN = "model is not supported when using codex"
_NO_SUCH_SESSION = re.compile(r"\b(?:session|conversation|previous response)\b[^.]{0,80}\bnot found", re.IGNORECASE)
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

    def __init__(
        self, name: str, settings: ProviderSettings, source: CredentialSource | None, transport: Transport
    ) -> None:
        super().__init__(name, settings, source, transport)
        self._limits: dict[str, dict[str, object]] = {}

    @property
    def dialect(self) -> DialectName:
        return "openai_responses"

    def url(self, operation: Operation, model: str) -> str:
        return self.base_url + self.paths[operation]

    def find_capabilities(self, model: str) -> Capabilities:
        profile = self.settings.profile or "codex"
        limits = self._limits.get(model, {})
        return capabilities_for(self.dialect, self.base_url, model, profile, self.settings.quirks, limits=limits)

    def send(self, upstream_request: UpstreamRequest, credential: Credential | None) -> Exchange:
        """Sends the request under a session name, by which the backend finds a conversation's cache; a request without
        one gets one derived from its beginning."""
        session = upstream_request.session or name_conversation(upstream_request.body)
        body = upstream_request.body
        if upstream_request.operation == "generate" and body[:1] == b"{" and b'"prompt_cache_key"' not in body:
            named = b'{"prompt_cache_key":' + msgspec.json.encode(session[:MAX_KEY])
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
        lost = failure.code in _SESSION_CODES or (
            kind == "not_found" and _NO_SUCH_SESSION.search(failure.message[:400])
        )
        trouble = _NO_SESSION if lost else _TROUBLES.get(kind)
        if trouble is None:
            return failure
        name, remedy = trouble
        message = f"{name}: {failure.message.rstrip('. ')}. {remedy}"
        return msgspec.structs.replace(failure, message=message)

    def models(self) -> list[Model]:
        """The vendor's known models if the backend lists none, whatever its address."""
        return super().models() or [Model(id=name, owned_by="openai") for name in self.known_models]

    def fetch_models(self) -> list[Model]:
        url = f"{self.url('models', '')}?client_version={CLIENT_VERSION}"
        listed = read_entries(self.fetch_json(url), _ListedModel)
        self._limits = {entry.slug: entry.limits() for entry in listed}
        return [
            Model(entry.slug, "openai", entry.display_name, context_window=stated(entry.context_window))
            for entry in listed
            if entry.visibility == "list"
        ]


class _Level(msgspec.Struct):
    effort: str


class _ListedModel(msgspec.Struct):
    slug: str
    display_name: str | None = None
    visibility: str = "list"
    context_window: int | None = None
    input_modalities: list[str] | None = None
    supported_reasoning_levels: list[_Level] | None = None

    def limits(self) -> dict[str, object]:
        """What the list states about the model, as fields of Capabilities."""
        images = {"images": "image" in self.input_modalities} if self.input_modalities else {}
        efforts = tuple(level.effort for level in self.supported_reasoning_levels or ())
        return images | ({"efforts": efforts} if efforts else {})
