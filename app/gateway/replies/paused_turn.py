"""Continues a paused turn until the upstream finishes it, and joins the rounds into one reply.

An upstream that runs tools itself may pause in the middle of its turn and wait until it is asked to go on. Clients of
its own dialect do that themselves. The others have no word for it, so the gateway asks in their stead, and to them it
is one answer with one beginning and one end.
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

# How often an upstream is asked to go on; then its answer is one that a limit cut short.
MOST_PAUSES = 5


class PausedTurn:
    """The parser of all rounds: their blocks are counted through, and of all starts and ends only the first start and
    the last end are told.

    Clients read the usage as the size of the history, which each round reads anew, with what was said before: the input
    is that of the last round. What is produced in each round adds up.
    """

    def __init__(self, make_parser: Callable[[], StreamParser]) -> None:
        self._make_parser = make_parser
        self._parser = make_parser()
        self._heard: list[Event] = []  # of this round
        self._usage: Usage | None = None
        self._said: Response | None = None  # what the rounds before it add up to
        self._pause: Finished | None = None
        self._left = MOST_PAUSES

    @property
    def paused(self) -> bool:
        """Whether the upstream waits to be asked to go on."""
        return self._pause is not None

    @property
    def said(self) -> Response | None:
        """What the rounds before this one add up to; None in the first."""
        return self._said

    @property
    def spent(self) -> Usage | None:
        """The usage of all rounds, each for itself; what the client is told is less."""
        before = self._said.usage if self._said is not None else None
        return add_usages([usage for usage in (before, self._usage) if usage is not None])

    def feed(self, data: Sequence[bytes]) -> list[Event]:
        return self._join(self._parser.feed(data))

    steady = False  # each event is heard
    growing = None

    def close(self) -> list[Event]:
        """The end. A pause that nobody has ended is one."""
        return self._join(self._parser.close()) if self._pause is None else [self._pause]

    def resume(self) -> Response:
        """Makes ready for the next round. What the upstream is to be told that it has said."""
        said = msgspec.structs.replace(fold(self._heard), usage=self.spent)
        if self._said is not None:
            blocks, extensions = self._said.blocks + said.blocks, self._said.extensions | said.extensions
            said = msgspec.structs.replace(said, blocks=blocks, extensions=extensions)
        self._said = said
        self._parser, self._heard, self._usage, self._pause = self._make_parser(), [], None, None
        self._left -= 1
        return said

    def _join(self, events: Sequence[Event]) -> list[Event]:
        said = self._said
        joined: list[Event] = []
        for event in events:
            self._heard.append(event)
            match event:
                case Finished(finish_reason="pause") if self._may_go_on():
                    self._pause = event
                case Started() if said is not None:
                    pass
                case BlockDelta() | BlockOpened() | BlockNoted() | BlockClosed() if said is not None:
                    joined.append(msgspec.structs.replace(event, index=event.index + len(said.blocks)))
                case UsageSeen():
                    self._usage = event.usage
                    joined.append(event if said is None else UsageSeen(_add_output(event.usage, said.usage)))
                case _:
                    joined.append(event)
        return joined

    def _may_go_on(self) -> bool:
        """A round in which nothing was said would be followed by its like, and a call waits for the client."""
        opened = [event.block for event in self._heard if isinstance(event, BlockOpened)]
        return self._left > 0 and bool(opened) and not any(isinstance(block, ToolCall) for block in opened)


class PausedTurnExchange(Exchange):
    """The replies of all rounds, read as one. `ask` obtains the next, given what was said so far."""

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
        """As of any exchange; between two rounds a silence may be longer or shorter than `wait`."""
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
    )
