"""The index page, health, and other paths that clients call outside the API."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec
from flask import Blueprint, Response, redirect, request

from app.blueprints.operations.monitoring import find_obstacles
from app.blueprints.operations.provider_states import describe_providers, describe_upstreams
from app.blueprints.operations.refusals import find_host_problem
from app.blueprints.operations.versions import own_version
from app.blueprints.views import family, has_key, refuse, runtime, services
from app.errors import Failure
from app.known_secrets import known_secrets
from app.settings import fingerprint

blueprint = Blueprint("system", __name__)


# The descriptions of providers, by name.
Providers = Mapping[str, dict[str, Any]]

ENDPOINTS = {
    "anthropic": ["/v1/messages", "/v1/messages/count_tokens"],
    "openai": ["/v1/chat/completions", "/v1/responses", "/v1/completions", "/v1/embeddings", "/v1/models"],
}


@blueprint.get("/")
def index() -> Response:
    """Name and links. Redirects browsers to the dashboard. Claude Code sends HEAD here to see if the gateway is up."""
    if request.method == "GET" and services().settings.server.dashboard and _wants_page():
        return cast(Response, redirect("/_/", 303))
    known = describe_providers(services().providers, detailed=False)
    return _json(
        {
            "name": "dragoman",
            "status": _judge(known, [*find_obstacles(), *runtime().complaints()]),
            "message": "Dragoman, a gateway between AI clients and language models",
            "health": "/health",
            "models": "/v1/models",
            "endpoints": ["/v1/messages", "/v1/chat/completions", "/v1/responses"],
        }
    )


@blueprint.get("/dashboard", strict_slashes=False)
def dashboard() -> Response:
    """Redirects to the dashboard, whose real path cannot clash with any API's."""
    if not services().settings.server.dashboard:
        return refuse(
            family(),
            Failure(kind="not_found", message="the dashboard is off; set server.dashboard to true to turn it on"),
        )
    return cast(Response, redirect("/_/", 303))


def _find_credentials(providers: Providers) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The providers that need a credential, and those of them that have one that is accepted."""
    asked = [entry for entry in providers.values() if "authenticated" in entry]
    return asked, [entry for entry in asked if entry["authenticated"]]


def _judge(providers: Providers, complaints: Sequence[str]) -> str:
    """The overall status, from the providers' descriptions and all complaints."""
    asked, answers = _find_credentials(providers)
    each = services().providers.values()
    # A server that needs no credential can always serve. The demo does not count.
    can_answer = answers or any(provider.source is None and not provider.local for provider in each)
    if answers == asked and all(provider.health.problem is None for provider in each):
        return "degraded" if complaints else "healthy"
    return "degraded" if can_answer else "unauthenticated"


@blueprint.get("/health")
def health() -> Response:
    """Health as JSON. `status` is "unauthenticated" if no provider has a credential that is accepted; "degraded" if one
    has none, or has failed and not succeeded since, or if there is another complaint; else "healthy". `config` reports
    a broken file that was not loaded. Contains no secrets; without a client key, no accounts and paths either.
    """
    parts, owner = services(), runtime()
    known = find_host_problem() is None
    detailed = known and has_key()
    providers = describe_upstreams(parts) if detailed else describe_providers(parts.providers, detailed=False)
    asked, answers = _find_credentials(providers)
    main = (answers or asked or [{}])[0]
    complaints = [*find_obstacles(), *owner.complaints()]
    body: dict[str, Any] = {
        "status": _judge(providers, complaints),
        "service": "dragoman",
        "version": own_version(),
        "timestamp": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "authenticated": answers == asked,
        **{name: main[name] for name in ("token_expiry", "token_storage") if name in main},
        "credentials": {"configured": bool(answers), "subscriptionType": main.get("plan")},
        "process": {
            "alive": True,
            "pid": os.getpid(),
            "requests": len(owner.recorder),
            "requestCount": owner.recorder.taken,
            "queueLength": owner.recorder.unanswered,
        },
        "endpoints": ENDPOINTS,
        "providers": providers,
        "config": {"ok": owner.problem is None, "error": owner.problem if detailed else None},
        "fingerprint": fingerprint(parts.settings) if detailed else None,
    }
    if owner.loops:
        body["loops"] = {loop.name: {"age": round(loop.age or 0.0, 2), "faults": loop.faults} for loop in owner.loops}
    if complaints:
        body["reasons"] = complaints if detailed else ["see the log, or send a client key to see the reasons"]
    if not known:
        body = {name: body[name] for name in ("status", "service", "timestamp")}
    return _json(body)


@blueprint.get("/ping")
def ping() -> Response:
    return _json({"status": "ok"})


@blueprint.route("/api/hello", methods=["GET", "HEAD"])
def hello() -> Response:
    return _json({"status": "ok"})


@blueprint.post("/api/event_logging/<path:_kind>")
def swallow_telemetry(_kind: str) -> Response:
    """Accepts and discards Claude Code's telemetry."""
    return Response(status=204)


def _wants_page() -> bool:
    """Whether a browser asks: it prefers HTML, while programs accept anything."""
    wanted = request.accept_mimetypes
    return wanted.quality("text/html") > wanted.quality("application/json")


def _json(body: dict[str, Any]) -> Response:
    return Response(known_secrets.mask_bytes(msgspec.json.encode(body)), content_type="application/json")
