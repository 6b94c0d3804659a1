"""The base class of all providers, with a default for everything."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import ClassVar, Literal
from urllib.parse import urlsplit

import msgspec

from app.conversation.blocks import DialectName
from app.conversation.capabilities import Capabilities
from app.credentials.credential import Credential, CredentialSource
from app.credentials.login_source import LoginSource
from app.credentials.pool import Cooldowns, CredentialPool
from app.credentials.static import StaticSource
from app.errors import (
    CredentialUnavailable,
    DragomanError,
    Failure,
    ListRefused,
    NotFound,
    UpstreamCut,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from app.permissions.prompt import PermissionPrompt
from app.providers.catalogue import Catalogue, Model
from app.providers.health import ProviderHealth
from app.providers.listings import in_seconds, read_entries, stated
from app.providers.names import bare_name, canonical_name
from app.providers.profiles import capabilities_for, profile_of
from app.providers.quirk_tables import Row, read_fields
from app.providers.quotas import CLAUDE_MARK, CODEX_MARK, read_quotas
from app.settings import Profile, ProviderSettings
from app.settings.network import split_login
from app.transport import Call, Exchange, Limits, PreparedCall, Transport
from app.transport.call import encode_fields, locate

log = logging.getLogger("dragoman")

Operation = Literal["generate", "count_tokens", "models", "responses", "compact", "completions", "embeddings"]

# Model names come from clients, so caches keyed by them are bounded.
MAX_CAPABILITIES = 4096
MAX_HEADS = 512
# The W3C headers that continue a trace.
TRACE_CONTEXT = ("traceparent", "tracestate")
# Minimum seconds between two renewals caused by a 403.
FORBIDDEN_RENEWAL = 3600.0
CATALOGUE_LIMITS = Limits(connect=2.0, first_byte=5.0, idle=5.0, total=8.0)
# Seconds to wait for upstreams' lists: Claude Code waits three seconds for the whole answer.
LISTING_LIMIT = 1.5


class UpstreamRequest(msgspec.Struct, frozen=True):
    """One request in the provider's dialect, ready to send.

    `headers` are those that the body needs; `client_headers` the client's own (lower-case names), of which a provider
    may pass on those meant for it. `session` names the client's session if it has one; `session_mounted` means that the
    path named it, which asks for a conversation kept by the provider. `tenant` is the tenant of the request.
    `may_resend` is called before the request is sent a second time because its kept connection had been closed.
    `refused` is what the upstream refuses, including betas.
    """

    operation: Operation
    model: str
    body: bytes
    headers: Mapping[str, str] = {}
    client_headers: Mapping[str, str] = {}
    same_dialect: bool = False
    stream: bool = False
    session: str | None = None
    session_mounted: bool = False
    tenant: str = ""
    may_resend: Callable[[], bool] | None = None
    refused: tuple[str, ...] = ()


class _PreparedHead(msgspec.Struct, frozen=True):
    """The URL and headers of requests, the latter also as bytes; the other fields are what they were derived from."""

    url: str
    headers: dict[str, str]
    head: bytes
    client_headers: Mapping[str, str]
    credential: Credential | None
    more: Mapping[str, str]


class Provider:
    """Base of all providers: a server that speaks HTTP.

    One object per entry of `[providers]`, for the lifetime of its configuration; shared by all threads and greenlets of
    a process. A kind of provider sets the class variables and overrides what is different, most often `url`,
    `request_headers`, `auth_headers`, `find_capabilities` and `fetch_models`. `source` is None if the provider needs no
    credential or passes on the client's own.

    The gateway relies on this: `capabilities`, `credential` and `headers` are called for each request and wait for no
    network except a renewal; only `send`, `reach`, `models` and `catalogue` ask the upstream, with time limits in
    seconds; errors are DragomanErrors, and none contains a secret.
    """

    kind: ClassVar[str] = ""
    default_base_url: ClassVar[str] = ""
    paths: ClassVar[Mapping[Operation, str]] = {}
    local: ClassVar[bool] = False
    # Whether its programs may ask people for permission.
    asks_people: ClassVar[bool] = False
    # Whether similar requests have the same URL and headers.
    same_headers: bool = True
    # Whether its list of models is fetched when a client names an otherwise unknown model.
    lists_decide: ClassVar[bool] = False
    has_wider_api: ClassVar[bool] = False  # files, batches and more, beside its models
    # Models of the vendor's own service, used if the list cannot be fetched.
    known_models: ClassVar[tuple[str, ...]] = ()
    rows: tuple[Row, ...] = ()  # the user's own rows of model capabilities
    # Where a program run by this provider asks for permission to use a tool.
    permission_prompt: PermissionPrompt | None = None

    def __init__(
        self, name: str, settings: ProviderSettings, source: CredentialSource | None, transport: Transport
    ) -> None:
        self.name = name
        self.settings = settings
        self.source = source
        self.transport = transport
        base_url, login = split_login(settings.base_url or self.default_base_url)
        self.base_url = base_url.rstrip("/")
        self.profile: Profile = settings.profile or profile_of(self.base_url)  # decides the server's quirks
        self.limits = Limits(
            connect=settings.connect_timeout,
            first_byte=settings.first_byte_timeout,
            idle=settings.idle_timeout,
            total=settings.total_timeout,
        )
        # Header names are compared in lower case, so a configured header replaces ours instead of being added to it.
        self._headers = {name.lower(): value for name, value in settings.headers.items()}
        if login is not None:
            self._headers.setdefault("authorization", login)
        self.health = ProviderHealth()
        # The same in all workers that have these settings. Python's own hash: OpenSSL's takes 0.8 MB of each worker.
        encoded = msgspec.json.encode(settings, enc_hook=str)
        self.mark = f"{name}/{hashlib.blake2b(encoded, digest_size=8).hexdigest()}"
        self._capabilities: dict[str, Capabilities] = {}
        self._heads: dict[tuple[object, ...], _PreparedHead] = {}
        self._forbidden: dict[str, Cooldowns] = {}  # by credential: how long a 403 causes no renewal
        self.catalogue = Catalogue(lambda: self.fetch_models(), self._note_listing)
        self._variants: tuple[Mapping[str, Model], dict[str, str]] | None = None

    @property
    def dialect(self) -> DialectName:
        """The dialect that its models speak unless their capabilities name another."""
        return self.settings.dialect or "openai_chat"

    @cached_property
    def bills(self) -> bool:
        """Whether tokens are billed individually; not so for subscription logins."""
        sources = (
            [each.source for each in self.source.members] if isinstance(self.source, CredentialPool) else [self.source]
        )
        return not all(isinstance(source, LoginSource) for source in sources)

    @property
    def is_vendor(self) -> bool:
        """Whether this is the vendor's own service rather than a compatible one."""
        return bool(self.default_base_url) and _host(self.base_url) == _host(self.default_base_url)

    def public_name(self, model: str) -> str:
        """The name of a model of this provider for clients, which write it after the provider's name."""
        return model

    def capabilities(self, model: str) -> Capabilities:
        """The capabilities of a model here, by its name at this provider. Computed once per model; any name gets an
        answer, because clients invent names. Raises nothing."""
        known = self._capabilities.get(model)
        if known is None:
            if len(self._capabilities) >= MAX_CAPABILITIES:
                self._capabilities.clear()
            known = self._capabilities[model] = self._with_window(model, self._with_rows(model))
        return known

    def _with_rows(self, model: str) -> Capabilities:
        """The capabilities from our tables, then the user's own rows, then the quirks of this provider."""
        found = self.find_capabilities(model)
        for row in self.rows:
            if row.applies(bare_name(found.model or model), found.dialect, self.profile):
                found = msgspec.structs.replace(found, **row.fields)
        return msgspec.structs.replace(found, **read_fields(self.settings.quirks, "quirks")) if self.rows else found

    def _with_window(self, model: str, found: Capabilities) -> Capabilities:
        """The capabilities with the context window from the settings, else from the capabilities, else from the
        upstream's list."""
        listed = self.catalogue.models.get(model)
        window = (
            self.settings.window_of(model)
            or found.context_window
            or (listed.context_window if listed is not None else None)
        )
        return found if window == found.context_window else msgspec.structs.replace(found, context_window=window)

    def find_capabilities(self, model: str) -> Capabilities:
        """The capabilities from our tables. A kind that knows more, for example from the upstream's list, overrides
        this; it must not ask the upstream here."""
        return capabilities_for(
            self.dialect,
            self.base_url,
            model,
            profile=self.settings.profile,
            quirks=self.settings.quirks,
        )

    @property
    def is_pooled(self) -> bool:
        """Whether it has several credentials, of which a conversation should keep to one."""
        return isinstance(self.source, CredentialPool)

    def credential(self, session: str | None = None, tenant: str = "") -> Credential | None:
        """The credential for one request of `tenant` and, if given, of a client's `session`, which a pool keeps at one
        account. None if the provider needs none. May wait for a renewal. Raises CredentialUnavailable."""
        if isinstance(self.source, CredentialPool):
            return self.source.choose(session or "", tenant)
        return self.source.snapshot() if self.source is not None else None

    def note_quotas(self, credential: Credential | None, headers: Mapping[str, str]) -> None:
        """Stores what an answer says about the account's quota windows."""
        if (CLAUDE_MARK in headers or CODEX_MARK in headers) and (windows := read_quotas(headers, time.time())):
            self.health.quotas[credential.name if credential is not None else ""] = windows

    def renew(self, failed: Credential | None, tenant: str = "", *, forbidden: bool = False) -> Credential | None:
        """A credential other than the one that the upstream refused; None if there is no other.

        `forbidden`: the credential was valid but not allowed (403). A stale token may be the cause, but mostly it is a
        rule that no new token changes. The store is then checked each time, but a token is spent only once per
        FORBIDDEN_RENEWAL for `tenant`, and for one more tenant. Raises CredentialUnavailable, which says why there is
        no other and what helps.
        """
        if self.source is None or failed is None:
            return None
        if forbidden:
            now, cooldowns = time.monotonic(), self._forbidden.setdefault(failed.name, Cooldowns())
            if cooldowns.until(tenant) > now:
                self.source.poll()
                fresh = self.credential(None, tenant)
                return fresh if fresh is not None and fresh.secret != failed.secret else None
            cooldowns.cool_down(tenant, now + FORBIDDEN_RENEWAL, now)
        fresh = self.source.refresh(failed)
        return fresh if fresh.secret != failed.secret else None

    def send(self, upstream_request: UpstreamRequest, credential: Credential | None) -> Exchange:
        """Sends a request without waiting for the reply. Returns an Exchange, which the caller must close. `credential`
        is the result of `credential` for this request. A failure before the request was sent raises an
        UpstreamError."""
        return self.transport.send(self._make_call(upstream_request, credential))

    def prepare(self, upstream_request: UpstreamRequest, credential: Credential | None) -> PreparedCall | None:
        """A call that sends requests which differ from this one only in their body; None if each must go through `send`
        or may need another credential."""
        settled = self.source is None or isinstance(self.source, StaticSource)
        if not (settled and self.same_headers) or type(self).send is not Provider.send:
            return None
        return self.transport.prepare(self._make_call(upstream_request, credential))

    def _make_call(self, upstream_request: UpstreamRequest, credential: Credential | None) -> Call:
        head = self._prepare_head(upstream_request, credential)
        body, may_resend = upstream_request.body, upstream_request.may_resend
        return Call("POST", head.url, head.headers, body, self.limits, may_resend, head.head)

    def _prepare_head(self, upstream_request: UpstreamRequest, credential: Credential | None) -> _PreparedHead:
        """URL and headers, cached because they are the same for most requests of a client to a model."""
        client = upstream_request.client_headers
        place = (
            upstream_request.operation,
            upstream_request.model,
            upstream_request.stream,
            upstream_request.same_dialect,
            upstream_request.session,
            upstream_request.refused,
            id(client),
        )
        prepared = self._heads.get(place)
        if (
            prepared is not None
            and prepared.client_headers is client
            and prepared.credential is credential
            and prepared.more == upstream_request.headers
        ):
            return prepared
        url = self.url(upstream_request.operation, upstream_request.model)
        headers = self.headers(upstream_request, credential)
        head = encode_fields("POST", locate(url), headers)
        prepared = _PreparedHead(url, headers, head, client, credential, upstream_request.headers)
        if self.same_headers:
            if len(self._heads) >= MAX_HEADS:
                self._heads.clear()
            self._heads[place] = prepared
        return prepared

    def reach(self, method: str, path: str, query: str) -> Exchange:
        """Sends a request about a response stored by the upstream; `path` and `query` follow the collection's URL.
        Raises DragomanError."""
        if any(step in (".", "..") for step in path.split("/")):
            raise NotFound("no id is called so")  # such a path would leave the collection
        url, _, version = self.url("responses", "").partition("?")
        asked = "&".join(part for part in (version, query) if part)
        headers = {"accept": "application/json", "user-agent": "dragoman", **self._headers}
        headers.update(self.auth_headers(self.credential(), {}))
        url += path + (f"?{asked}" if asked else "")
        return self.transport.send(Call(method, url, headers, b"", self.limits))

    def headers(self, upstream_request: UpstreamRequest, credential: Credential | None) -> dict[str, str]:
        """All headers of one request; configured headers may replace any except the credential."""
        headers = {"content-type": "application/json", **self.request_headers(upstream_request)}
        headers.update(upstream_request.headers)
        if self.settings.trace_context:
            client = upstream_request.client_headers
            headers.update({name: client[name] for name in TRACE_CONTEXT if name in client})
        headers.update(self._headers)
        headers.update(self.auth_headers(credential, upstream_request.client_headers))
        return headers

    def url(self, operation: Operation, model: str) -> str:
        """The URL of an operation. A base URL may already end with the path or its version."""
        path = self.paths[operation]
        version = f"/{path.split('/', 2)[1]}"
        return self.base_url.removesuffix(self.paths["generate"]).removesuffix(version) + path

    def request_headers(self, upstream_request: UpstreamRequest) -> dict[str, str]:
        """The headers that this provider requires, without authentication. Names in lower case."""
        return {
            "user-agent": "dragoman",
            "accept": "text/event-stream" if upstream_request.stream else "application/json",
        }

    def auth_headers(self, credential: Credential | None, client_headers: Mapping[str, str]) -> dict[str, str]:
        """The headers of `credential`; if there is none and `auth = "passthrough"`, those of the client's own key."""
        if credential is not None:
            return {"authorization": f"Bearer {credential.secret}"}
        if self.settings.auth != "passthrough":
            return {}
        shown = client_headers.get("authorization")
        if shown is None and (key := client_headers.get("x-api-key") or client_headers.get("api-key")):
            shown = f"Bearer {key}"
        return {"authorization": shown} if shown is not None else {}

    def offers(self, operation: Operation) -> bool:
        """Whether the provider has this operation; a model may still lack it (Capabilities.absent)."""
        return operation in self.paths

    def explain(self, failure: Failure) -> Failure:
        """The failure with a message that tells the operator what to do; the kind stays the same."""
        if failure.kind == "upstream_auth":
            message = f"upstream {self.name} rejected its credentials: {failure.message}"
            return msgspec.structs.replace(failure, message=message)
        return failure

    def models(self) -> list[Model]:
        """The models on offer: the configured ones, else the upstream's own list, for which this may wait (at most 8
        s), else the known ones of the vendor. Raises nothing."""
        configured = [Model(id=name, owned_by=self.name) for name in self.settings.models]
        known = self.known_models if self.is_vendor else ()
        listed = configured or list(self.catalogue.read().values())
        return listed or [Model(id=name, owned_by=self.name) for name in known]

    def lists(self, model: str) -> bool:
        """Whether a model is offered here under exactly this name, as far as is known without asking."""
        return model in self.settings.models or model == self.settings.default_model or model in self.catalogue.models

    def find_variant(self, canonical: str) -> str | None:
        """The listed name whose canonical name is `canonical`; the newest if there are several."""
        known, models = self._variants, self.catalogue.models
        if known is None or known[0] is not models:
            listed = [*self.settings.models, *models]
            known = self._variants = (models, {canonical_name(name): name for name in sorted(listed)})
        return known[1].get(canonical)

    def known_names(self) -> list[str]:
        """The names on offer that are known without asking."""
        return list(self.settings.models) or list(self.catalogue.models)

    @property
    def has_catalogue(self) -> bool:
        """Whether `models` answers without asking the upstream."""
        return bool(self.settings.models) or self.local or self.catalogue.is_fresh

    def _note_listing(self, error: DragomanError | None) -> None:
        if error is None:
            self._capabilities.clear()
        elif self.health.listing is None:
            log.warning("cannot list the models of %s: %s", self.name, error)
        self.health.list_models(error)

    def fetch_models(self) -> list[Model]:
        """Asks the upstream for its list. Raises DragomanError."""
        if not self.offers("models"):
            return []
        return [
            Model(
                id=entry.id,
                owned_by=entry.owned_by,
                created=in_seconds(entry.created),
                context_window=stated(entry.context_length, entry.max_model_len, entry.context_window),
            )
            for entry in read_entries(self.fetch_json(self.url("models", "")), _ListedModel)
        ]

    @property
    def has_liveness(self) -> bool:
        """Whether the server has an endpoint that answers at once, whatever its models are doing."""
        return self.settings.health_check and self.offers("models")

    def is_alive(self) -> bool:
        """Whether the server answers a request for its models within a few seconds, with anything. Never raises."""
        try:
            self._get(self.url("models", ""), self.credential())
        except (UpstreamTimeout, UpstreamUnreachable, UpstreamCut):
            return False
        except DragomanError:
            pass  # an odd answer still counts; a missing credential says nothing about the server
        return True

    def fetch_json(self, url: str) -> bytes:
        """The body of a GET with this provider's credential, which is renewed once if refused. Raises DragomanError."""
        credential = self.credential()
        status, body = self._get(url, credential)
        if status == 401 and (renewed := self.renew(credential)) is not None:
            status, body = self._get(url, renewed)
        if status == 401:
            raise CredentialUnavailable(f"upstream {self.name} rejected its credentials when asked for its model list")
        if status != 200:
            said = f"it answered the request for its list of models with HTTP {status}"
            raise ListRefused(self.explain(Failure(kind="internal", message=said, status=status)).message)
        return body

    def _get(self, url: str, credential: Credential | None) -> tuple[int, bytes]:
        headers = {"accept": "application/json", **self._headers, **self.auth_headers(credential, {})}
        exchange = self.transport.send(Call("GET", url, headers, b"", CATALOGUE_LIMITS))
        try:
            exchange.wait_head()
            return exchange.status, exchange.read_body()
        finally:
            exchange.close()


def _host(url: str) -> str | None:
    return urlsplit(url).hostname


class _ListedModel(msgspec.Struct):
    """`owned_by` and the date are OpenAI's fields; the windows are OpenRouter's, vLLM's and Groq's."""

    id: str
    owned_by: str = ""
    created: float | None = None
    context_length: int | None = None
    max_model_len: int | None = None
    context_window: int | None = None


def fill_catalogues(providers: Iterable[Provider], *, only_new: bool = False, limit: float = LISTING_LIMIT) -> None:
    """Asks every upstream that was not asked recently for its models, waiting at most `limit` seconds.

    `only_new` waits only for upstreams never asked before; an old list is good enough for the moment.
    """
    providers = list(providers)
    for provider in providers:
        if not provider.has_catalogue:
            provider.catalogue.begin_reading()
    end = time.monotonic() + limit
    for provider in providers:
        if not (only_new and provider.catalogue.version):
            provider.catalogue.wait(max(0.0, end - time.monotonic()))
