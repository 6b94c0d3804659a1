"""This file is the provider for OpenAI and for any server that is compatible with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from app.credentials.credential import Credential
from app.providers.provider import Operation, Outgoing, Provider

# What a server has whatever dialect it is asked in.
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

# Headers of an OpenAI client that the same vendor understands and that hold no credential.
PASSED_HEADERS = ("openai-organization", "openai-project", "openai-beta", "x-client-request-id", "idempotency-key")


class OpenAIProvider(Provider):
    kind: ClassVar[str] = "openai"
    default_base_url: ClassVar[str] = "https://api.openai.com/v1"

    @property
    def is_classic_azure(self) -> bool:
        return self.settings.profile == "azure" and not self.base_url.endswith("/v1")

    def url(self, operation: Operation, model: str) -> str:
        paths = PATHS[self.dialect]
        path = paths[operation]
        if self.is_classic_azure:
            version = self.settings.api_version or "2024-10-21"
            place = "" if operation == "models" else f"/deployments/{model}"
            base = self.base_url.removesuffix("/openai")
            return f"{base}/openai{place}{path}?api-version={version}"
        return self.base_url.removesuffix(paths["generate"]) + path

    def offers(self, operation: Operation) -> bool:
        return operation in PATHS[self.dialect]

    def request_headers(self, outgoing: Outgoing) -> dict[str, str]:
        headers = super().request_headers(outgoing)
        if outgoing.same_dialect:
            client = outgoing.client_headers
            headers.update({name: client[name] for name in PASSED_HEADERS if name in client})
        return headers

    def auth_headers(self, credential: Credential | None, client_headers: Mapping[str, str]) -> dict[str, str]:
        if credential is not None and self.is_classic_azure:
            return {"api-key": credential.secret}
        return super().auth_headers(credential, client_headers)
