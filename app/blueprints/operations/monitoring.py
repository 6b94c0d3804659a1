"""Metrics, liveness and readiness endpoints."""

from __future__ import annotations

import time

import msgspec
from flask import Blueprint, Response, request

from app.blueprints.operations.rights import is_local
from app.blueprints.operations.versions import own_version
from app.blueprints.views import has_key, runtime, services
from app.errors import Forbidden, Unauthorized
from app.providers.provider import Provider

blueprint = Blueprint("monitoring", __name__)

# Seconds for which a provider counts as unavailable after a failure. Then requests may try it again, since nothing else
# would show that it has recovered.
RECENT = 30.0


@blueprint.get("/metrics")
def metrics() -> Response:
    """The counts of all workers of this server, for Prometheus."""
    # Imported with the first scrape.
    from app.gateway.recording.exposition import CONTENT_TYPE, write_metrics

    _check_rights()
    text = write_metrics(runtime().workers.look(), own_version() or "unknown")
    return Response(text, content_type=CONTENT_TYPE, headers={"cache-control": "no-store"})


@blueprint.get("/health/live")
def live() -> Response:
    """Whether this process answers. A container that does not should be restarted."""
    return _answer("ok", [])


@blueprint.get("/health/ready")
def ready() -> Response:
    """Whether requests should be sent here."""
    reasons = find_obstacles()
    return _answer("unavailable" if reasons else "ok", reasons)


def find_obstacles() -> list[str]:
    """The reasons why this worker cannot serve requests now, without names of providers or users."""
    owner, parts = runtime(), services()
    reasons = []
    if owner.draining or owner.active.stopping:
        reasons.append("this worker is stopping")
    if not any(_can_serve(provider) for provider in parts.providers.values()):
        reasons.append("no provider can answer" if parts.providers else "no provider is configured")
    if parts.settings.ledger.required and parts.ledger.problem is not None:
        reasons.append("the ledger is required but not available")
    return reasons


def _can_serve(provider: Provider) -> bool:
    trouble = provider.health.problem
    if trouble is not None and time.time() - trouble.at < RECENT:
        return False
    if provider.source is None:
        return True
    status = provider.source.describe()
    return status.problem is None and status.kind != "none"


def _check_rights() -> None:
    """If client keys are configured, only `open` metrics need none. Raises Unauthorized or Forbidden."""
    wanted = services().settings.server.metrics
    if wanted == "open":
        return
    if services().access.demands_key:
        if not has_key():
            raise Unauthorized("send a client key to see the metrics, or open them with server.metrics")
    elif wanted == "key" or not is_local(request.environ):
        raise Forbidden("metrics are shown only on the gateway's own machine; open them with server.metrics")


def _answer(status: str, reasons: list[str]) -> Response:
    body = {"status": status, **({"reasons": reasons} if reasons else {})}
    code = 503 if reasons else 200
    return Response(msgspec.json.encode(body), code, content_type="application/json")
