"""Retrieves, lists, cancels and deletes stored responses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal
from urllib.parse import quote, urlencode

from app.dialects.openai_responses import parse_error
from app.dialects.openai_responses.state.background import read_head
from app.dialects.openai_responses.state.history import identify_items, list_items, render_deleted
from app.dialects.openai_responses.vocabulary import NAME
from app.errors import InvalidRequest, NotFound, UpstreamRefused
from app.gateway.delivery import JSON_HEADERS, STREAM_HEADERS, is_streamed
from app.gateway.failures.repairs.repair import ABSENT_STATUSES
from app.gateway.large_bodies.heavy_work import run_heavy
from app.gateway.messages import ClientRequest, ClientResponse
from app.gateway.replies.reply_headers import mask_errors, relayed_headers
from app.gateway.responses_api.background import Background
from app.gateway.responses_api.response_store import KeptResponse, ResponseStore
from app.providers.provider import Provider
from app.transport import Exchange

Action = Literal["retrieve", "delete", "cancel", "input_items"]

# Method of each action, and its path after the response's own.
REQUESTS: dict[Action, tuple[str, str]] = {
    "retrieve": ("GET", ""),
    "delete": ("DELETE", ""),
    "cancel": ("POST", "/cancel"),
    "input_items": ("GET", "/input_items"),
}


class StoredResponses:
    """Answers from the responses stored here, or relays to the providers that store their own."""

    def __init__(
        self, response_store: ResponseStore, background: Background, providers: Mapping[str, Provider]
    ) -> None:
        self._response_store = response_store
        self._background = background
        self._keepers = {
            name: provider
            for name, provider in providers.items()
            if provider.dialect == NAME and provider.offers("responses")
        }

    def answer(
        self, action: Action, asked: ClientRequest, response_id: str, query: Mapping[str, str]
    ) -> ClientResponse:
        """Performs an action on a response. Raises DragomanError; NotFound also for another tenant's response."""
        tenant, provider = asked.tenant, asked.provider
        kept = self._response_store.find(tenant, response_id)
        if kept is not None and asked.hold is not None:
            asked.hold.take(kept.size)
        if kept is not None and kept.provider is None:
            return self._answer_kept(action, tenant, response_id, query, kept)
        for keeper in self._find_keepers(kept, tenant, provider):
            answered = _relay(keeper, action, response_id, query)
            if answered is not None:
                if action == "delete":
                    self._response_store.forget(tenant, response_id)
                return answered
        raise NotFound(f"Response with id '{response_id}' not found.", param="response_id")

    def _answer_kept(
        self, action: Action, tenant: str, response_id: str, query: Mapping[str, str], kept: KeptResponse
    ) -> ClientResponse:
        response = bytes(kept.response)
        background = read_head(response).background
        match action:
            case "retrieve" if query.get("stream") != "true":
                return _found(response)
            case "retrieve":
                if not background:
                    raise InvalidRequest("stream: only a background response can be streamed again", param="stream")
                events = self._background.replay(tenant, response_id, _read_after(query))
                return ClientResponse(200, dict(STREAM_HEADERS), events)
            case "delete":
                self._response_store.forget(tenant, response_id)
                if background:
                    self._background.forget(tenant, response_id)
                return _found(render_deleted(response_id))
            case "cancel":
                if not background:
                    raise InvalidRequest("Cannot cancel a synchronous response.", param="response_id")
                return _found(self._background.cancel(tenant, response_id))
            case "input_items":
                return _found(run_heavy(sum(map(len, kept.input)), _list_input, response_id, kept.items, query))

    def _find_keepers(self, kept: KeptResponse | None, tenant: str, provider: str | None) -> list[Provider]:
        """The providers that may have a response that is not stored here. A tenant's responses are all recorded here;
        without tenants, those that a provider stores are not."""
        if kept is not None:
            return [self._keepers[kept.provider]] if kept.provider in self._keepers else []
        if tenant:
            return []
        return [keeper for name, keeper in self._keepers.items() if provider in (None, name)]


def _list_input(response_id: str, items: Sequence[bytes], query: Mapping[str, str]) -> bytes:
    return list_items(identify_items(response_id.removeprefix("resp_"), items), query)


def _read_after(query: Mapping[str, str]) -> int:
    after = query.get("starting_after", "-1")
    if not (len(after) < 19 and after.isascii() and after.removeprefix("-").isdecimal()):
        raise InvalidRequest("starting_after: must be the sequence number of an event", param="starting_after")
    return int(after)


def _relay(keeper: Provider, action: Action, response_id: str, query: Mapping[str, str]) -> ClientResponse | None:
    """The upstream's answer; None if it does not know the response. Raises DragomanError."""
    method, path = REQUESTS[action]
    exchange = keeper.reach(method, f"/{quote(response_id, safe='')}{path}", urlencode(query))
    streamed = False
    try:
        exchange.wait_head()
        if exchange.status in ABSENT_STATUSES:
            return None
        if not 200 <= exchange.status < 300:
            raise _refusal(keeper, exchange)
        headers = relayed_headers(exchange.headers, same_dialect=True)
        streamed = is_streamed(exchange.headers)
        headers |= STREAM_HEADERS if streamed else JSON_HEADERS  # whatever the upstream calls it, it is no page
        return ClientResponse(
            exchange.status, headers, _parts(exchange) if streamed else mask_errors(exchange.read_body())
        )
    finally:
        if not streamed:
            exchange.close()


def _refusal(keeper: Provider, exchange: Exchange) -> UpstreamRefused:
    failure = parse_error(exchange.status, exchange.headers, exchange.read_body())
    return UpstreamRefused(keeper.explain(failure), relayed_headers(exchange.headers, same_dialect=True))


def _parts(exchange: Exchange) -> Iterator[bytes]:
    try:
        while part := exchange.read_part():
            yield mask_errors(part)
    finally:
        exchange.close()


def _found(body: bytes) -> ClientResponse:
    return ClientResponse(200, {"content-type": "application/json"}, body)
