"""Explains where a model name leads and what its upstreams support."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from app.dialects.registry import guess_dialect
from app.gateway.choice import open_attempt
from app.gateway.messages import ClientRequest
from app.known_secrets import known_secrets
from app.providers.profiles import find_sources
from app.routing.upstream import Upstream


def describe_upstream(upstream: Upstream) -> dict[str, object]:
    """What is known about an upstream, in display order; secrets are masked."""
    provider, capabilities = upstream.provider, upstream.capabilities
    fields = {
        "because": upstream.matched,
        "kind": provider.kind,
        "credential": _describe_credential(upstream),
        "dialect": capabilities.dialect,
        "URL": provider.url("generate", upstream.model) if provider.base_url else None,
        "profile": provider.profile,
        "output limit": capabilities.max_output,
        "context window": capabilities.context_window or "not known; set context_window",
        "effort asked for": upstream.reasoning_effort,
        "efforts known": ", ".join(capabilities.efforts) or None,
        "tools": "yes" if capabilities.tools else "no",
        "images": "yes" if capabilities.images else "no",
        "losses": upstream.policy,
    }
    return {name: known_secrets.mask(str(value)) for name, value in fields.items() if value is not None}


def list_quirks(upstream: Upstream) -> list[str]:
    """The upstream's unusual capabilities, each with the table it comes from."""
    provider = upstream.provider
    found = find_sources(
        upstream.capabilities.dialect, upstream.model, provider.profile, provider.settings.quirks, provider.rows
    )
    return [f"{name} = {json.dumps(value)}  ({source})" for name, (value, source) in sorted(found.items())]


def list_learned(entry: Mapping[str, Any], model: str) -> Iterator[str]:
    """What a running gateway has learned from a model's refusals; `entry` is its provider's part of /health."""
    for fact in entry.get("learned", ()):
        match fact:
            case {"model": str(named), "fact": str(name), "seconds": int(seconds)} if named == model:
                whom = f"the client {fact['tenant']}…" if fact.get("tenant") else "everybody"
                yield f"{name}, for {whom}, forgotten in {max(1, seconds // 60)} min"


def translate(content: bytes, upstream: Upstream) -> dict[str, object]:
    """What would be sent to the upstream for a request, and the losses. The dialect is guessed from the request's
    fields. Raises ClientError."""
    fields = json.loads(content)
    dialect = guess_dialect(fields)
    request = ClientRequest(dialect, content, {})
    attempt = open_attempt(request, upstream, upstream.capabilities, None, bool(fields.get("stream")))
    losses = [f"{loss.path} ({loss.severity}): {loss.why}" for loss in attempt.losses]
    sent = json.loads(attempt.upstream_request.body)
    return {"read as": dialect.NAME, "lost or lowered": "; ".join(losses) or "nothing", "body": sent}


def _describe_credential(upstream: Upstream) -> str:
    source = upstream.provider.source
    if source is None:
        return "none of its own"
    status = source.describe()
    return status.problem or f"from {status.source}"
