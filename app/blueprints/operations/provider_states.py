"""Describes the state of providers: credential, outcomes, quotas, learned facts, breakers and queues."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from app.credentials.pool import CredentialPool, MemberState
from app.gateway.failures.learned_facts import LearnedFacts
from app.gateway.upstream_health.health import UpstreamHealth
from app.providers.health import ProviderHealth
from app.providers.provider import Provider
from app.providers.quotas import QuotaWindow
from app.services import Services


def describe_providers(providers: Mapping[str, Provider], *, detailed: bool) -> dict[str, dict[str, Any]]:
    """Each provider by its name: its kind, credential and outcomes. Without `detailed`, no accounts and messages."""
    return {name: describe_provider(provider, detailed=detailed) for name, provider in providers.items()}


def describe_upstreams(parts: Services) -> dict[str, dict[str, Any]]:
    """Each provider in detail, with what this worker has learned of its models, and their troubles."""
    providers = describe_providers(parts.providers, detailed=True)
    _add_learned(providers, parts.gateway.facts)
    _add_pressure(providers, parts.gateway.health)
    return providers


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


def _add_learned(providers: dict[str, dict[str, Any]], facts: LearnedFacts) -> None:
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


def _add_pressure(providers: dict[str, dict[str, Any]], health: UpstreamHealth) -> None:
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
