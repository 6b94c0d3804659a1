"""Health, the index page, errors outside the API, and other paths that clients call."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec
from flask import Blueprint, Response, redirect, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from app.blueprints.operations.monitoring import find_obstacles
from app.blueprints.operations.versions import own_version
from app.blueprints.views import answer_error, family, has_key, refuse, runtime, services
from app.credentials.pool import CredentialPool, MemberState
from app.errors import DragomanError, Failure
from app.gateway.failures.learned_facts import LearnedFacts
from app.gateway.messages import new_id
from app.gateway.upstream_health.health import UpstreamHealth
from app.known_secrets import known_secrets
from app.providers.health import ProviderHealth
from app.providers.provider import Provider
from app.providers.quotas import QuotaWindow
from app.settings import fingerprint

blueprint = Blueprint("system", __name__)

# Probes call these by address, without a host name, so it is not checked.
PROBES = frozenset({"/health", "/health/live", "/health/ready", "/ping"})


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


def _judge(providers: Mapping[str, Mapping[str, Any]], complaints: Sequence[str]) -> str:
    """The overall status, from the providers' descriptions and all complaints."""
    asked = [entry for entry in providers.values() if "authenticated" in entry]
    answers = [entry for entry in asked if entry["authenticated"]]
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
    known = _host_problem() is None
    detailed = known and has_key()
    providers = describe_providers(parts.providers, detailed=detailed)
    if detailed:
        add_learned(providers, parts.gateway.facts)
        add_pressure(providers, parts.gateway.health)
    asked = [entry for entry in providers.values() if "authenticated" in entry]
    answers = [entry for entry in asked if entry["authenticated"]]
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


def guard() -> Response | None:
    """Runs before each request of Flask. Refuses host names that are not ours, and websockets.

    Codex tries a websocket first. Only after a 426 does it fall back to POST at once.
    """
    if request.path not in PROBES and (error := _host_problem()) is not None:
        return refuse(family(), error.failure)
    if request.headers.get("upgrade", "").lower() == "websocket":
        message = "websockets are not supported; use POST"
        return refuse(family(), Failure(kind="invalid_request", message=message, status=426, origin="client"))
    return None


def _host_problem() -> DragomanError | None:
    """The error for a request's host name that is not ours, or None."""
    try:
        access = services().access
        access.check_host(request.host, keyless=access.demands_key and not has_key())
    except DragomanError as error:
        return error
    return None


def refuse_request(error: DragomanError) -> Response:
    """Answers what a view refuses."""
    return refuse(family(), error.failure)


def internal_error(error: Exception) -> Response:
    """Answers an exception of a view. What Flask itself refuses keeps its status; anything else is our own fault."""
    if isinstance(error, HTTPException):
        message = error.description or error.name
        failure = Failure(kind="invalid_request", message=message, status=error.code or 400, origin="client")
        return refuse(family(), failure)
    record = runtime().recorder.begin(new_id(), family().NAME, request.environ)
    record.operation = ""
    answer = answer_error(family(), record.fault(error), record)
    record.write()
    return answer


def not_found(_error: Exception) -> Response:
    """The error for an unknown path, with a hint, in the dialect that the request seems to speak."""
    message = f"Route not found: {request.method} {request.path}. {hint(request.path)}"
    return refuse(family(), Failure(kind="not_found", message=message, origin="client"))


def method_not_allowed(error: MethodNotAllowed) -> Response:
    message = f"{request.path} does not accept {request.method}"
    refused = refuse(family(), Failure(kind="invalid_request", message=message, status=405, origin="client"))
    refused.allow.update(error.valid_methods or ())
    return refused


def hint(path: str) -> str:
    """A hint at the path that was probably meant."""
    for word, route in (
        ("count_tokens", "/v1/messages/count_tokens"),
        ("message", "/v1/messages"),
        ("response", "/v1/responses"),
        ("chat", "/v1/chat/completions"),
        ("complet", "/v1/chat/completions"),
        ("model", "/v1/models"),
    ):
        if word in path:
            return f"Did you mean {route}? An SDK's base URL ends in /v1 for OpenAI and before it for Anthropic."
    return "See / for the available paths."


def describe_providers(providers: Mapping[str, Provider], *, detailed: bool) -> dict[str, dict[str, Any]]:
    return {name: describe_provider(provider, detailed=detailed) for name, provider in providers.items()}


def describe_provider(provider: Provider, *, detailed: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {"kind": provider.settings.kind, **_describe_outcomes(provider.health, detailed=detailed)}
    if provider.source is None:
        return entry
    status = provider.source.describe()
    problem = provider.health.problem
    is_refused = problem is not None and problem.kind in ("upstream_auth", "authentication")
    entry["authenticated"] = status.problem is None and status.kind != "none" and not is_refused
    if status.expires_at is not None:
        entry["token_expiry"] = status.expires_at
    if detailed:
        fields = {
            "token_storage": status.source,
            "account": status.account,
            "plan": status.plan,
            "problem": status.problem,
        }
        entry |= {name: value for name, value in fields.items() if value is not None}
        if isinstance(provider.source, CredentialPool):
            entry["credentials"] = {
                member.name: _describe_member(member) for member in provider.source.describe_members()
            }
        if provider.health.quotas:
            entry["quotas"] = {
                name or "login": [_describe_window(window) for window in windows]
                for name, windows in provider.health.quotas.items()
            }
    return entry


def _describe_member(member: MemberState) -> dict[str, Any]:
    """`rests_for` holds the beginnings of the tenants for which the credential rests; absent if it rests for all."""
    entry = {
        "authenticated": member.status.problem is None,
        "source": member.status.source,
        "rests_seconds": round(member.cooldown),
    }
    return entry | ({"rests_for": [tenant[:8] for tenant in member.tenants]} if member.tenants else {})


def add_learned(providers: dict[str, dict[str, Any]], facts: LearnedFacts) -> None:
    """Adds what this worker has learned of each provider's models. `tenant` is the start of the tenant's id if a fact
    holds for one tenant only."""
    for fact in facts.known():
        provider, _, model = fact.upstream.partition("/")
        fields = {
            "model": model,
            "fact": fact.name,
            "tenant": fact.tenant and fact.tenant[:8],
            "seconds": int(fact.seconds),
        }
        if provider in providers:
            providers[provider].setdefault("learned", []).append(fields)


def add_pressure(providers: dict[str, dict[str, Any]], health: UpstreamHealth) -> None:
    """Adds the targets in trouble, and the queues, as this worker sees them."""
    for state in health.targets():
        provider, _, model = state.target.partition("/")
        if provider in providers:
            fields = {"model": model, "state": state.state, "fault": state.fault, "faults": state.faults}
            providers[provider].setdefault("breakers", []).append(fields | {"seconds": round(state.seconds)})
    for load in health.loads():
        if load.max_parallel is not None and load.provider in providers:
            providers[load.provider]["queue"] = {
                "max_parallel": load.max_parallel,
                "parallel": load.parallel,
                "waiting": load.waiting,
                "timeouts": load.timeouts,
            }


def _describe_outcomes(health: ProviderHealth, *, detailed: bool) -> dict[str, Any]:
    """The provider's last success and last failures, as far as this worker knows."""
    fields: dict[str, Any] = {}
    if health.last_success is not None:
        fields["last_success"] = _date(health.last_success)
    if health.context_cuts:
        fields["context_cuts"] = dict(health.context_cuts) if detailed else len(health.context_cuts)
    for name, trouble in (("last_failure", health.last_failure), ("models_failure", health.listing)):
        if trouble is not None:
            fields[name] = {"time": _date(trouble.at), "kind": trouble.kind}
            if detailed:
                fields[name]["message"] = trouble.message
    return fields


def _describe_window(window: QuotaWindow) -> dict[str, Any]:
    fields: dict[str, Any] = {"window": window.name, "used_percent": round(window.used * 100, 1)}
    return fields | ({"resets": _date(window.resets_at)} if window.resets_at else {})


def _date(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="seconds")


def _json(body: dict[str, Any]) -> Response:
    return Response(known_secrets.mask_bytes(msgspec.json.encode(body)), content_type="application/json")
