"""Stores responses and continues from them.

An upstream that keeps responses itself is left to it: its ids pass untouched. For every other upstream the gateway
keeps them, under the id that the client sees, and gives the upstream the whole history each time. Conversations, and
responses that are made in the background, are the gateway's own unless all upstreams of the route keep them.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import msgspec

from app.dialects.openai_responses.state.background import change_status
from app.dialects.openai_responses.state.conversation import read_conversation_id
from app.dialects.openai_responses.state.history import (
    continue_request,
    find_id,
    find_response,
    history_of,
    input_items,
    new_items,
    output_items,
)
from app.dialects.openai_responses.vocabulary import NAME
from app.errors import Failure, InvalidRequest, LedgerUnavailable, NotFound
from app.gateway.messages import ClientRequest, StartedResponse
from app.gateway.replies.observed_stream import ObservedStream
from app.gateway.responses_api.conversations import Conversation, Conversations
from app.gateway.responses_api.conversations import not_found as conversation_not_found
from app.gateway.responses_api.responses_peek import peek_of
from app.ledger import Ledger
from app.routing.router import Upstream


class KeptResponse(msgspec.Struct, frozen=True, omit_defaults=True):
    """A response that was given to a client. One with a `provider` is kept by that provider's own server, and only
    its owner is known here; of any other `response` is the whole object, `input` all items that it answered.

    One that is still being made, in the background, has a time until which it is `alive`, in unix seconds: its worker
    puts that off again and again.
    """

    provider: str | None = None
    response: msgspec.Raw = msgspec.Raw(b"null")
    input: list[msgspec.Raw] = []
    alive: float = 0.0

    @property
    def items(self) -> list[bytes]:
        return [bytes(item) for item in self.input]

    @property
    def history(self) -> list[bytes]:
        return history_of(self.items, bytes(self.response))


_kept_decoder = msgspec.json.Decoder(KeptResponse)

_LOST = Failure(
    kind="internal", message="the gateway worker that ran this response has stopped; send the request again"
)


class ResponseStore:
    """What is remembered of responses, for each tenant apart. `clock` gives unix seconds."""

    def __init__(self, ledger: Ledger, clock: Callable[[], float] = time.time) -> None:
        self._shelf = ledger.responses
        self._clock = clock
        self.conversations = Conversations(ledger, clock)

    def begin(self, client_request: ClientRequest) -> ResponseContinuation | None:
        """The state of a request; None for one that neither continues anything nor is to be kept."""
        peek = peek_of(client_request)
        if peek.store is False and not peek.previous_response_id and peek.conversation is None:
            return None
        return ResponseContinuation(self, client_request)

    def find(self, tenant: str, response_id: str) -> KeptResponse | None:
        """Raises LedgerUnavailable."""
        found = self._shelf.get(tenant, response_id)
        if found is None:
            return None
        kept = _kept_decoder.decode(found)
        return as_lost(kept) if 0 < kept.alive < self._clock() else kept

    def keep(self, tenant: str, response_id: str, kept: KeptResponse) -> None:
        """A ledger that fails has said so in the log; the client gets its answer all the same."""
        with contextlib.suppress(LedgerUnavailable):
            self.start(tenant, response_id, kept)

    def start(self, tenant: str, response_id: str, kept: KeptResponse) -> None:
        """As `keep`, but raises LedgerUnavailable."""
        self._shelf.put(tenant, response_id, msgspec.json.encode(kept))

    def change_running(self, tenant: str, response_id: str, change: Callable[[KeptResponse], KeptResponse]) -> bool:
        """Changes a response that is still being made; whether there is one. Raises LedgerUnavailable."""

        def change_kept(found: bytes) -> bytes | None:
            kept = _kept_decoder.decode(found)
            return msgspec.json.encode(change(kept)) if kept.alive else None

        return self._shelf.update(tenant, response_id, change_kept) is not None

    def forget(self, tenant: str, response_id: str) -> bool:
        """Raises LedgerUnavailable."""
        return self._shelf.delete(tenant, response_id)


class ResponseContinuation:
    """The state of one request: what it continues, and whether its answer is kept."""

    def __init__(
        self, response_store: ResponseStore, client_request: ClientRequest, *, background: bool = False
    ) -> None:
        peek = peek_of(client_request)
        self._response_store = response_store
        self._client_request = client_request
        self._asked = client_request
        self._store = peek.store is not False
        self._previous = peek.previous_response_id or None
        self._place = read_conversation_id(peek.conversation)
        self._background = background
        self._continued: KeptResponse | None = None
        self._conversation: Conversation | None = None
        self._looked = False

    @property
    def adopted(self) -> bool:
        """Whether the answer must be one of the gateway's own, as no upstream could have given it."""
        return self._background or self._conversation is not None

    def prepare(self, upstream: Upstream) -> ClientRequest:
        """The request as it goes to one upstream, with its history where that upstream does not know it.

        Raises InvalidRequest or NotFound for an id that does not exist (any more), LedgerUnavailable.
        """
        self._look_up()
        self._asked = self._client_request
        if self._conversation is not None:
            self._asked = self._client_request.with_body(
                continue_request(self._client_request.body, self._conversation.history, name_previous=True)
            )
        elif self._place is not None:
            if self._client_request.tenant or not self._is_keeper(upstream):
                raise conversation_not_found(self._place)
        elif self._previous is not None:
            self._continue(self._previous, upstream)
        return self._asked

    def watch(self, started: StartedResponse) -> StartedResponse:
        """The answer, such that it is kept before its client sees the end of it."""
        upstream = started.upstream
        if not self._store or self._background or (self._is_keeper(upstream) and not self._client_request.tenant):
            return started
        if started.stream is not None:
            started.stream = ObservedStream(started.stream, lambda events: self.keep(find_response(events), upstream))
            self.keep(find_response(started.first), upstream)
        else:
            whole = find_response(started.first) if self._client_request.peek.stream else started.first
            self.keep(whole, upstream)
        return started

    def keep(self, response: bytes | None, upstream: Upstream) -> None:
        """Keeps a whole response object; None, or one that failed, is not kept."""
        response_id = find_id(response) if response is not None else None
        if response is None or response_id is None:
            return
        keeper = self._is_keeper(upstream)
        kept = KeptResponse(provider=upstream.provider.name) if keeper else self.conclude(response)
        self._response_store.keep(self._client_request.tenant, response_id, kept)

    def conclude(self, response: bytes) -> KeptResponse:
        """What is to be kept of a response, which also becomes part of its conversation."""
        if self._place is not None and self._conversation is not None and find_id(response) is not None:
            said = new_items(self._conversation.history, input_items(self._client_request.body))
            # Whoever deleted the conversation meanwhile, or has a ledger that fails, gets the answer all the same.
            with contextlib.suppress(NotFound, LedgerUnavailable):
                place = self._response_store.conversations
                place.append(self._client_request.tenant, self._place, [*said, *output_items(response)])
        items = [msgspec.Raw(item) for item in input_items(self._asked.body)]
        return KeptResponse(response=msgspec.Raw(response), input=items)

    def _look_up(self) -> None:
        """What the request continues, once for all upstreams that are tried."""
        if self._looked:
            return
        if self._previous is not None:
            if not isinstance(self._previous, str):
                raise InvalidRequest("previous_response_id must be a string", param="previous_response_id")
            if self._place is not None:
                raise InvalidRequest(
                    "previous_response_id and conversation cannot be used together", param="conversation"
                )
            self._continued = self._response_store.find(self._client_request.tenant, self._previous)
        elif self._place is not None:
            self._conversation = self._response_store.conversations.find(self._client_request.tenant, self._place)
        self._looked = True

    def _continue(self, previous: str, upstream: Upstream) -> None:
        kept = self._continued
        if kept is None or kept.provider is not None:
            # Without client keys the upstream's own word on the id is enough.
            known = kept is None and not self._client_request.tenant
            if not self._is_keeper(upstream) or not (known or (kept and kept.provider == upstream.provider.name)):
                raise not_found(previous)
            return
        if kept.alive or find_id(bytes(kept.response)) is None:
            raise InvalidRequest(
                f"Previous response with id '{previous}' is not complete, so it cannot be continued.",
                param="previous_response_id",
            )
        # A passthrough sends what it is given; a translation leaves the id out by itself, and echoes it.
        passes = (
            upstream.capabilities.dialect == NAME and not upstream.rewrites(upstream.capabilities) and not self.adopted
        )
        body = continue_request(self._client_request.body, kept.history, name_previous=not passes)
        self._asked = self._client_request.with_body(body)

    def _is_keeper(self, upstream: Upstream) -> bool:
        """Whether the upstream's server keeps the response, for it gave the client its id."""
        return not self.adopted and keeps_responses(upstream)


def as_lost(kept: KeptResponse) -> KeptResponse:
    """A response whose worker is gone before it was whole."""
    failed = change_status(bytes(kept.response), "failed", _LOST)
    return msgspec.structs.replace(kept, response=msgspec.Raw(failed), alive=0.0)


def keeps_responses(upstream: Upstream) -> bool:
    """Whether the upstream's server is the one that gave the client its ids, and keeps what is behind them."""
    if upstream.capabilities.dialect != NAME or upstream.rewrites(upstream.capabilities):
        return False
    capabilities = upstream.capabilities
    return not capabilities.instructions_required and "previous_response_id" not in capabilities.refused_fields


def not_found(response_id: object) -> InvalidRequest:
    return InvalidRequest(
        f"Previous response with id '{response_id}' not found.",
        param="previous_response_id",
        code="previous_response_not_found",
    )
