"""Stores responses and continues them.

If an upstream stores responses itself, its ids pass untouched. For every other upstream the gateway stores them, under
the id that the client sees, and sends the whole history each time. The gateway stores conversations itself, and also
background responses unless all upstreams of the route store them.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Sequence, Sized
from typing import Any, ClassVar

import msgspec

from app.dialects.openai_responses.state.background import change_status
from app.dialects.openai_responses.state.conversation import read_conversation_id
from app.dialects.openai_responses.state.history import (
    continue_request,
    find_id,
    find_referred,
    find_response,
    history_of,
    input_items,
    new_items,
    output_items,
    resolve_references,
)
from app.dialects.openai_responses.vocabulary import NAME
from app.errors import DragomanError, Failure, InvalidRequest, LedgerUnavailable
from app.fairness import give_way
from app.gateway.large_bodies.heavy_work import run_heavy
from app.gateway.messages import ClientRequest, StartedResponse
from app.gateway.peek import Peek, peek_body
from app.gateway.replies.observed_stream import ObservedStream
from app.gateway.responses_api.conversations import Conversations
from app.gateway.responses_api.conversations import not_found as conversation_not_found
from app.ledger import Ledger, read_record
from app.routing.upstream import Upstream


class KeptResponse(msgspec.Struct, frozen=True, omit_defaults=True):
    """A response that was given to a client. With a `provider`, it is stored by that provider's server, and only its
    owner is known here. Otherwise `response` is the whole object and `input` all items that it answered.

    For a running background response, `alive` is the end of its first lease in unix seconds, otherwise 0. The leases
    after it are records of their own: a response may be large, and its worker and its readers come back all the time.
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

    @property
    def size(self) -> int:
        return _size_of(self.input) + len(self.response)


_kept_decoder = msgspec.json.Decoder(KeptResponse)

# Seconds until a running response whose worker renews no lease counts as dead.
LEASE = 20.0

_LOST = Failure(
    kind="internal", message="the gateway worker that ran this response has stopped; send the request again"
)


class ResponseStore:
    """The stored responses, separately for each tenant."""

    def __init__(self, ledger: Ledger) -> None:
        self._collection = ledger.responses
        self._leases = ledger.leases
        self.conversations = Conversations(ledger)

    def begin(self, client_request: ClientRequest) -> ResponseContinuation | None:
        """The continuation of a request; None if it continues nothing and its response is not stored."""
        peek = peek_of(client_request)
        if peek.store is False and not peek.previous_response_id and peek.conversation is None:
            return None
        return ResponseContinuation(self, client_request)

    def find(self, tenant: str, response_id: str) -> KeptResponse | None:
        """The stored response, or None. Raises LedgerUnavailable."""
        found = self._collection.get(tenant, response_id)
        if found is None:
            return None
        kept = run_heavy(len(found), read_record, _kept_decoder, found)
        if kept is None or not (kept.provider or bytes(kept.response).startswith(b"{")):
            return None
        is_lost = 0 < kept.alive < time.time() and not self.is_running(tenant, response_id)
        return as_lost(kept) if is_lost else kept

    def keep(self, tenant: str, response_id: str, kept: KeptResponse) -> None:
        """Stores a response. If the ledger fails, it has logged that, and the client still gets its answer."""
        with contextlib.suppress(LedgerUnavailable):
            self.start(tenant, response_id, kept)

    def start(self, tenant: str, response_id: str, kept: KeptResponse) -> None:
        """Like `keep`, but raises LedgerUnavailable."""
        self._collection.put(tenant, response_id, msgspec.json.encode(kept))

    def change_running(self, tenant: str, response_id: str, change: Callable[[KeptResponse], KeptResponse]) -> bool:
        """Changes a running response; returns False if there is none. Raises LedgerUnavailable."""

        def change_kept(found: bytes) -> bytes | None:
            kept = read_record(_kept_decoder, found)
            return msgspec.json.encode(change(kept)) if kept is not None and kept.alive else None

        return self._collection.update(tenant, response_id, change_kept) is not None

    def lend(self, tenant: str, response_id: str) -> float:
        """Begins the lease of a running response; returns its end in unix seconds. Raises LedgerUnavailable."""
        lease = _render_lease()
        self._leases.put(tenant, response_id, lease)
        return float(lease)

    def renew(self, tenant: str, response_id: str) -> bool:
        """Renews a lease; returns False if the response is over. Raises LedgerUnavailable."""
        return self._leases.update(tenant, response_id, lambda _: _render_lease()) is not None

    def end(self, tenant: str, response_id: str, change: Callable[[KeptResponse], KeptResponse]) -> bool:
        """Changes a running response for the last time; returns False if there is none. Raises LedgerUnavailable."""
        changed = self.change_running(tenant, response_id, change)
        self._leases.delete(tenant, response_id)
        return changed

    def is_running(self, tenant: str, response_id: str) -> bool:
        """Whether a response has a lease, which is all that has to be read to know that. Raises LedgerUnavailable."""
        lease = self._leases.get(tenant, response_id)
        return lease is not None and float(lease) > time.time()

    def forget(self, tenant: str, response_id: str) -> bool:
        """Deletes a response; returns False if there is none. Raises LedgerUnavailable."""
        self._leases.delete(tenant, response_id)
        return self._collection.delete(tenant, response_id)


class ResponseContinuation:
    """The state of one request: what it continues, and whether its answer is stored."""

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
        self._conversation: list[bytes] | None = None
        self._looked = False
        self._prepared_for: Upstream | None = None

    @property
    def adopted(self) -> bool:
        """Whether the answer must be rewritten as the gateway's own, since no upstream could have given it: none knows
        the response that it continues."""
        continues = self._continued is not None and self._continued.provider is None
        return self._background or self._conversation is not None or continues

    def prepare(self, upstream: Upstream) -> ClientRequest:
        """The request for one upstream, with the history added if that upstream does not know it.

        Raises InvalidRequest or NotFound for an id that does not (or no longer) exist, LedgerUnavailable.
        """
        if upstream is self._prepared_for:
            return self._asked
        self._look_up()
        self._asked = self._client_request
        if self._conversation is not None:
            self._asked = self._after(self._conversation)
        elif self._place is not None:
            if self._client_request.tenant or not self._is_keeper(upstream):
                raise conversation_not_found(self._place)
        elif self._previous is not None:
            self._continue(self._previous, upstream)
        if b'"item_reference"' in self._asked.body:
            self._asked = self._resolve(self._asked)
        self._prepared_for = upstream
        return self._asked

    def watch(self, started: StartedResponse) -> StartedResponse:
        """Wraps the answer so that it is stored before the client sees its end."""
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
        """Stores a whole response object. None, and failed or cancelled responses, are not stored."""
        response_id = find_id(response) if response is not None else None
        if response is None or response_id is None:
            return
        keeper = self._is_keeper(upstream)
        kept = KeptResponse(provider=upstream.provider.name) if keeper else self.conclude(response)
        self._response_store.keep(self._client_request.tenant, response_id, kept)

    def conclude(self, response: bytes) -> KeptResponse:
        """The stored form of a response. Also appends the request's new items and the response to its conversation."""
        if self._place is not None and self._conversation is not None and find_id(response) is not None:
            body, history = self._client_request.body, self._conversation
            new = run_heavy(len(body) + _size_of(history), lambda: new_items(history, input_items(body)))
            # If the conversation was deleted meanwhile, is full, or the ledger fails, the client still gets its answer.
            with contextlib.suppress(DragomanError):
                place = self._response_store.conversations
                place.append(self._client_request.tenant, self._place, [*new, *output_items(response)])
        items = run_heavy(len(self._asked.body), input_items, self._asked.body)
        return KeptResponse(response=msgspec.Raw(response), input=[msgspec.Raw(item) for item in items])

    def _after(self, history: Sequence[bytes]) -> ClientRequest:
        """The client's request with a history before its own input. The translation omits the id of a continued
        response, and echoes it in the reply."""
        body = self._client_request.body
        size = len(body) + _size_of(history)
        return self._client_request.with_body(
            run_heavy(size, lambda: continue_request(body, history, name_previous=True))
        )

    def _resolve(self, asked: ClientRequest) -> ClientRequest:
        """A request with the items to which it refers."""
        outputs: list[list[bytes]] = []
        for response_id in run_heavy(asked.size, find_referred, asked.body):
            outputs.append(self._find_output(response_id))
            self._take_room(_size_of(outputs[-1]))
            give_way()
        if not any(outputs):
            return asked
        return asked.with_body(run_heavy(asked.size, resolve_references, asked.body, outputs))

    def _find_output(self, response_id: str) -> list[bytes]:
        kept = self._response_store.find(self._client_request.tenant, response_id)
        return output_items(bytes(kept.response)) if kept is not None and kept.provider is None else []

    def _look_up(self) -> None:
        """Looks up what the request continues, once for all upstreams that are tried."""
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
            tenant, hold = self._client_request.tenant, self._client_request.hold
            self._conversation = self._response_store.conversations.find_items(tenant, self._place, hold)
        self._looked = True
        if self._continued is not None:
            self._take_room(self._continued.size)

    def _take_room(self, size: int) -> None:
        """Counts stored items like a body that the client sent. Raises NoRoom."""
        if self._client_request.hold is not None:
            self._client_request.hold.take(size)

    def _continue(self, previous: str, upstream: Upstream) -> None:
        kept = self._continued
        if kept is None or kept.provider is not None:
            # Without client keys the upstream alone decides whether the id is valid.
            known = kept is None and not self._client_request.tenant
            if not self._is_keeper(upstream) or not (known or (kept and kept.provider == upstream.provider.name)):
                raise not_found(previous)
            return
        if kept.alive or find_id(bytes(kept.response)) is None:
            raise InvalidRequest(
                f"Previous response with id '{previous}' is not complete, so it cannot be continued.",
                param="previous_response_id",
            )
        self._asked = self._after(kept.history)

    def _is_keeper(self, upstream: Upstream) -> bool:
        """Whether the upstream's server stores the response, having given the client its id."""
        return not self.adopted and keeps_responses(upstream)


def _size_of(items: Iterable[Sized]) -> int:
    return sum(map(len, items))


def _render_lease() -> bytes:
    return b"%f" % (time.time() + LEASE)


def as_lost(kept: KeptResponse) -> KeptResponse:
    """Marks a response as failed because its worker died before it was complete."""
    failed = change_status(bytes(kept.response), "failed", _LOST)
    return msgspec.structs.replace(kept, response=msgspec.Raw(failed), alive=0.0)


def keeps_responses(upstream: Upstream) -> bool:
    """Whether the upstream's server gives the client its ids and stores the responses."""
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


class ResponsesPeek(Peek):
    """The fields hold whatever the client sent; they are validated where they are used."""

    names: ClassVar[tuple[str, ...]] = ("previous_response_id", "conversation")

    store: Any = None
    previous_response_id: Any = None
    conversation: Any = None
    background: Any = None

    @property
    def stored(self) -> bool:
        return self.store is not False


PEEK_RESPONSES = peek_body(ResponsesPeek)


def peek_of(client_request: ClientRequest) -> ResponsesPeek:
    """The request's peek, as a ResponsesPeek. Raises InvalidRequest as `ClientRequest.peek` does."""
    peek = client_request.peek
    assert isinstance(peek, ResponsesPeek), "an endpoint of the Responses API reads its requests with PEEK_RESPONSES"
    return peek
