"""What reads text of clients and upstreams takes time in proportion to it, also where it comes in small pieces."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from app.adaptation.adapt import adapt
from app.adaptation.reasoning.think_tags import ThinkTags
from app.adaptation.tools.text_tool_calls import ReadTextToolCalls
from app.adaptation.tools.written_calls import WRITINGS
from app.conversation.blocks import Text
from app.conversation.capabilities import Capabilities
from app.conversation.events import BlockDelta, BlockOpened
from app.conversation.literals import literal
from app.conversation.streams.custom_input import InputReader
from app.dialects import anthropic_messages, openai_chat, openai_responses
from app.dialects.error_bodies import read_error_body
from app.dialects.foreign.requests import mend_request
from app.dialects.json_bodies import replace_model
from app.dialects.openai_responses.state.history import new_items
from app.dialects.overflow import find_overflow
from app.errors import DragomanError, Failure
from app.gateway.failures.repairs.own_words import own_words
from app.gateway.failures.repairs.repair import find_repair
from app.gateway.inspection.wire_copy import _split
from app.gateway.replies.translation import StreamTranslation
from app.known_secrets import KnownSecrets
from app.logs import clean_line
from app.routing.mounts import strip_mount
from app.sse import SseDecoder
from tests.hardening.test_time import ALLOWED, growth
from tests.laws.cases import CONTEXT, DIALECTS

Figure = Callable[[str, object, object], None]
Reader = tuple[Callable[[Any], object], Callable[[int], Any]]

LONGEST = 256 * 1024
SHAPES: tuple[Any, ...] = ("messages", "chat", "items")


def make_mixed(length: int) -> bytes:
    """Calls that nothing answers, and results that name none of them."""
    count = length // 100
    calls = [{"role": "assistant", "tool_calls": [{"id": f"c{n}", "name": "f", "args": {}}]} for n in range(count)]
    return json.dumps({"messages": calls + [{"role": "tool", "name": "g", "content": "r"}] * count}).encode()


SECRETS = KnownSecrets()
SECRETS.configure(["sk-proj-4f9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c"])


def in_pieces(feed: Callable[[Any], object], size: int = 512) -> Callable[[Any], None]:
    def read(text: Any) -> None:
        with contextlib.suppress(DragomanError):
            for start in range(0, len(text), size):
                feed(text[start : start + size])

    return read


def fresh(make: Callable[[], Callable[[Any], object]], size: int = 512) -> Callable[[Any], None]:
    return lambda text: in_pieces(make(), size)(text)


def feed_thoughts() -> Callable[[str], object]:
    stage = ThinkTags()
    stage.feed([BlockOpened(0, Text(""))])
    return lambda text: stage.feed([BlockDelta(0, literal(text))])


def failure_of(text: str) -> Failure:
    return Failure(kind="invalid_request", message=text, status=400)


CHAT = Capabilities(dialect="openai_chat")


def read_images(url: str) -> None:
    bodies: dict[ModuleType, Any] = {
        openai_chat: [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}],
        openai_responses: [{"role": "user", "content": [{"type": "input_image", "image_url": url}]}],
    }
    for dialect, said in bodies.items():
        body = {"model": "m", "messages" if dialect is openai_chat else "input": said}
        with contextlib.suppress(DragomanError):
            adapt(dialect.parse_request(json.dumps(body).encode(), {}), CHAT)


def translate(client: ModuleType, upstream: ModuleType) -> Callable[[bytes], object]:
    capabilities = Capabilities(dialect=upstream.NAME)

    def read(body: bytes) -> object:
        return upstream.render_request(adapt(client.parse_request(body, {}), capabilities).request, capabilities)

    return read


def asked(client: ModuleType, **fields: Any) -> bytes:
    said = [{"role": "user", "content": "q"}]
    rest = {"input": said} if client is openai_responses else {"messages": said, "max_tokens": 2000}
    return json.dumps({"model": "m", **rest, **fields}).encode()


def numbered(count: int) -> dict[str, int]:
    return {f"odd{number}": number for number in range(count)}


def feed_calls() -> Callable[[str], object]:
    stage = ReadTextToolCalls({"f": None})
    stage.feed([BlockOpened(0, Text(""))])
    return lambda text: stage.feed([BlockDelta(0, literal(text))])


SENT = json.dumps({"model": "m", "metadata": {"a": "b"}, "context": 1, "a": "unknown"}).encode()
HARD = ["unknown ", "<title>", "1,", "eyJ", "sk-", "Bearer ", "context length ", "a", "\n", "sk-proj-4f9a8b7", "\u2028"]
READERS: dict[str, Reader] = {}
for hard in HARD:
    READERS |= {
        f"error page, {hard!r}": (lambda t: read_error_body(500, {}, t), lambda n, h=hard: (f"<{h * n}"[:n]).encode()),
        f"overflow, {hard!r}": (find_overflow, lambda n, h=hard: (h * n)[:n]),
        f"repair, {hard!r}": (lambda t: find_repair(failure_of(t), CHAT, SENT), lambda n, h=hard: (h * n)[:n]),
        f"log line, {hard!r}": (clean_line, lambda n, h=hard: (h * n)[:n]),
        f"secrets, {hard!r}": (SECRETS.mask, lambda n, h=hard: (h * n)[:n]),
        f"own words, {hard!r}": (
            lambda t: own_words("Unsupported parameter: 'x'", t),
            lambda n, h=hard: json.dumps({"messages": [(h * n)[:n]]}).encode(),
        ),
    }
for piece in (";", ";a", ";base64", ",", "data:", " ", ";a=b,"):
    READERS[f"data URL, {piece!r}"] = (read_images, lambda n, p=piece: "data:" + p * (n // len(p)))
for shape in SHAPES:
    READERS[f"mixed body, {shape}"] = (lambda t, s=shape: mend_request(t, s), make_mixed)
READERS["a recorded stream"] = (_split, lambda n: [(0, b"data: x")] * (n // 7))
READERS["mount"] = (lambda t: strip_mount(t, {"up": "openai"}), lambda n: "/v1" * (n // 3))
READERS["input of a custom tool"] = (fresh(lambda: InputReader().feed, 64), lambda n: '{"input": "' + "a\n" * (n // 2))
for begun in ("", "{", ' {"patch": "'):
    READERS[f"input of a custom tool, {begun}"] = (fresh(lambda: InputReader().feed, 1), lambda n, b=begun: b + " " * n)
READERS["models in a body"] = (
    lambda t: replace_model(t, "new", old="m"),
    lambda n: b'{"messages":[' + b'{"model":"m"},' * (n // 14) + b'1],"model":"m"}',
)
READERS["searches with a limit"] = (
    translate(openai_responses, anthropic_messages),
    lambda n: asked(openai_responses, max_tool_calls=3, tools=[{"type": "web_search"}] * (n // 24)),
)
READERS["odd fields of thinking"] = (
    translate(anthropic_messages, anthropic_messages),
    lambda n: asked(anthropic_messages, thinking={"type": "enabled", "budget_tokens": 1024} | numbered(n // 12)),
)
READERS["an input after a history"] = (
    lambda items: new_items([b'{"id":"h%d","content":"a%d"}' % (n, n) for n in range(len(items))], items),
    lambda n: [b'{"id":"i%d","content":"b%d"}' % (number, number) for number in range(n // 24)],
)
for written in WRITINGS:
    READERS[f"openings of {written.opening}"] = (
        fresh(feed_calls, 1 << 20),
        lambda n, w=written: f"{w.opening}f{{" * (n // len(w.opening)) + w.closing,
    )
    READERS[f"openings of {written.opening} in pieces"] = (
        fresh(feed_calls, 64),
        lambda n, w=written: f"{w.opening}f{{" * (n // len(w.opening)),
    )
READERS["blanks before a call"] = (fresh(feed_calls, 8), lambda n: " " * n)
READERS["blanks before a thought"] = (fresh(feed_thoughts, 8), lambda n: " " * n)
for piece in (b"x", b": ping\n", b"data: \n", b"\r", b"data: {}\n\n", b"event: ping\n", b"\n"):
    READERS[f"events, {piece!r}"] = (fresh(lambda: SseDecoder().feed), lambda n, p=piece: p * (n // len(p)))
    for dialect in DIALECTS:
        READERS[f"{dialect.NAME} passing, {piece!r}"] = (
            fresh(lambda d=dialect: d.StreamPassthrough(CONTEXT, Capabilities(dialect=d.NAME)).feed),
            lambda n, p=piece: p * (n // len(p)),
        )
        READERS[f"{dialect.NAME} translated, {piece!r}"] = (
            fresh(lambda d=dialect: StreamTranslation(d.StreamParser(), d, (), CONTEXT).feed),
            lambda n, p=piece: p * (n // len(p)),
        )


def test_every_reader_takes_time_in_proportion_to_its_text(figure: Figure) -> None:
    worst = 1.0

    for name, (work, make) in READERS.items():
        ratio = growth(work, make, LONGEST)
        worst = max(worst, ratio)
        assert ratio <= ALLOWED, f"{name} grows {ratio:.1f}-fold"

    figure("time of twice the text, worst reader", f"{worst:.2f} x", f"{ALLOWED} x")
    figure("readers tried", len(READERS), "all")


@pytest.mark.parametrize("length", [30, 10_000])
def test_a_line_break_in_the_input_of_a_custom_tool_freezes_nobody(length: int) -> None:
    reader = InputReader()

    assert reader.feed('{"input": "' + "a" * length + '\n"}') is not None
