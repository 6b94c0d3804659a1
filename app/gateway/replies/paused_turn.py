"""Continues a paused turn until the upstream finishes it, and joins the rounds into one reply.

An upstream that runs tools itself may pause in the middle of its turn and wait to be asked to continue. Clients of its
own dialect do that themselves. Other dialects cannot express it, so the gateway asks on the client's behalf, and the
client sees one answer with one beginning and one end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from app.conversation.blocks import ToolCall
from app.conversation.events import (
    BlockClosed,
    BlockDelta,
    BlockNoted,
    BlockOpened,
    Event,
    Finished,
    Started,
    UsageSeen,
)
from app.conversation.response import Response, Usage, add_usages
from app.conversation.streams.fold import fold
from app.dialects.contract import StreamParser
from app.transport import Exchange, Obtaining

# How often an upstream is asked to continue; after that its answer counts as cut short by a limit.
MAX_PAUSES = 5


class PausedTurn:
    """The parser of all rounds. Their blocks are numbered consecutively; only the first start and the last end are
    passed on.

    Clients take the input usage as the size of the history. Each round reads the history and the rounds before it
    again, so the input is that of the last round, while the output of all rounds adds up.
    """

    def __init__(self, make_parser: Callable[[], StreamParser]) -> None:
        self._make_parser = make_parser
        self._parser = make_parser()
        self._heard: list[Event] = []  # the events of this round
        self._usage: Usage | None = None
        self._response: Response | None = None  # the previous rounds together
        self._pause: Finished | None = None
        self._left = MAX_PAUSES

    @property
    def paused(self) -> bool:
        """Whether the upstream waits to be asked to continue."""
        return self._pause is not None

    @property
    def response(self) -> Response | None:
        """The previous rounds as one answer; None in the first round."""
        return self._response

    @property
    def spent(self) -> Usage | None:
        """The sum of all rounds' usages, including each round's input; the client is told less."""
        before = self._response.usage if self._response is not None else None
        return add_usages([usage for usage in (before, self._usage) if usage is not None])

    def feed(self, data: Sequence[bytes]) -> list[Event]:
        return self._join(self._parser.feed(data))

    steady = False  # every event must be parsed
    growing = snapshots = None
    ending = False  # after a pause the next round follows

    def close(self) -> list[Event]:
        """Ends the stream. A pause that was not resumed counts as the end."""
        return self._join(self._parser.close()) if self._pause is None else [self._pause]

    def resume(self) -> Response:
        """Prepares for the next round. Returns all rounds so far as one answer, to be sent back to the upstream."""
        response = msgspec.structs.replace(fold(self._heard), usage=self.spent)
        if self._response is not None:
            blocks, extensions = (
                self._response.blocks + response.blocks,
                self._response.extensions | response.extensions,
            )
            response = msgspec.structs.replace(response, blocks=blocks, extensions=extensions)
        self._response = response
        self._parser, self._heard, self._usage, self._pause = self._make_parser(), [], None, None
        self._left -= 1
        return response

    def _join(self, events: Sequence[Event]) -> list[Event]:
        spoken = self._response
        joined: list[Event] = []
        for event in events:
            self._heard.append(event)
            match event:
                case Finished(finish_reason="pause") if self._may_go_on():
                    self._pause = event
                case Started() if spoken is not None:
                    pass
                case BlockDelta() | BlockOpened() | BlockNoted() | BlockClosed() if spoken is not None:
                    joined.append(msgspec.structs.replace(event, index=event.index + len(spoken.blocks)))
                case UsageSeen():
                    self._usage = event.usage
                    joined.append(event if spoken is None else UsageSeen(_add_output(event.usage, spoken.usage)))
                case _:
                    joined.append(event)
        return joined

    def _may_go_on(self) -> bool:
        """Whether to ask for another round. Not after an empty round, since the next would be empty too, nor after a
        tool call, which waits for the client."""
        opened = [event.block for event in self._heard if isinstance(event, BlockOpened)]
        return self._left > 0 and bool(opened) and not any(isinstance(block, ToolCall) for block in opened)


class PausedTurnExchange(Exchange):
    """The replies of all rounds, read as one. `ask` obtains the next one, given the answer so far."""

    def __init__(
        self, first: Exchange, paused_turn: PausedTurn, ask: Callable[[Response], Obtaining[Exchange]]
    ) -> None:
        self._exchange = first
        self._paused_turn = paused_turn
        self._ask = ask
        self._asking: Obtaining[Exchange] | None = None
        self.status = first.status
        self.headers = first.headers

    def wait_head(self, wait: float | None = None) -> bool:
        return self._exchange.wait_head(wait)

    def read_part(self, wait: float | None = None) -> bytes | None:
        """Like any exchange's `read_part`; between two rounds a silence may be longer or shorter than `wait`."""
        if self._paused_turn.paused:
            self._exchange.close()
            self._asking = self._ask(self._paused_turn.resume())
        if self._asking is not None:
            try:
                next(self._asking)
            except StopIteration as done:
                self._exchange, self._asking = done.value, None
            else:
                return None
        return self._exchange.read_part(wait)

    def close(self) -> None:
        if self._asking is not None:
            self._asking.close()
        self._exchange.close()


def _add_output(usage: Usage, before: Usage | None) -> Usage:
    before = before or Usage()
    return msgspec.structs.replace(
        usage,
        output=usage.output + before.output,
        reasoning=usage.reasoning + before.reasoning,
        web_searches=usage.web_searches + before.web_searches,
        images=usage.images + before.images,
    )
