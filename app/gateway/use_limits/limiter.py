"""Counts requests against limits: an estimate before sending, the real use at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

import msgspec

from app.accounts.prices import Prices
from app.accounts.record import RequestRecord
from app.conversation.response import Usage
from app.conversation.tokens.estimate import STREAM_BYTES, WHOLE_BYTES, estimate_tokens
from app.conversation.traits import DialectTraits
from app.errors import DragomanError
from app.gateway.messages import ClientRequest
from app.gateway.use_limits.refusal import Owner, OwnerKind, limit_headers, refuse
from app.rate_limits.counts import Demand, Full, Kind, Limit, Taken, place_of
from app.rate_limits.shared_counts import SharedCounts
from app.routing.upstream import Upstream

# Output tokens counted in advance if the client sets no limit, and the maximum counted in advance: a client that allows
# far more than it needs would block itself.
USUAL_OUTPUT, MAX_OUTPUT = 1024, 4096
_CUT = ("client_closed", "upstream_cut", "stopped")

_NOTHING = Usage()

FindPrices = Callable[[], Prices | None]


class Reservation:
    """What was counted in advance for one request. `settle` replaces it, once, by the actual use. If only requests are
    limited there is nothing to correct, and it `stands`."""

    __slots__ = ("_counts", "_input", "_prices", "_taken", "stands")

    def __init__(
        self, counts: SharedCounts, taken: Taken, input_tokens: int, prices: FindPrices, *, stands: bool
    ) -> None:
        self._counts = counts
        self._taken: Taken | None = taken
        self.stands = stands
        self._input = input_tokens
        self._prices = prices

    def limit_headers(self, traits: DialectTraits) -> Mapping[str, str]:
        """The headers that show the client what is left of its limits."""
        return {} if self._taken is None else limit_headers(self._taken, traits)

    def settle(self, record: RequestRecord | None) -> None:
        """Replaces the advance count by the actual use; with None, where no use is known, only the request counts."""
        taken, self._taken = self._taken, None
        if taken is None or self.stands:
            return
        usage = None if record is None else self._find_usage(record)
        tokens = 0 if usage is None else usage.input + usage.output
        cost = 0 if record is None or usage is None else self._find_cost(record, usage)
        used: dict[Kind, int] = {"requests": 1, "tokens": tokens, "parallel": 0, "budget": cost}
        self._counts.settle(taken, [used[demand.limit.kind] for demand, _ in taken.demands])

    def _find_usage(self, record: RequestRecord) -> Usage | None:
        """The usage: as the upstream reported it, or estimated from the bytes received if the answer was cut off. A
        client that leaves has used what it asked for, whether or not the upstream had begun to answer."""
        usage, cut = record.usage, record.terminal in _CUT
        if usage is not None and not cut:
            return usage
        asked = record.times.upstream_head is not None or (record.attempts and not record.attempts[-1].error)
        if usage is None and (record.terminal == "error" or not asked):
            return None
        came = record.bytes_out // (STREAM_BYTES if record.stream else WHOLE_BYTES)
        if usage is None:
            return Usage(fresh=self._input, output=came, estimated=True)
        return usage if usage.output >= came else msgspec.structs.replace(usage, output=came, estimated=True)

    def _find_cost(self, record: RequestRecord, usage: Usage) -> int:
        """The cost in billionths of a dollar. What is not billed, such as use of a subscription, spends no budget."""
        if not record.billed:
            return 0
        if usage is record.usage and record.cost is not None:
            return record.cost
        prices = self._prices()
        return 0 if prices is None else prices.bill_known(record.provider, record.target.partition("/")[2], usage)


class Limiter:
    """Applies the limits of all keys and providers. `prices` returns the current prices."""

    def __init__(self, counts: SharedCounts, prices: FindPrices) -> None:
        self.counts = counts
        self._prices = prices

    def reserve(
        self,
        kind: OwnerKind,
        name: str,
        limits: tuple[Limit, ...],
        client_request: ClientRequest,
        find_upstream: Callable[[], Upstream],
    ) -> Reservation:
        """Counts a request against each limit of a key or provider. `find_upstream` returns the first upstream it may
        go to, and is called only if that matters. Raises LimitReached if a limit is reached, and what
        `Continuation.prepare` raises."""
        prepared = _prepare(kind, name, limits)
        demands, usage = prepared.ones, _NOTHING
        if demands is None:
            state = client_request.continuation
            usage = _estimate(client_request if state is None else state.prepare(find_upstream()))
            cost = _estimate_cost(find_upstream(), usage, self._prices()) if prepared.is_budgeted else 0
            amounts = {"requests": 1, "parallel": 1, "tokens": usage.fresh + usage.output, "budget": cost}
            demands = tuple([
                Demand(prepared.owner.mark, limit, amounts[limit.kind], place)
                for limit, place in zip(limits, prepared.places, strict=True)
            ])  # fmt: skip
        taken = self.counts.take(demands)
        if isinstance(taken, Full):
            raise refuse(prepared.owner, taken, client_request.dialect.TRAITS)
        return Reservation(self.counts, taken, usage.fresh, self._prices, stands=prepared.stands)


class _Prepared(msgspec.Struct, frozen=True):
    """What all requests of an owner have in common. `ones` are their demands, or None if these depend on what is asked;
    if the demands are final, they `stand`."""

    owner: Owner
    places: tuple[bytes, ...]
    ones: tuple[Demand, ...] | None
    stands: bool
    is_budgeted: bool


@lru_cache(maxsize=4096)
def _prepare(kind: OwnerKind, name: str, limits: tuple[Limit, ...]) -> _Prepared:
    owner, kinds = Owner(kind, name), {limit.kind for limit in limits}
    mark = owner.mark
    places = tuple(place_of(mark, limit.kind, limit.period) for limit in limits)
    ones = tuple(Demand(mark, limit, 1) for limit in limits) if kinds <= {"requests", "parallel"} else None
    return _Prepared(owner, places, ones, kinds == {"requests"}, "budget" in kinds)


def _estimate_cost(upstream: Upstream, usage: Usage, prices: Prices | None) -> int:
    if prices is None or not upstream.provider.bills:
        return 0
    return prices.bill_known(upstream.provider.name, upstream.model, usage)


def _estimate(client_request: ClientRequest) -> Usage:
    """The estimated tokens of a request and of its answer."""
    by_size = len(client_request.body) // WHOLE_BYTES
    try:
        if by_size <= MAX_OUTPUT:
            return Usage(fresh=by_size, output=_bound_output(_asked.decode(client_request.body).maximum))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass  # its error is raised later, or the whole parser repairs it
    try:
        request = client_request.request
    except DragomanError:
        return Usage(fresh=by_size, output=0)
    # Fields that only this dialect knows are not read, and may hold any prompt.
    unread = sum(len(msgspec.json.encode(field.value)) for field in request.extensions)
    return Usage(fresh=estimate_tokens(request) + unread // WHOLE_BYTES, output=_bound_output(request.max_tokens))


def _bound_output(maximum: int | None) -> int:
    return USUAL_OUTPUT if maximum is None else max(0, min(maximum, MAX_OUTPUT))


class _Asked(msgspec.Struct):
    """What the dialects call the most tokens of an answer."""

    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    max_output_tokens: int | None = None

    @property
    def maximum(self) -> int | None:
        given = (self.max_completion_tokens, self.max_output_tokens, self.max_tokens)
        return next((each for each in given if each is not None), None)


# A small request is not worth parsing for an estimate. It counts by its bytes, with no more than an answer may.
_asked = msgspec.json.Decoder(_Asked)
