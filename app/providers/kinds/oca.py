"""Oracle Code Assist: a LiteLLM proxy behind an Oracle identity domain.

There is no public reference. Its clients show this: it answers streams only, its catalogue states each model's
capabilities, and every request carries an `opc-request-id` that Oracle's support can look up.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Mapping
from typing import ClassVar

import msgspec

from app.conversation.blocks import DialectName
from app.conversation.capabilities import Capabilities
from app.credentials.credential import Credential, CredentialSource
from app.errors import Failure, ListRefused
from app.providers.catalogue import Model
from app.providers.kinds.anthropic import DEFAULT_VERSION
from app.providers.listings import read_entries, stated
from app.providers.profiles import capabilities_for
from app.providers.provider import Operation, Provider, UpstreamRequest
from app.settings import ProviderSettings
from app.transport import Transport

BASE_URLS = {
    "internal": "https://code-internal.aiservice.us-chicago-1.oci.oraclecloud.com/20250206/app/litellm",
    "external": "https://code.aiservice.us-chicago-1.oci.oraclecloud.com/20250206/app/litellm",
}

# The catalogue's names for the dialects, and the path of each; the first that a model lists is spoken.
APIS: dict[DialectName, str] = {
    "openai_chat": "CHAT_COMPLETIONS",
    "openai_responses": "RESPONSES",
    "anthropic_messages": "MESSAGES",
}
PATHS: dict[DialectName, str] = {
    "openai_chat": "/chat/completions",
    "openai_responses": "/responses",
    "anthropic_messages": "/v1/messages",
}

REMEDIES = {
    403: "the account has no access; ask whether it was set up through entitlements",
    500: "a fault of the service; check the model's name or try again later",
}


class OCAProvider(Provider):
    kind: ClassVar[str] = "oca"
    lists_decide: ClassVar[bool] = True
    paths: ClassVar[Mapping[Operation, str]] = {
        "generate": PATHS["openai_chat"],
        "models": "/v1/model/info",
        "embeddings": "/embeddings",
    }

    def __init__(
        self, name: str, settings: ProviderSettings, source: CredentialSource | None, transport: Transport
    ) -> None:
        super().__init__(name, settings, source, transport)
        self.base_url = self.base_url or BASE_URLS[settings.mode or "internal"]
        self._entries: dict[str, _Entry] = {}

    def url(self, operation: Operation, model: str) -> str:
        base = self.base_url.removesuffix(PATHS["openai_chat"]).removesuffix("/v1")
        return base + (PATHS[self.capabilities(model).dialect] if operation == "generate" else self.paths[operation])

    def capabilities(self, model: str) -> Capabilities:
        if not self._entries:
            # Without the catalogue no limit is known, so an upstream that was down is asked again.
            self.catalogue.read()
        return super().capabilities(model)

    def find_capabilities(self, model: str) -> Capabilities:
        """The profile's capabilities, refined by the catalogue's entry for this model."""
        name = self.listed_name(model)
        entry = self._entries.get(name, _Entry())
        return capabilities_for(
            self._choose_dialect(entry),
            self.base_url,
            name,
            profile=self.settings.profile or "oca",
            quirks=self.settings.quirks,
            limits=entry.limits(),
        )

    same_headers = False  # each request has an id of its own

    def request_headers(self, upstream_request: UpstreamRequest) -> dict[str, str]:
        headers = {
            **super().request_headers(upstream_request),
            "client": "dragoman",
            "client-version": "1",
            "client-ide": "dragoman",
            "client-ide-version": "n/a",
        }
        if self.capabilities(upstream_request.model).dialect == "anthropic_messages":
            headers["anthropic-version"] = DEFAULT_VERSION
        return headers

    def headers(self, upstream_request: UpstreamRequest, credential: Credential | None) -> dict[str, str]:
        token = credential.secret if credential is not None else ""
        request_id = make_request_id(
            token, upstream_request.session or upstream_request.model, int(time.time()), secrets.token_bytes(4)
        )
        return {"opc-request-id": request_id, **super().headers(upstream_request, credential)}

    def explain(self, failure: Failure) -> Failure:
        status = 401 if failure.kind == "upstream_auth" else failure.status
        if not status or failure.kind == "unreachable":
            return failure
        remedy = f" ({REMEDIES[status]})" if status in REMEDIES else ""
        return msgspec.structs.replace(failure, message=f"Oracle error: {status}: {failure.message}{remedy}")

    def listed_name(self, model: str) -> str:
        """The id exactly as the catalogue lists it: some entries lack the prefix `oca/` and must be sent without it."""
        catalogue = self.catalogue.read()
        for name in (model, f"oca/{model}", model.removeprefix("oca/")):
            if name in catalogue:
                return name
        return model if "/" in model else f"oca/{model}"

    def public_name(self, model: str) -> str:
        """The name without `oca/` if the provider is called that; otherwise clients would see the prefix twice."""
        return model.removeprefix("oca/") if self.name == "oca" else model

    def fetch_models(self) -> list[Model]:
        listed = read_entries(self.fetch_json(self.url("models", "")), _Entry)
        self._entries = {entry.id: entry for entry in listed if entry.id}
        if not self._entries:
            raise ListRefused(f"its list of models is empty: {REMEDIES[403]}")
        return [
            Model(
                id=name,
                owned_by="oca",
                display_name=entry.model_name,
                context_window=entry.context_window,
                max_output=entry.max_output,
            )
            for name, entry in self._entries.items()
        ]

    def _choose_dialect(self, entry: _Entry) -> DialectName:
        """The configured dialect, or Chat, if the model is listed with it; otherwise the first dialect it is listed
        with."""
        wished = self.settings.dialect or "openai_chat"
        listed = entry.model_info.supported_api_list or [APIS["openai_chat"]]
        return next((dialect for dialect in (wished, *APIS) if APIS[dialect] in listed), wished)


def make_request_id(token: str, task: str, now: int, random: bytes) -> str:
    """32 hex digits: the first eight of the hashes of token and task, the time in seconds, four random bytes."""
    return (
        hashlib.sha256(token.encode()).hexdigest()[:8]
        + hashlib.sha256(task.encode()).hexdigest()[:8]
        + f"{now & 0xFFFFFFFF:08x}"
        + random.hex()
    )


class _Params(msgspec.Struct):
    model: str | None = None
    max_tokens: int | None = None


class _Info(msgspec.Struct):
    context_window: int | None = None
    max_input_tokens: int | None = None
    max_output_tokens: int | None = None
    max_tokens: int | None = None
    supports_vision: bool | None = None
    is_reasoning_model: bool | None = None
    reasoning_effort_options: list[str] | None = None
    supported_api_list: list[str] | None = None


class _Entry(msgspec.Struct):
    """One model of the catalogue."""

    litellm_params: _Params = msgspec.field(default_factory=_Params)
    model_info: _Info = msgspec.field(default_factory=_Info)
    model_name: str | None = None

    @property
    def id(self) -> str:
        return self.litellm_params.model or self.model_name or ""

    @property
    def context_window(self) -> int | None:
        return stated(self.model_info.context_window, self.model_info.max_input_tokens)

    @property
    def max_output(self) -> int | None:
        return stated(self.model_info.max_output_tokens, self.litellm_params.max_tokens, self.model_info.max_tokens)

    def limits(self) -> dict[str, object]:
        """What the catalogue states about the model, as fields of Capabilities."""
        fields: dict[str, object] = {
            "max_output": self.max_output,
            "context_window": self.context_window,
            "images": self.model_info.supports_vision,
            **self._reasoning(),
        }
        return {name: value for name, value in fields.items() if value is not None}

    def _reasoning(self) -> dict[str, object]:
        """The efforts that the model is listed with; none is sent to a model listed without any."""
        efforts = tuple(self.model_info.reasoning_effort_options or ())
        if efforts:
            return {"efforts": efforts, "reasoning_style": "effort"}
        offered_without = self.model_info.reasoning_effort_options == [] or self.model_info.is_reasoning_model is False
        return {"efforts": (), "reasoning_style": "none"} if offered_without else {}
