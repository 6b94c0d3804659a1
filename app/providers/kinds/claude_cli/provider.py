"""The provider that asks the Claude program on this machine, with the login that the program has."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

from app.conversation.blocks import DialectName
from app.conversation.capabilities import Capabilities
from app.credentials.credential import Credential, CredentialSource, find_remedy
from app.errors import ProgramUnavailable
from app.logs import hide_secrets
from app.providers.kinds.anthropic import AnthropicProvider
from app.providers.kinds.claude_cli.exchange import ProgramExchange
from app.providers.kinds.claude_cli.order import inherit, write_order
from app.providers.profiles import capabilities_for
from app.providers.provider import Model, Operation, Provider, UpstreamRequest
from app.settings import ProviderSettings
from app.transport import Exchange, Transport
from app.transport.process import Process

# How the program differs from the API behind it. `metadata` is its own: it tells the vendor which program asks.
LIMITS: dict[str, Any] = {
    "stream_only": True,
    "user_field": "none",
    "refused_fields": ("metadata",),
}


class ClaudeCliProvider(Provider):
    kind: ClassVar[str] = "claude_cli"
    default_base_url: ClassVar[str] = AnthropicProvider.default_base_url
    known_models: ClassVar[tuple[str, ...]] = AnthropicProvider.known_models
    paths: ClassVar[Mapping[Operation, str]] = {"generate": "/v1/messages"}

    @property
    def bills(self) -> bool:
        return False

    def __init__(
        self, name: str, settings: ProviderSettings, source: CredentialSource | None, transport: Transport
    ) -> None:
        super().__init__(name, settings, source, transport)
        self._command = settings.command or ("claude",)
        self._slots = threading.BoundedSemaphore(settings.max_processes)

    @property
    def dialect(self) -> DialectName:
        return "anthropic_messages"

    def find_capabilities(self, model: str) -> Capabilities:
        quirks = {**LIMITS, **self.settings.quirks}
        # The program speaks the older version of the API, which takes no fields for the vendor alone.
        return capabilities_for(self.dialect, self.base_url, model, self.settings.profile, quirks, first_party=False)

    def send(self, upstream_request: UpstreamRequest, credential: Credential | None) -> Exchange:
        """Nothing runs yet: the program starts when somebody waits for its answer and it may."""
        # What a program inherits is the environment of this process, not a setting.
        environ = inherit(os.environ)
        command = write_order(
            (self._find_program(environ), *self._command[1:]),
            environ,
            upstream_request.model,
            upstream_request.body,
            betas=_join_betas(upstream_request),
            headers=self.settings.headers,
            base_url=self.settings.base_url,
            credential=credential,
        )
        secrets = (credential.secret if credential is not None else "", environ.get("CLAUDE_CODE_OAUTH_TOKEN", ""))
        return ProgramExchange(partial(Process, command), self._slots, self.limits, partial(self._say, secrets))

    def fetch_models(self) -> list[Model]:
        """The program has no list; these are the vendor's."""
        return [Model(id=name, owned_by=self.name) for name in self.known_models]

    def _find_program(self, environ: Mapping[str, str]) -> str:
        name = self._command[0]
        found = shutil.which(name, path=environ.get("PATH"))
        if found is None:
            raise ProgramUnavailable(
                f"upstream {self.name}: there is no program {name} to run. Install Claude Code where the gateway runs, "
                f"or name it in providers.{self.name}.command"
            )
        return os.path.abspath(found)

    def _say(self, secrets: tuple[str, ...], words: str) -> str:
        for secret in secrets:
            words = words.replace(secret, "[credential]") if secret else words
        said = f"the Claude program of upstream {self.name}: {hide_secrets(words)}"
        return f"{said.rstrip('. ')}. {find_remedy(self.kind)}" if "/login" in words else said


def _join_betas(upstream_request: UpstreamRequest) -> str:
    """The betas that a body needs, and those that a client of the same dialect has asked for."""
    lines = [upstream_request.headers.get("anthropic-beta", "")]
    if upstream_request.same_dialect:
        lines.append(upstream_request.client_headers.get("anthropic-beta", ""))
    return ",".join(dict.fromkeys(beta.strip() for line in lines for beta in line.split(",") if beta.strip()))
