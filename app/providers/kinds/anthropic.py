"""Anthropic's API and compatible servers."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import ClassVar

import msgspec

from app.conversation.blocks import DialectName
from app.credentials.credential import Credential
from app.dialects.refused_fields import taken_betas
from app.providers.catalogue import Model
from app.providers.listings import read_entries, stated
from app.providers.provider import Operation, Provider, UpstreamRequest

DEFAULT_VERSION = "2023-06-01"
# Without this beta the vendor refuses a login's access token.
OAUTH_BETA = "oauth-2025-04-20"

# What Anthropic's own clients say about themselves; useful only to Anthropic.
FIRST_PARTY_HEADERS = ("x-app", "anthropic-dangerous-direct-browser-access", "x-claude-code-session-id")
FIRST_PARTY_PREFIXES = ("x-stainless-", "x-claude-code-")
# Other `anthropic-*` headers may belong to an account and are sent only with the client's own key.
PASSED_HEADERS = ("anthropic-version", "anthropic-beta")


class AnthropicProvider(Provider):
    kind: ClassVar[str] = "anthropic"
    lists_decide: ClassVar[bool] = True
    default_base_url: ClassVar[str] = "https://api.anthropic.com"
    known_models: ClassVar[tuple[str, ...]] = ("claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5")
    paths: ClassVar[Mapping[Operation, str]] = {
        "generate": "/v1/messages",
        "count_tokens": "/v1/messages/count_tokens",
        "models": "/v1/models",
    }

    @property
    def dialect(self) -> DialectName:
        return "anthropic_messages"

    def request_headers(self, upstream_request: UpstreamRequest) -> dict[str, str]:
        headers = super().request_headers(upstream_request)
        headers["anthropic-version"] = DEFAULT_VERSION
        if not upstream_request.same_dialect:
            return headers
        for name, value in upstream_request.client_headers.items():
            own = name in FIRST_PARTY_HEADERS or name.startswith(FIRST_PARTY_PREFIXES)
            if own:
                passed = self.is_vendor
            else:
                passed = name in PASSED_HEADERS or (self.source is None and name.startswith("anthropic-"))
            if passed:
                headers[name] = value
        return headers

    def headers(self, upstream_request: UpstreamRequest, credential: Credential | None) -> dict[str, str]:
        headers = super().headers(upstream_request, credential)
        betas = [upstream_request.client_headers.get("anthropic-beta", "")] if upstream_request.same_dialect else []
        betas.append(upstream_request.headers.get("anthropic-beta", ""))
        if credential is not None and credential.access_token is not None:
            betas.append(OAUTH_BETA)
        named = dict.fromkeys(beta.strip() for line in betas for beta in line.split(",") if beta.strip())
        headers.pop("anthropic-beta", None)
        if taken := taken_betas(named, upstream_request.refused):
            headers["anthropic-beta"] = ",".join(taken)
        return headers

    def auth_headers(self, credential: Credential | None, client_headers: Mapping[str, str]) -> dict[str, str]:
        if credential is None:
            if self.settings.auth == "configured" or not (self.is_vendor or self.settings.auth == "passthrough"):
                return {}
            # Only one of the two: the vendor prefers the key.
            shown = next((name for name in ("x-api-key", "authorization") if name in client_headers), None)
            return {shown: client_headers[shown]} if shown is not None else {}
        if credential.api_key is not None:
            return {"x-api-key": credential.api_key}
        return {"authorization": f"Bearer {credential.access_token}"}

    def fetch_models(self) -> list[Model]:
        return [
            Model(
                id=entry.id,
                owned_by=self.name,
                display_name=entry.display_name,
                created=int(entry.created_at.timestamp()) if entry.created_at else 0,
                context_window=stated(entry.max_input_tokens),
                max_output=stated(entry.max_tokens),
            )
            for entry in read_entries(self.fetch_json(self.url("models", "") + "?limit=1000"), _ListedModel)
        ]


class _ListedModel(msgspec.Struct):
    id: str
    display_name: str | None = None
    created_at: datetime.datetime | None = None
    max_input_tokens: int | None = None
    max_tokens: int | None = None
