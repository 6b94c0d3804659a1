"""Shows providers: credential, limits, health, learned facts, login and test."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from flask import Response

from app.blueprints.forms import read_form
from app.blueprints.operations.provider_states import describe_upstreams
from app.blueprints.views import services
from app.credentials.oauth.login_choice import list_logins, offer_logins
from app.dashboard.blueprint import blueprint
from app.dashboard.page import show
from app.dashboard.rendering import redirect_to
from app.dashboard.visitors import check_change, find_admin, log_change
from app.errors import NotFound
from app.settings import ProviderSettings, masked

_UNSET = masked(ProviderSettings(kind=""))
# Settings with their own place on the page.
_ELSEWHERE = frozenset({"kind", "models", "base_url", "profile"})


@blueprint.get("/providers")
def providers() -> Response:
    visitor = find_admin("the providers")
    return show("providers.html", visitor, providers=list_providers())


@blueprint.post("/providers/refresh")
def refresh_models() -> Response:
    """Asks a provider for its list of models now."""
    visitor, name = check_change(), read_form().get("name", "")
    provider = services().providers.get(name)
    if provider is None:
        raise NotFound(f"no provider is named {name[:100]!r}")
    provider.catalogue.refresh()
    log_change(visitor, f"reads the models of {name} again")
    return redirect_to(f"/_/providers#{quote(name, safe='')}")


def list_providers() -> list[dict[str, Any]]:
    """Everything known about each provider, without secrets."""
    parts = services()
    described = describe_upstreams(parts)
    configured = parts.settings
    logins = offer_logins(configured.providers) if configured.source is None else list_logins(configured.providers)
    listed = []
    for name, entry in described.items():
        provider = parts.providers[name]
        tables = masked(provider.settings)
        listed.append(
            {
                "name": name,
                "url": provider.base_url or "",
                "profile": provider.profile,
                "login": name in logins,
                "test": _find_test_model(name),
                "models": len(provider.known_names()),
                "listed_at": provider.health.listed_at,
                "lists": provider.offers("models") and not provider.settings.models and not provider.local,
                "settings": {
                    key: value
                    for key, value in tables.items()
                    if value != _UNSET[key] and key not in _ELSEWHERE and not isinstance(value, dict)
                },
                **entry,
            }
        )
    return listed


def _find_test_model(name: str) -> str:
    """A model of the provider for a test request; empty if none is known."""
    provider = services().providers[name]
    default = provider.settings.default_model
    names = [default] if default else provider.known_names()
    return f"{name}/{names[0]}" if names else ""
