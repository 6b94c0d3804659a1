"""Builds the services of one configuration."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec

from app.credentials.pool import CredentialPool
from app.gateway.attempt import Resources
from app.gateway.client_access.access import Access
from app.gateway.client_access.tenants import open_tenant_marks
from app.gateway.endpoints.listing import Listing
from app.gateway.failures.learned_facts import LearnedFacts
from app.gateway.fetching import Fetcher
from app.gateway.gateway import Gateway
from app.gateway.large_bodies.heavy_work import run_heavy
from app.gateway.reasoning_memory.reasoning_store import ReasoningStore
from app.gateway.recording.recorder import Recorder
from app.gateway.responses_api.background import Background
from app.gateway.responses_api.conversations import Conversations
from app.gateway.responses_api.response_store import ResponseStore
from app.gateway.responses_api.stored_responses import StoredResponses
from app.gateway.sending import Sender
from app.gateway.upstream_health.health import UpstreamHealth
from app.gateway.upstream_health.shared_state import Upstreams
from app.gateway.use_limits.limiter import Limiter
from app.gateway.use_limits.refusal import Owner
from app.ledger import Ledger
from app.permissions.pending import Permissions
from app.permissions.prompt import PermissionPrompt
from app.providers.provider import Provider
from app.rate_limits.counts import Limit, read_limits
from app.rate_limits.shared_counts import CountedPlaces
from app.routing.build import build_routing
from app.routing.router import Router
from app.settings import ServerSettings, Settings
from app.transport import Transport, TransportSettings


class Services(msgspec.Struct, frozen=True):
    """Everything that is built from one configuration. A new configuration gets new services; a request keeps those
    that it began with."""

    settings: Settings
    providers: Mapping[str, Provider]
    router: Router
    gateway: Gateway
    background: Background
    response_store: ResponseStore
    stored_responses: StoredResponses
    conversations: Conversations
    listing: Listing
    access: Access
    permissions: Permissions
    permission_secret: bytes
    transport: Transport
    ledger: Ledger


def build_services(
    settings: Settings,
    environ: Mapping[str, str],
    home: Path,
    old: Services | None = None,
    recorder: Recorder | None = None,
    find_limiter: Callable[[], Limiter] | None = None,
) -> Services:
    """Builds the services of a configuration, and takes over from `old` what is unchanged, such as open connections.
    `find_limiter` returns the limiter; without it, providers have no limits.

    Raises ConfigError with the key of whatever cannot be built.
    """
    server = settings.server
    transport, providers, router = build_routing(settings, environ, home, old.transport if old is not None else None)
    _keep_health(old, providers)
    is_kept = old is not None and old.settings.ledger == settings.ledger
    ledger = old.ledger if old is not None and is_kept else Ledger(settings.ledger, run_heavy=run_heavy)
    response_store = ResponseStore(ledger)
    reasoning_store = ReasoningStore(ledger.reasoning if settings.ledger.reasoning_mb else None)
    facts = _keep_facts(old, settings)
    health = old.gateway.health if old is not None else UpstreamHealth()
    health.configure(settings.providers, server.workers, _find_places(find_limiter))
    has_keys = bool(server.api_keys or settings.keys)
    # Without client keys and programs that ask for permission, a start writes nothing to the disk.
    asks = any(provider.asks_people for provider in providers.values())
    marks = open_tenant_marks(settings) if has_keys or asks else None
    secret = secrets.token_bytes(32) if marks is None else marks.mark("permissions").encode()
    _open_prompts(providers.values(), server, secret)
    resources = Resources(settings.limits, _open_fetcher(server, transport.settings), reasoning_store)
    sender = Sender(server, health, find_limiter, _read_provider_limits(settings))
    gateway = Gateway(router, server, resources, facts, health, sender)
    background = Background(gateway, response_store, ledger.events, server.ping_interval, recorder=recorder)
    return Services(
        settings=settings,
        providers=providers,
        router=router,
        gateway=gateway,
        background=background,
        stored_responses=StoredResponses(response_store, background, providers),
        response_store=response_store,
        conversations=response_store.conversations,
        listing=Listing(router, providers),
        access=Access(server, marks if has_keys else None, settings.keys),
        permissions=Permissions(ledger.permissions, settings.permissions),
        permission_secret=secret,
        transport=transport,
        ledger=ledger,
    )


def find_upstreams(services: Services) -> Upstreams:
    """What this worker knows of the upstreams, to share with other workers and hosts."""
    outcomes = {provider.mark: provider.health for provider in services.providers.values()}
    return Upstreams(services.gateway.health, services.gateway.facts, _find_pools(services.providers), outcomes)


def _find_pools(providers: Mapping[str, Provider]) -> dict[str, CredentialPool]:
    return {name: each.source for name, each in providers.items() if isinstance(each.source, CredentialPool)}


def _find_places(find_limiter: Callable[[], Limiter] | None) -> Callable[[str], CountedPlaces] | None:
    if find_limiter is None:
        return None
    return lambda name: CountedPlaces(lambda: find_limiter().counts, Owner("provider", name).mark)


def _read_provider_limits(settings: Settings) -> dict[str, tuple[Limit, ...]]:
    """The limits of providers that refuse requests. `max_parallel` is left out: it makes them wait."""
    limits = {name: read_limits(provider) for name, provider in settings.providers.items()}
    refusing = {name: tuple(limit for limit in rows if limit.kind != "parallel") for name, rows in limits.items()}
    return {name: rows for name, rows in refusing.items() if rows}


def _open_prompts(providers: Iterable[Provider], server: ServerSettings, secret: bytes) -> None:
    """Gives providers the address at which their programs ask for permission. Programs run on this machine."""
    host = server.host.strip("[]")
    if host in ("", "0.0.0.0", "::"):
        host = "127.0.0.1"
    address = f"http://[{host}]:{server.port}" if ":" in host else f"http://{host}:{server.port}"
    for provider in providers:
        provider.permission_prompt = PermissionPrompt(f"{address}/mcp", secret)


def _open_fetcher(server: ServerSettings, usual: TransportSettings) -> Fetcher | None:
    """Fetches the URLs in requests, if that is allowed. Keeps no connections, since it asks each host only once."""
    if not server.fetch_urls:
        return None
    return Fetcher(Transport(msgspec.structs.replace(usual, public_only=True, pool_size=0)))


def _keep_health(old: Services | None, providers: Mapping[str, Provider]) -> None:
    """Carries the health of providers over whose settings are unchanged."""
    for name, provider in providers.items():
        before = old.providers.get(name) if old is not None else None
        if before is not None and before.settings == provider.settings:
            provider.health = before.health
            if isinstance(provider.source, CredentialPool) and isinstance(before.source, CredentialPool):
                provider.source.adopt_cooldowns(before.source.cooldowns())


def _keep_facts(old: Services | None, settings: Settings) -> LearnedFacts:
    """The facts learned about upstreams, without those of changed providers, whose health is forgotten too."""
    if old is None:
        return LearnedFacts()
    for name, provider in old.settings.providers.items():
        if settings.providers.get(name) != provider:
            old.gateway.facts.forget_provider(name)
            old.gateway.health.forget_provider(name)
    return old.gateway.facts
