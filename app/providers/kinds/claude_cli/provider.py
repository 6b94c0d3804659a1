"""Runs the Claude program on this machine, with the program's own login."""

from __future__ import annotations

import os
import shutil
import time
import weakref
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from app.conversation.blocks import DialectName
from app.conversation.capabilities import Capabilities
from app.credentials.credential import Credential, CredentialSource, find_remedy
from app.errors import InvalidRequest, ProgramUnavailable
from app.logs import hide_secrets
from app.permissions.prompt import SERVER
from app.providers.catalogue import Model
from app.providers.kinds.anthropic import AnthropicProvider
from app.providers.kinds.claude_cli.early_programs import EarlyPrograms
from app.providers.kinds.claude_cli.exchange import ProgramExchange
from app.providers.kinds.claude_cli.held_order import HeldOrder, read_held_order, read_servers
from app.providers.kinds.claude_cli.held_output import HeldOutput
from app.providers.kinds.claude_cli.order import Order, inherit, write_order
from app.providers.kinds.claude_cli.output import Output
from app.providers.kinds.claude_cli.places import Places, own_config
from app.providers.profiles import capabilities_for
from app.providers.provider import Operation, Provider, UpstreamRequest
from app.settings import ProviderSettings, data_folder
from app.transport import Exchange, Transport
from app.transport.process import Process, make_folder
from app.transport.provider_queue import ProviderQueue

# How the program differs from the API behind it. It sets `metadata` itself, to tell the vendor which program asks.
LIMITS: dict[str, Any] = {
    "stream_only": True,
    "user_field": "none",
    "refused_fields": ("metadata",),
}


class ClaudeCliProvider(Provider):
    kind: ClassVar[str] = "claude_cli"
    asks_people: ClassVar[bool] = True
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
        self._queue = ProviderQueue(settings.max_processes)
        self._early = EarlyPrograms(settings.warm_programs)
        weakref.finalize(self, self._early.end)
        self._has_own_tools = settings.tools == "own"
        self._places = Places(
            data_folder() / "sessions" / name,
            Path(settings.folder).expanduser() if settings.folder else None,
            own_config(os.environ) if source is None else None,
            settings.session_minutes * 60.0,
            settings.max_sessions,
        )

    @property
    def dialect(self) -> DialectName:
        return "anthropic_messages"

    def find_capabilities(self, model: str) -> Capabilities:
        # The client's tools work only if the program's own do not run.
        quirks = {**LIMITS, "tools": self.settings.tools == "client", **self.settings.quirks}
        # The program speaks an older version of the API, without the vendor-only fields.
        return capabilities_for(self.dialect, self.base_url, model, self.settings.profile, quirks, first_party=False)

    def send(self, upstream_request: UpstreamRequest, credential: Credential | None) -> Exchange:
        """Returns an exchange whose program starts only when its answer is awaited and its turn has come."""
        # A program inherits the environment of this process, not settings.
        environ = inherit(os.environ)
        secrets = (credential.secret if credential is not None else "", environ.get("CLAUDE_CODE_OAUTH_TOKEN", ""))
        say = partial(self._say, secrets)
        program = (self._find_program(environ), *self._command[1:])
        if self._has_own_tools or upstream_request.session_mounted:
            held = self._read_held(program, upstream_request, credential)
            start = partial(self._start_held, held, upstream_request, environ)
            return self._open(start, upstream_request, say, HeldOutput(self.settings.tool_activity))
        order = write_order(
            program,
            environ,
            upstream_request.model,
            upstream_request.body,
            betas=_join_betas(upstream_request),
            headers=self.settings.headers,
            base_url=self.settings.base_url,
            credential=credential,
        )
        return self._open(partial(self._start, order), upstream_request, say, Output())

    def _open(
        self, start: Callable[[], Process], upstream_request: UpstreamRequest, say: Callable[[str], str], output: Output
    ) -> ProgramExchange:
        return ProgramExchange(start, self._queue, upstream_request.tenant, self.limits, say, output)

    def _start(self, order: Order) -> Process:
        process = self._early.take(order) or Process(order.command())
        self._early.prepare(order)
        return process

    def _read_held(
        self, program: tuple[str, ...], upstream_request: UpstreamRequest, credential: Credential | None
    ) -> HeldOrder:
        servers = read_servers(self.settings.mcp_config)
        if self.permission_prompt is not None:
            servers[SERVER] = self.permission_prompt.describe(upstream_request.tenant, time.time())
        held = read_held_order(
            program,
            upstream_request.model,
            upstream_request.body,
            settings=self.settings,
            betas=_join_betas(upstream_request),
            credential=credential,
            mcp_servers=servers,
        )
        if held.options.cwd is not None and upstream_request.session_mounted:
            raise InvalidRequest("cwd: a session keeps its folder", param="cwd")
        return held

    def _start_held(self, held: HeldOrder, upstream_request: UpstreamRequest, environ: Mapping[str, str]) -> Process:
        folder = make_folder()
        name = upstream_request.session if upstream_request.session_mounted else None
        try:
            place = self._places.enter(upstream_request.tenant, name) if name else self._places.single(folder)
            if held.options.cwd is not None:
                place.work = Path(held.options.cwd)
            try:
                return Process(held.write(place, folder, environ), folder, place.leave)
            except BaseException:
                place.leave()
                raise
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def fetch_models(self) -> list[Model]:
        """The vendor's models; the program lists none."""
        return [Model(id=name, owned_by=self.name) for name in self.known_models]

    def _find_program(self, environ: Mapping[str, str]) -> str:
        name = self._command[0]
        found = shutil.which(name, path=environ.get("PATH"))
        if found is None:
            raise ProgramUnavailable(
                f"upstream {self.name}: the program {name} was not found. Install Claude Code where the gateway runs, "
                f"or name it in providers.{self.name}.command"
            )
        return os.path.abspath(found)

    def _say(self, secrets: tuple[str, ...], words: str) -> str:
        for secret in secrets:
            words = words.replace(secret, "[credential]") if secret else words
        message = f"the Claude program of upstream {self.name}: {hide_secrets(words)}"
        return f"{message.rstrip('. ')}. {find_remedy(self.kind)}" if "/login" in words else message


def _join_betas(upstream_request: UpstreamRequest) -> str:
    """The betas that a body needs, and those requested by a client of the same dialect."""
    lines = [upstream_request.headers.get("anthropic-beta", "")]
    if upstream_request.same_dialect:
        lines.append(upstream_request.client_headers.get("anthropic-beta", ""))
    return ",".join(dict.fromkeys(beta.strip() for line in lines for beta in line.split(",") if beta.strip()))
