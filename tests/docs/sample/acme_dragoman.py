"""The provider for Acme's models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from app.conversation.blocks import DialectName
from app.conversation.capabilities import Capabilities
from app.credentials.credential import Credential
from app.providers.profiles import capabilities_for
from app.providers.provider import Operation, Provider, UpstreamRequest


class AcmeProvider(Provider):
    kind: ClassVar[str] = "acme"
    default_base_url: ClassVar[str] = "https://api.acme.example/v2"
    paths: ClassVar[Mapping[Operation, str]] = {"generate": "/chat/completions", "models": "/models"}

    @property
    def dialect(self) -> DialectName:
        return "openai_chat"

    def url(self, operation: Operation, model: str) -> str:
        return self.base_url + self.paths[operation]

    def find_capabilities(self, model: str) -> Capabilities:
        quirks = {"images": False, "seed": False, **self.settings.quirks}
        return capabilities_for(self.dialect, self.base_url, model, self.settings.profile, quirks)

    def request_headers(self, upstream_request: UpstreamRequest) -> dict[str, str]:
        return {**super().request_headers(upstream_request), "x-acme-version": "2"}

    def auth_headers(self, credential: Credential | None, client_headers: Mapping[str, str]) -> dict[str, str]:
        return {"x-acme-key": credential.secret} if credential is not None else {}
