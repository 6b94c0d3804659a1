"""Finds another credential of a provider's pool for a request that failed with one of them."""

from __future__ import annotations

import time

from app.credentials.credential import Credential
from app.credentials.pool import CredentialPool
from app.errors import DragomanError, FailureKind, UpstreamRefused
from app.gateway.failures.repairs.repair import is_unaffordable
from app.gateway.messages import ClientRequest
from app.providers.provider import Provider
from app.providers.quotas import find_cooldown, read_seconds

# Kinds of failure that concern the credential, and the seconds for which a pool member cools down unless the upstream
# says otherwise.
COOLDOWNS: dict[FailureKind, float] = {
    "rate_limit": 30.0,
    "quota": 300.0,
    "billing": 3600.0,
    "upstream_auth": 300.0,
    "overloaded": 5.0,
}
# Seconds of cooldown if only this one request was too much for it.
MOMENT = 1.0


def switch_credential(
    provider: Provider, failed: Credential | None, error: DragomanError, client_request: ClientRequest
) -> Credential | None:
    """Another credential; None if there is no other, or if another would fare no better.

    The failed one cools down as long as its upstream says, but only for this tenant, because the client's request may
    be the cause, but for all if headers say that the account has nothing left. If it can still pay for other requests,
    it cools down only for a moment, in which this one finds another.
    """
    pool, failure = provider.source, error.failure
    usual = COOLDOWNS.get(failure.kind)
    if failed is None or usual is None or not isinstance(pool, CredentialPool):
        return None
    session, tenant = client_request.conversation, client_request.tenant
    if is_unaffordable(failure):
        return pool.switch(failed, session, MOMENT, tenant)
    spent = find_cooldown(provider.health.quotas.get(failed.name, ()), time.time())
    seconds = spent or read_seconds(failure.retry_after)
    has_nothing_left = spent is not None or (isinstance(error, UpstreamRefused) and error.is_spent)
    return pool.switch(failed, session, usual if seconds is None else seconds, tenant, for_all=has_nothing_left)
