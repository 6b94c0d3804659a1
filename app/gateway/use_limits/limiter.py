"""Counts requests against limits: an estimate before sending, the real use at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from app.accounts.prices import Prices
from app.accounts.record import RequestRecord
from app.conversation.response import Usage
from app.conversation.tokens.estimate import estimate_tokens
from app.conversation.traits import DialectTraits
from app.errors import DragomanError
from app.gateway.messages import ClientRequest
from app.gateway.use_limits.refusal import Owner, refuse, tell_left
from app.rate_limits.counts import Demand, Full, Kind, Limit, Taken
from app.rate_limits.shared_counts import SharedCounts
from app.routing.router import Upstream

# Tokens of an answer that are counted before it is there, where the client asks for none, and the most that are: a
# client that allows far more than it needs would keep itself waiting.
USUAL_OUTPUT, MOST_OUTPUT = 1024, 4096
# Bytes of an answer for each of its tokens, where nobody has counted them: an event of a stream holds one or two.
STREAM_BYTES, WHOLE_BYTES = 100, 4
_CUT = ("client_closed", "upstream_cut", "stopped")

_NOTHING = Usage()

Bill = Callable[[str, str, Usage], int | None]


class Reservation:
    """What one request was counted with. `settle` puts in its place what the request came to, once; where only requests
    are limited there is nothing to be put right, and it `stands`."""

    __slots__ = ("_bill", "_counts", "_input", "_taken", "stands")

    def __init__(self, counts: SharedCounts, taken: Taken, input_tokens: int, bill: Bill | None) -> None:
        self._counts = counts
        self._taken: Taken | None = taken
        self.stands = all(demand.limit.kind == "requests" for demand, _ in taken.demands)
        self._input = input_tokens
        self._bill = bill

    def tell_left(self, traits: DialectTraits) -> Mapping[str, str]:
        """The headers that tell the client what is left of its limits."""
        taken = self._taken
        if taken is None:
            return {}
        return tell_left(zip((demand.limit for demand, _ in taken.demands), taken.used, strict=True), traits)

    def settle(self, record: RequestRecord | None) -> None:
        """`record` None lets go of what was counted for a request of which nothing is known."""
        taken, self._taken = self._taken, None
        if taken is None or self.stands:
            return
        usage = None if record is None else self._find_usage(record)
        tokens = 0 if usage is None else usage.input + usage.output
        cost = 0 if record is None or usage is None else self._find_cost(record, usage)
        used: dict[Kind, int] = {"requests": 1, "tokens": tokens, "parallel": 0, "budget": cost}
        self._counts.settle(taken, [used[demand.limit.kind] for demand, _ in taken.demands])

    def _find_usage(self, record: RequestRecord) -> Usage | None:
        """What was used: as the upstream told, or by what came where it could not tell any more."""
        usage, cut = record.usage, record.terminal in _CUT
        if usage is not None and not cut:
            return usage
        times = record.times
        if usage is None and (record.terminal == "error" or times.upstream_head is None):
            return None
        came = record.bytes_out // (STREAM_BYTES if record.stream else WHOLE_BYTES)
        if usage is None:
            return Usage(fresh=self._input, output=came, estimated=True)
        return usage if usage.output >= came else Usage(
            fresh=usage.fresh, cache_read=usage.cache_read, cache_written=usage.cache_written,
            cache_written_1h=usage.cache_written_1h, output=came, web_searches=usage.web_searches, estimated=True,
        )  # fmt: skip

    def _find_cost(self, record: RequestRecord, usage: Usage) -> int:
        """Billionths of a dollar. What nobody bills, such as the list price of a subscription, spends no budget."""
        if not record.billed or self._bill is None:
            return 0
        if usage is record.usage and record.cost is not None:
            return record.cost
        return self._bill(record.provider, record.target.partition("/")[2], usage) or 0


class Limiter:
    """The limits of all keys and providers. `prices` tells what tokens cost now."""

    def __init__(self, counts: SharedCounts, prices: Callable[[], Prices | None]) -> None:
        self.counts = counts
        self._prices = prices

    def reserve(
        self,
        owner: Owner,
        limits: Sequence[Limit],
        client_request: ClientRequest,
        find_upstream: Callable[[], Upstream],
    ) -> Reservation:
        """Counts a request with each of the limits. `find_upstream` tells the first upstream that it may go to, where
        there is a budget. Raises LimitReached where one of them is reached."""
        kinds = {limit.kind for limit in limits}
        prices = self._prices()
        usage = _estimate(client_request) if "tokens" in kinds or "budget" in kinds else _NOTHING
        cost = _estimate_cost(find_upstream(), usage, prices) if "budget" in kinds else 0
        amounts: dict[Kind, int] = {
            "requests": 1,
            "tokens": usage.fresh + usage.output,
            "parallel": 1,
            "budget": cost,
        }
        taken = self.counts.take([Demand(owner.mark, limit, amounts[limit.kind]) for limit in limits])
        if isinstance(taken, Full):
            raise refuse(owner, taken, client_request.dialect.TRAITS)
        return Reservation(self.counts, taken, usage.fresh, None if prices is None else prices.bill)


def _estimate_cost(upstream: Upstream, usage: Usage, prices: Prices | None) -> int:
    if prices is None or not upstream.provider.bills:
        return 0
    return prices.bill(upstream.provider.name, upstream.model, usage) or 0


def _estimate(client_request: ClientRequest) -> Usage:
    """The tokens of a request and of an answer as it may become."""
    try:
        request = client_request.request
    except DragomanError:
        return Usage(fresh=len(client_request.body) // WHOLE_BYTES, output=0)  # what it lacks is said later
    output = min(request.max_tokens if request.max_tokens is not None else USUAL_OUTPUT, MOST_OUTPUT)
    return Usage(fresh=estimate_tokens(request), output=output)
