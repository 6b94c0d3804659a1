"""Chooses between passing a request's bytes and translating it."""

from __future__ import annotations

from app.conversation.capabilities import Capabilities
from app.credentials.credential import Credential
from app.dialects.contract import ClientDialect
from app.dialects.registry import DIALECTS
from app.gateway.attempt import Attempt, Resources, Sends, Target
from app.gateway.large_bodies.heavy_work import run_heavy
from app.gateway.messages import UNREADABLE, ClientRequest, unreadable
from app.gateway.passing import Passing
from app.gateway.record import Record
from app.gateway.translating import Translating
from app.providers.provider import Operation
from app.routing.upstream import Upstream

# For requests that are not sent.
NOTHING_GIVEN = Resources()


def open_attempt(
    client_request: ClientRequest,
    upstream: Upstream,
    capabilities: Capabilities,
    credential: Credential | None,
    stream: bool,
    sends: Sends | None = None,
    resources: Resources = NOTHING_GIVEN,
) -> Attempt:
    """Prepares a request for one upstream. `stream` is whether the client wants a stream; `sends` counts how often the
    request is sent, if it is.

    Raises InvalidRequest for an invalid request, Unsupported for one that this upstream cannot serve.
    """
    operation: Operation = "generate"
    dialect: ClientDialect = DIALECTS[capabilities.dialect]
    wanted = client_request.operation
    if wanted != "generate" and wanted not in capabilities.absent and upstream.provider.offers(wanted):
        operation, dialect = wanted, client_request.dialect
    if sends is None:
        sends = Sends(Record(client_request.id, client_request.dialect.NAME))
    target = Target(
        client_request, upstream, capabilities, credential, stream, operation, dialect, resources, sends,
        capabilities.model or upstream.model, dialect is client_request.dialect,
    )  # fmt: skip
    try:
        if not target.same_dialect or not client_request.body or (operation == "generate" and _is_rewritten(target)):
            return Translating(target, reply_passes=False)
        passed = None
        if capabilities.passes:
            passed = run_heavy(client_request.size, dialect.pass_request, client_request.body, capabilities)
        if passed is None:
            return Translating(target, reply_passes=True)
        return Passing(target, passed)
    except UNREADABLE as error:
        raise unreadable(error) from error


def _is_rewritten(target: Target) -> bool:
    """Whether the gateway must change the request or its answer, so that bytes cannot be passed."""
    continuation = target.client_request.continuation
    return target.upstream.rewrites(target.capabilities) or (continuation is not None and continuation.adopted)
