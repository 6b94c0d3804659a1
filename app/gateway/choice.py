"""Chooses between passing a request's bytes and translating it."""

from __future__ import annotations

from app.conversation.capabilities import Capabilities
from app.credentials.credential import Credential
from app.dialects.contract import ClientDialect
from app.dialects.registry import DIALECTS
from app.gateway.attempt import Attempt, Sends, Target
from app.gateway.fetching import Fetcher
from app.gateway.large_bodies.heavy_work import SMALL, work_on
from app.gateway.messages import UNREADABLE, ClientRequest, unreadable
from app.gateway.passing import Passing
from app.gateway.reasoning_memory.reasoning_store import ReasoningStore
from app.gateway.translating import Translating
from app.providers.provider import Operation
from app.routing.router import Upstream
from app.settings import LimitsSettings

USUAL = LimitsSettings()


def open_attempt(
    client_request: ClientRequest,
    upstream: Upstream,
    capabilities: Capabilities,
    credential: Credential | None,
    stream: bool,
    reasoning_store: ReasoningStore | None = None,
    fetcher: Fetcher | None = None,
    limits: LimitsSettings = USUAL,
    sends: Sends | None = None,
) -> Attempt:
    """A request made ready for one upstream. `stream` is what the client wants, `sends` counts how often
    it goes out.

    Raises InvalidRequest for a request that is wrong, Unsupported for one that cannot go to this upstream.
    """
    operation: Operation = "generate"
    dialect: ClientDialect = DIALECTS[capabilities.dialect]
    wanted = client_request.operation
    if wanted != "generate" and wanted not in capabilities.absent and upstream.provider.offers(wanted):
        operation, dialect = wanted, client_request.dialect
    target = Target(
        client_request, upstream, capabilities, credential, stream, operation, dialect, limits, sends or Sends(),
        capabilities.model or upstream.model, dialect is client_request.dialect,
    )  # fmt: skip
    try:
        if target.same_dialect and client_request.body and (operation != "generate" or not _is_rewritten(target)):
            if client_request.size <= SMALL:
                passed = dialect.pass_request(client_request.body, capabilities)
            else:
                passed = work_on(client_request.size, dialect.pass_request, client_request.body, capabilities)
            if passed is not None:
                return Passing(target, passed, reasoning_store)
            return Translating(target, reasoning_store, fetcher, reply_passes=True)
        return Translating(target, reasoning_store, fetcher, reply_passes=False)
    except UNREADABLE as error:
        raise unreadable(error) from error


def _is_rewritten(target: Target) -> bool:
    """Whether the request or its answer is to be another than the client's or the upstream's own."""
    continuation = target.client_request.continuation
    return target.upstream.rewrites(target.capabilities) or (continuation is not None and continuation.adopted)
