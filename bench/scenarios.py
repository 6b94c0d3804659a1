"""Lists what is measured: the answers, the scenarios, the figures, and the targets they are held to."""

from __future__ import annotations

from typing import Literal

from dialects import CHAT, MESSAGES, RESPONSES, Dialect
from msgspec import Struct

# Sixteen of these are where the upstream writes its clock, so that a piece's delay shows at the client.
STAMP = "#" * 16


class Answer(Struct, frozen=True):
    """An answer of the fake upstream; its name is the model that gives it. Several pieces make a stream."""

    name: str
    pieces: int
    pause_ms: int = 0

    @property
    def streamed(self) -> bool:
        return self.pieces > 1

    @property
    def texts(self) -> list[str]:
        if not self.streamed:
            return ["".join(f"w{number:04} " for number in range(100))]
        tail = f"{STAMP} " if self.pause_ms else "and so on "
        return [f"w{number:04} {tail}" for number in range(self.pieces)]


UNARY = Answer("unary", 1)
FEW = Answer("few", 5)
BURST = Answer("burst", 200)
SLOW = Answer("slow", 50, pause_ms=100)
SHORT = Answer("short", 20, pause_ms=50)
STEADY = Answer("steady", 200, pause_ms=10)
# Open, and as good as silent.
IDLE = Answer("idle", 3, pause_ms=20_000)
ANSWERS = (UNARY, FEW, BURST, SLOW, SHORT, STEADY, IDLE)


class Scenario(Struct, frozen=True, kw_only=True):
    """One load. The gateway translates from `client` to `upstream`; its peers pass on the client's own dialect.

    `per` is what the CPU time is divided by; `limit` is how many times the CPU time of bare Node the gateway may take;
    `rewritten` is a load that the gateway translates although both sides speak the same dialect; `previous` a stored
    response that the request goes on from; `pause_us` passes on a connection between an answer and the next request.
    """

    name: str
    client: Dialect
    upstream: Dialect
    answer: Answer
    connections: int
    per: Literal["request", "event"] = "request"
    tool_rounds: int = 0
    rewritten: bool = False
    previous: str | None = None
    pause_us: int = 0
    limit: float | None = None

    @property
    def model(self) -> str:
        """The provider's name in the gateway's configuration and the model that gives the answer."""
        provider = REWRITING if self.rewritten else PROVIDERS[self.upstream]
        return f"{provider}/{self.answer.name}"


PROVIDERS = {CHAT: "chat", MESSAGES: "messages"}
# A chat upstream whose requests are not passed on but rendered anew, for its settings ask for a change to them: so
# request and answer go through the conversation model although the client speaks the same dialect.
REWRITING = "chat-rewritten"


def _unary(name: str, client: Dialect, connections: int, limit: float | None = None) -> Scenario:
    return Scenario(name=name, client=client, upstream=CHAT, answer=UNARY, connections=connections, limit=limit)


def _burst(name: str, client: Dialect, upstream: Dialect, limit: float | None = None) -> Scenario:
    return Scenario(name=name, client=client, upstream=upstream, answer=BURST, connections=16, per="event", limit=limit)


def _slow(name: str, client: Dialect, answer: Answer, connections: int) -> Scenario:
    return Scenario(name=name, client=client, upstream=CHAT, answer=answer, connections=connections, per="event")


UNARY_16 = _unary("unary-pass-16", CHAT, 16, limit=4.0)
MESSAGES_BURST = _burst("burst-messages-to-chat", MESSAGES, CHAT, limit=1.3)
RESPONSES_BURST = _burst("burst-responses-to-chat", RESPONSES, CHAT)
CHAT_BURST = Scenario(
    name="burst-chat-to-chat-translated",
    client=CHAT,
    upstream=CHAT,
    answer=BURST,
    connections=16,
    per="event",
    rewritten=True,
)
# The answer is a small one: nearly all of this is the CPU time until the upstream has the body.
HISTORY = Scenario(name="history", client=MESSAGES, upstream=CHAT, answer=UNARY, connections=1, tool_rounds=100)

# Repeated on every connection for a fixed time, on the gateway and on each peer in turn.
COSTS = (
    _unary("unary-pass-1", CHAT, 1),
    UNARY_16,
    _unary("unary-pass-64", CHAT, 64, limit=4.0),
    _unary("unary-messages-to-chat", MESSAGES, 16),
    _burst("burst-pass", CHAT, CHAT, limit=1.0),
    MESSAGES_BURST,
    _burst("burst-chat-to-messages", CHAT, MESSAGES, limit=1.3),
    CHAT_BURST,
    RESPONSES_BURST,
    HISTORY,
)

# Asked once on every connection; the pieces come slowly.
SLOW_PASS = _slow("slow-pass", CHAT, SLOW, 500)
SLOW_TRANSLATED = _slow("slow-messages-to-chat", MESSAGES, SLOW, 500)
ALONE = _slow("parallel", MESSAGES, SHORT, 1)
TOGETHER = _slow("parallel", MESSAGES, SHORT, 100)
# Streams that go on while histories are translated, to see how long one makes them wait.
BYSTANDERS = _slow("stall", CHAT, STEADY, 10)

# One event in a read, as most upstreams send them: what the calls of a single event are counted with.
PACED = (_slow("paced-pass", CHAT, STEADY, 1), _slow("paced-messages-to-chat", MESSAGES, STEADY, 1))


class Figure(Struct, frozen=True):
    """A number about the gateway alone, with its target: at most `limit`."""

    name: str
    unit: str
    limit: float | None = None


START = Figure("`dragoman serve` to its first answer", "s", 0.9)
START_CPU = Figure("CPU time of that", "s", 0.6)
WORKER_MEMORY = Figure("memory of an idle worker", "MB", 48)
STREAM_MEMORY = Figure("memory of an open stream", "KB", 24)
LOST = Figure("slow streams lost, of 500", "", 0)
ADDED_DELAY = {
    SLOW_PASS: Figure("p99 delay added to an event, 500 slow streams passed", "ms", 20),
    SLOW_TRANSLATED: Figure("p99 delay added to an event, 500 slow streams translated", "ms", 20),
}
PARALLEL = Figure("time of 100 parallel slow streams by the time of one", "x", 1.25)
HISTORY_CPU = Figure("CPU to translate and send on 2 MB of history", "ms", 40)
STALL = Figure("longest wait of other streams while histories are translated", "ms", 25)
RESPONSES_RATIO = Figure("event of burst-responses-to-chat by one of burst-chat-to-chat-translated", "x", 1.5)
