"""This file is the provider for Oracle Code Assist: a LiteLLM proxy behind an Oracle identity domain.

There is no public reference. What its clients show: it answers streams only, its catalogue says what each model can
take, and every request carries an `opc-request-id` that Oracle's support can look up.
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
from app.errors import Failure
from app.providers.profiles import capabilities_for
from app.providers.provider import Model, Operation, Outgoing, Provider
from app.settings import ProviderSettings
from app.transport import Transport

BASE_URLS = {
    "internal": "https://code-internal.aiservice.us-chicago-1.oci.oraclecloud.com/20250206/app/litellm",
    "external": "https://code.aiservice.us-chicago-1.oci.oraclecloud.com/20250206/app/litellm",
}

CHAT = "CHAT_COMPLETIONS"
RESPONSES = "RESPONSES"

REMEDIES = {
    403: "the account has no access; ask whether it was set up through entitlements",
    500: "a fault of the service; check the model's name or try again later",
}


class OCAProvider(Provider):
    kind: ClassVar[str] = "oca"
    paths: ClassVar[Mapping[Operation, str]] = {"generate": "/chat/completions", "models": "/v1/model/info"}

    def __init__(
        self, name: str, settings: ProviderSettings, source: CredentialSource | None, transport: Transport
    ) -> None:
        super().__init__(name, settings, source, transport)
        self._entries: list[_Entry] = []

    @property
    def dialect(self) -> DialectName:
        return "openai_chat"

    def url(self, operation: Operation, model: str) -> str:
        base = self.base_url or BASE_URLS[self.settings.mode or "internal"]
        return base.removesuffix("/v1") + self.paths[operation]

    def find_capabilities(self, model: str) -> Capabilities:
        """The profile's, sharpened by what the catalogue says of this model."""
        return capabilities_for(
            self.dialect,
            self.base_url,
            self.listed_name(model),
            profile=self.settings.profile or "oca",
            quirks=self.settings.quirks,
            limits=self._limits(model),
        )

    def request_headers(self, outgoing: Outgoing) -> dict[str, str]:
        headers = super().request_headers(outgoing)
        headers.update(
            {
                "client": "dragoman",
                "client-version": "1",
                "client-ide": "dragoman",
                "client-ide-version": "n/a",
            }
        )
        return headers

    def headers(self, outgoing: Outgoing, credential: Credential | None) -> dict[str, str]:
        token = credential.secret if credential is not None else ""
        request_id = make_request_id(
            token, outgoing.session or outgoing.model, int(time.time()), secrets.token_bytes(4)
        )
        return {"opc-request-id": request_id, **super().headers(outgoing, credential)}

    def explain(self, failure: Failure) -> Failure:
        status = 401 if failure.kind == "upstream_auth" else failure.status
        remedy = f" ({REMEDIES[status]})" if status in REMEDIES else ""
        return msgspec.structs.replace(failure, message=f"Oracle error: {status}: {failure.message}{remedy}")

    def listed_name(self, model: str) -> str:
        """The id exactly as the catalogue lists it: some entries lack the prefix `oca/`, and must be sent without."""
        catalogue = self.catalogue()
        for name in (model, f"oca/{model}", model.removeprefix("oca/")):
            if name in catalogue:
                return name
        return model if "/" in model else f"oca/{model}"

    def fetch_models(self) -> list[Model]:
        try:
            self._entries = _catalogue_decoder.decode(self.fetch_json(self.url("models", ""))).data
        except msgspec.MsgspecError:
            self._entries = []
        return [
            Model(
                id=entry.id,
                owned_by="oca",
                display_name=entry.model_name or None,
                context_window=entry.model_info.context_window or None,
                max_output=entry.model_info.max_output_tokens or None,
            )
            for entry in self._entries
        ]

    def _limits(self, model: str) -> dict[str, object]:
        """What the catalogue states of a model, as fields of Capabilities; zero there means unknown."""
        name = self.listed_name(model)
        entry = next((entry for entry in self._entries if entry.id == name), None)
        if entry is None:
            return {}
        info = entry.model_info
        limit = info.max_output_tokens or entry.litellm_params.max_tokens or 0
        stated: dict[str, object] = {
            "max_output": limit if limit > 0 else None,
            "context_window": info.context_window or None,
            "efforts": tuple(info.reasoning_effort_options or ()) or None,
            "images": info.supports_vision,
        }
        return {field: value for field, value in stated.items() if value is not None}


def make_request_id(token: str, task: str, now: int, random: bytes) -> str:
    """32 hex digits: the beginnings of the hashes of token and task, the time in seconds, four random bytes."""
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
    max_output_tokens: int | None = None
    supports_vision: bool | None = None
    reasoning_effort_options: list[str] | None = None
    supported_api_list: list[str] | None = None


class _Entry(msgspec.Struct):
    litellm_params: _Params = msgspec.field(default_factory=_Params)
    model_info: _Info = msgspec.field(default_factory=_Info)
    model_name: str | None = None

    @property
    def id(self) -> str:
        return self.litellm_params.model or self.model_name or ""


class _Catalogue(msgspec.Struct):
    data: list[_Entry] = []


_catalogue_decoder = msgspec.json.Decoder(_Catalogue, strict=False)
