"""This file is the state of Responses clients: what they said before, and what must be there when they come back.

An upstream that keeps responses itself is left to it: its ids pass untouched. For every other upstream the gateway
keeps them, under the id that the client sees, and gives the upstream the whole history each time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from app.conversation.response import Usage
from app.dialects.contract import StreamPassthrough
from app.dialects.openai_responses.history import (
    continue_request,
    find_id,
    find_response,
    history_of,
    input_items,
)
from app.dialects.openai_responses.vocabulary import NAME
from app.errors import Failure, InvalidRequest, LedgerUnavailable, Unsupported
from app.gateway.messages import Inbound
from app.ledger import Ledger
from app.routing.router import Upstream

if TYPE_CHECKING:
    from app.gateway.delivery import Opened


class KeptResponse(msgspec.Struct, frozen=True, omit_defaults=True):
    """A response that was given to a client. One with a `provider` is kept by that provider's own server, and only
    its owner is known here; of any other `response` is the whole object, `input` all items that it answered."""

    provider: str | None = None
    response: msgspec.Raw = msgspec.Raw(b"null")
    input: list[msgspec.Raw] = []

    @property
    def items(self) -> list[bytes]:
        return [bytes(item) for item in self.input]

    @property
    def history(self) -> list[bytes]:
        return history_of(self.items, bytes(self.response))


_kept_decoder = msgspec.json.Decoder(KeptResponse)


class Memory:
    """What is remembered of responses, for each tenant apart."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def begin(self, inbound: Inbound) -> ResponseState | None:
        """The state of a request; None for one that neither continues anything nor is to be kept."""
        peek = inbound.peek
        if peek.store is False and peek.previous_response_id is None and peek.conversation is None:
            return None
        return ResponseState(self, inbound)

    def find(self, tenant: str, response_id: str) -> KeptResponse | None:
        """Raises LedgerUnavailable."""
        kept = self._ledger.responses.get(tenant, response_id)
        return None if kept is None else _kept_decoder.decode(kept)

    def keep(self, tenant: str, response_id: str, kept: KeptResponse) -> None:
        """A ledger that fails has said so in the log; the client gets its answer all the same."""
        with contextlib.suppress(LedgerUnavailable):
            self._ledger.responses.put(tenant, response_id, msgspec.json.encode(kept))

    def forget(self, tenant: str, response_id: str) -> bool:
        """Raises LedgerUnavailable."""
        return self._ledger.responses.delete(tenant, response_id)


class ResponseState:
    """The state of one request: what it continues, and whether its answer is kept."""

    def __init__(self, memory: Memory, inbound: Inbound) -> None:
        peek = inbound.peek
        self._memory = memory
        self._inbound = inbound
        self._asked = inbound
        self._store = peek.store is not False
        self._previous = peek.previous_response_id
        self._continued: KeptResponse | None = None
        self._looked = False

    def prepare(self, upstream: Upstream) -> Inbound:
        """The request as it goes to one upstream, with its history where that upstream does not know it.

        Raises InvalidRequest for an id that does not exist (any more), LedgerUnavailable.
        """
        native = keeps_responses(upstream)
        self._asked = self._inbound
        if self._inbound.peek.conversation is not None and self._inbound.tenant:
            raise Unsupported("conversation: clients with a key share no conversations here", param="conversation")
        if self._previous is None:
            return self._inbound
        kept = self._find_previous()
        if kept is not None and kept.provider is None:
            self._asked = self._continue(kept.history, upstream)
        elif not native or not self._owns(kept, upstream):
            raise not_found(self._previous)
        return self._asked

    def watch(self, opened: Opened) -> Opened:
        """The answer, such that it is kept before its client sees the end of it."""
        upstream = opened.upstream
        if not self._store or (keeps_responses(upstream) and not self._inbound.tenant):
            return opened
        if opened.stream is not None:
            opened.stream = KeptStream(opened.stream, self, upstream)
            self.keep(find_response(opened.first), upstream)
        else:
            whole = find_response(opened.first) if self._inbound.peek.stream else opened.first
            self.keep(whole, upstream)
        return opened

    def keep(self, response: bytes | None, upstream: Upstream) -> None:
        """Keeps a whole response object; None, or one that failed, is not kept."""
        response_id = find_id(response) if response is not None else None
        if response is None or response_id is None:
            return
        if keeps_responses(upstream):
            kept = KeptResponse(provider=upstream.provider.name)
        else:
            items = [msgspec.Raw(item) for item in input_items(self._asked.body)]
            kept = KeptResponse(response=msgspec.Raw(response), input=items)
        self._memory.keep(self._inbound.tenant, response_id, kept)

    def _find_previous(self) -> KeptResponse | None:
        if not self._looked:
            if not isinstance(self._previous, str):
                raise InvalidRequest("previous_response_id must be a string", param="previous_response_id")
            if self._inbound.peek.conversation is not None:
                raise InvalidRequest("previous_response_id and conversation exclude each other", param="conversation")
            self._continued = self._memory.find(self._inbound.tenant, self._previous)
            self._looked = True
        return self._continued

    def _owns(self, kept: KeptResponse | None, upstream: Upstream) -> bool:
        """Whether this upstream may be asked to go on. Without client keys its own word on the id is enough."""
        if kept is None:
            return not self._inbound.tenant
        return kept.provider == upstream.provider.name

    def _continue(self, history: Sequence[bytes], upstream: Upstream) -> Inbound:
        inbound = self._inbound
        # A passthrough sends what it is given; a translation leaves the id out by itself, and echoes it.
        passes = upstream.capabilities.dialect == NAME and not upstream.rewrites
        body = continue_request(inbound.body, history, name_previous=not passes)
        return inbound.with_body(body)


class KeptStream:
    """A stream whose response is kept before the event that ends it goes out."""

    def __init__(self, stream: StreamPassthrough, state: ResponseState, upstream: Upstream) -> None:
        self._stream = stream
        self._state = state
        self._upstream = upstream
        self.ping = stream.ping

    @property
    def finished(self) -> bool:
        return self._stream.finished

    @property
    def usage(self) -> Usage | None:
        return self._stream.usage

    def feed(self, part: bytes) -> bytes:
        return self._kept(self._stream.feed(part))

    def close(self) -> bytes:
        return self._kept(self._stream.close())

    def fail(self, failure: Failure) -> bytes:
        return self._stream.fail(failure)

    def _kept(self, events: bytes) -> bytes:
        response = find_response(events)
        if response is not None:
            self._state.keep(response, self._upstream)
        return events


def keeps_responses(upstream: Upstream) -> bool:
    """Whether the upstream's server is the one that gave the client its ids, and keeps what is behind them."""
    if upstream.capabilities.dialect != NAME or upstream.rewrites:
        return False
    capabilities = upstream.capabilities
    return not capabilities.instructions_required and "previous_response_id" not in capabilities.refused_fields


def not_found(response_id: object) -> InvalidRequest:
    return InvalidRequest(
        f"Previous response with id '{response_id}' not found.",
        param="previous_response_id",
        code="previous_response_not_found",
    )
