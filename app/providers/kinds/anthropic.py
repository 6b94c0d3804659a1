"""Anthropic's API and compatible servers."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import ClassVar
from urllib.parse import quote

import msgspec

from app.conversation.blocks import DialectName
from app.credentials.credential import Credential
from app.dialects.refused_fields import taken_betas
from app.errors import DragomanError, Failure
from app.json_values import decode_or_none
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

# Words in which the vendor refuses a login that another program uses; and what is left to its user. Its bare "Error"
# says no more.
LOGIN_REFUSALS = (
    "oauth authentication is currently not supported",
    "third-party apps",
    "out of extra usage",
    "only authorized for use with claude code",
)
LOGIN_REMEDY = (
    "Anthropic restricts what a login of Claude Code may be used for: use an API key (ANTHROPIC_API_KEY), or send such "
    'requests through the claude program (a provider of kind = "claude_cli")'
)
# Pages of a list of models that are read.
MAX_PAGES = 10


class AnthropicProvider(Provider):
    kind: ClassVar[str] = "anthropic"
    lists_decide: ClassVar[bool] = True
    has_wider_api: ClassVar[bool] = True
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

    def explain(self, failure: Failure) -> Failure:
        failure = super().explain(failure)
        said = failure.message.lower()
        if said != "error" and not any(words in said for words in LOGIN_REFUSALS):
            return failure
        with suppress(DragomanError):
            if self.source is not None and self.source.snapshot().access_token is not None:
                message = f"{failure.message.rstrip('. ')}. {LOGIN_REMEDY}"
                return msgspec.structs.replace(failure, message=message)
        return failure

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
            for page in self._fetch_pages()
            for entry in read_entries(page, _ListedModel)
        ]

    def _fetch_pages(self) -> Iterator[bytes]:
        url = after = f"{self.url('models', '')}?limit=1000"
        for _ in range(MAX_PAGES):
            body = self.fetch_json(after)
            yield body
            page = decode_or_none(body, _page_decoder)
            if page is None or not page.has_more or not page.last_id:
                return
            after = f"{url}&after_id={quote(page.last_id, safe='')}"


class _Page(msgspec.Struct):
    has_more: bool = False
    last_id: str | None = None


_page_decoder = msgspec.json.Decoder(_Page)


class _ListedModel(msgspec.Struct):
    id: str
    display_name: str | None = None
    created_at: datetime.datetime | None = None
    max_input_tokens: int | None = None
    max_tokens: int | None = None
