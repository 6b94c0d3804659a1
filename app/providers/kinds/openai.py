"""OpenAI's API and compatible servers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar
from urllib.parse import quote, urlsplit, urlunsplit

from app.credentials.credential import Credential, CredentialSource
from app.providers.profiles import profile_of
from app.providers.provider import Operation, Provider, UpstreamRequest
from app.settings import ProviderSettings
from app.transport import Transport

# Operations that a server offers in either dialect.
COMMON: Mapping[Operation, str] = {"models": "/models", "completions": "/completions", "embeddings": "/embeddings"}
PATHS: dict[str, Mapping[Operation, str]] = {
    "openai_chat": {"generate": "/chat/completions", **COMMON},
    "openai_responses": {
        "generate": "/responses",
        "responses": "/responses",
        "count_tokens": "/responses/input_tokens",
        "compact": "/responses/compact",
        **COMMON,
    },
}

# The path prefix of an API, for base URLs that name only a host.
BEGINNINGS = {
    "openai": "/v1",
    "openrouter": "/api/v1",
    "vllm": "/v1",
    "ollama": "/v1",
    "llamacpp": "/v1",
    "lmstudio": "/v1",
    "kimi": "/v1",
    "mistral": "/v1",
    "generic": "/v1",
}
# The API version for Azure deployments that set none.
AZURE_VERSION = "2024-10-21"

# Headers of an OpenAI client that are passed to the same vendor and belong to no account.
PASSED_HEADERS = ("openai-beta", "x-client-request-id")
# These are passed only with the client's own key: they refer to its account, and under a shared key two clients with
# the same idempotency key would get one answer.
ACCOUNT_HEADERS = ("openai-organization", "openai-project", "idempotency-key")

# What GitHub Copilot asks of a request: whether it shows images, which it refuses otherwise, and whether it begins a
# turn, which it bills, or continues one after calls. The last mark decides; further text beside results does not.
_IMAGE = re.compile(rb'"type"\s*:\s*"(?:image_url|input_image)"')
_ANSWER_OR_RESULT = re.compile(
    rb'"role"\s*:\s*"(?:assistant|(tool))"|"type"\s*:\s*"(?:function|custom_tool)_call(?:(_output))?"'
)


class OpenAIProvider(Provider):
    kind: ClassVar[str] = "openai"
    lists_decide: ClassVar[bool] = True
    has_wider_api: ClassVar[bool] = True
    default_base_url: ClassVar[str] = "https://api.openai.com/v1"

    def __init__(
        self, name: str, settings: ProviderSettings, source: CredentialSource | None, transport: Transport
    ) -> None:
        super().__init__(name, settings, source, transport)
        parts = urlsplit(self.base_url)
        self.profile = settings.profile or profile_of(self.base_url)
        self.same_headers = self.profile != "copilot"
        self.base_url = urlunsplit(parts._replace(path=self._beginning(parts.path), query=""))
        self._query = parts.query

    @property
    def is_classic_azure(self) -> bool:
        return self.profile == "azure" and not self.base_url.endswith("/v1")

    def url(self, operation: Operation, model: str) -> str:
        base, query = self.base_url, self._query
        if self.is_classic_azure:
            query = query or f"api-version={self.settings.api_version or AZURE_VERSION}"
            if "/deployments/" not in base:
                base = base.removesuffix("/openai") + "/openai"
                base += "" if operation == "models" else f"/deployments/{quote(model, safe='')}"
        return base + PATHS[self.dialect][operation] + (f"?{query}" if query else "")

    def _beginning(self, path: str) -> str:
        """The path before the operations, for a base URL that may name only a host, or the path of an operation."""
        if not path:
            return BEGINNINGS.get(self.profile, "")
        return path.removesuffix(PATHS[self.dialect]["generate"])

    def offers(self, operation: Operation) -> bool:
        return operation in PATHS[self.dialect]

    def request_headers(self, upstream_request: UpstreamRequest) -> dict[str, str]:
        headers = super().request_headers(upstream_request)
        if upstream_request.same_dialect:
            client = upstream_request.client_headers
            passed = PASSED_HEADERS if self.source is not None else (*PASSED_HEADERS, *ACCOUNT_HEADERS)
            headers.update({name: client[name] for name in passed if name in client})
        if self.profile == "copilot":
            headers.update(_describe_to_copilot(upstream_request.body))
        return headers

    def auth_headers(self, credential: Credential | None, client_headers: Mapping[str, str]) -> dict[str, str]:
        if credential is not None and self.is_classic_azure:
            return {"api-key": credential.secret}
        return super().auth_headers(credential, client_headers)


def _describe_to_copilot(body: bytes) -> dict[str, str]:
    marks = [any(mark) for mark in _ANSWER_OR_RESULT.findall(body)]
    headers = {"x-initiator": "agent" if marks and marks[-1] else "user"}
    return headers | ({"copilot-vision-request": "true"} if _IMAGE.search(body) else {})
