"""What the tests of this dialect read the wire with: events of a stream, the grammar, the vendor's SDK."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import openai

from app.conversation.capabilities import Capabilities, RenderContext
from app.conversation.events import Event
from app.dialects import openai_responses
from app.dialects.openai_responses import StreamParser, StreamRenderer
from app.sse import SseDecoder

UPSTREAM = Capabilities(
    dialect="openai_responses",
    model="gpt-5.4",
    system_role="developer",
    late_system="developer",
    proofs=("openai_responses",),
    native_tools=("web_search", "mcp"),
    custom_tools=True,
    namespaces=True,
    store=True,
)

CONTEXT = RenderContext(model="the-model-asked-for", id="0123456789abcdef", created=1_760_000_000)

TERMINAL = ("response.completed", "response.incomplete", "response.failed")


def payloads(stream: bytes) -> list[bytes]:
    decoder = SseDecoder()
    return decoder.feed(stream) + decoder.close()


def events_of(stream: bytes) -> list[dict[str, Any]]:
    """The JSON of all events but `[DONE]`."""
    return [json.loads(data) for data in payloads(stream) if data != b"[DONE]"]


def parse(stream: bytes) -> list[Event]:
    parser = StreamParser()
    return [*parser.feed(payloads(stream)), *parser.close()]


def render(events: list[Event], context: RenderContext = CONTEXT) -> bytes:
    renderer = StreamRenderer(context)
    return renderer.feed(events) + renderer.close()


def to_bytes(events: list[dict[str, Any]]) -> bytes:
    """A stream of an upstream that writes these events."""
    texts = [json.dumps(event, separators=(",", ":"), ensure_ascii=False) for event in events]
    return "".join(
        f"event: {event['type']}\ndata: {text}\n\n" for event, text in zip(events, texts, strict=True)
    ).encode()


def parse_body(body: dict[str, Any]) -> Any:
    return openai_responses.parse_request(json.dumps(body).encode(), {})


def ask(*items: Any, **more: Any) -> dict[str, Any]:
    """A request body with these input items."""
    return {"model": "gpt-5.4", "input": list(items), **more}


def vendor(body: bytes, content_type: str = "text/event-stream") -> openai.OpenAI:
    """The vendor's own client, whose every request is answered with `body`."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": content_type}, content=body)

    transport = httpx2.Client(transport=httpx2.MockTransport(answer))
    return openai.OpenAI(api_key="key", base_url="http://upstream.invalid/v1", max_retries=0, http_client=transport)


def check_grammar(stream: bytes) -> None:
    """Assert what holds of every stream of this dialect, however it ends.

    Names of events are their types, numbers have no gaps, items come one after the other and keep their id, `done`
    events repeat their deltas, and the terminal response repeats the items.
    """
    blocks = [block for block in stream.decode().split("\n\n") if block and not block.startswith(":")]
    assert blocks[-1] == "data: [DONE]"
    events = events_of(stream)
    names = [block.split("\n")[0].removeprefix("event: ") for block in blocks[:-1]]
    assert names == [event["type"] for event in events]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[0]["type"] == "response.created"
    assert [event["type"] for event in events if event["type"] in TERMINAL] == [events[-1]["type"]]
    assert len({event["response"]["id"] for event in events if "response" in event}) == 1
    done = _check_items(events)
    response = events[-1]["response"]
    assert response["status"] == events[-1]["type"].removeprefix("response.")
    assert response["output"] == done


def _check_items(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    done: list[dict[str, Any]] = []
    current: str | None = None
    said: dict[str, str] = {}
    for event in events:
        kind = event["type"]
        if kind == "response.output_item.added":
            assert current is None, "two items are open"
            assert event["output_index"] == len(done)
            current, said = event["item"]["id"], {}
        elif kind == "response.output_item.done":
            assert event["item"]["id"] == current
            assert event["output_index"] == len(done)
            done.append(event["item"])
            current = None
        elif "item_id" in event:
            assert (event["item_id"], event["output_index"]) == (current, len(done))
            part = f"{kind.rpartition('.')[0]} {event.get('content_index')} {event.get('summary_index')}"
            if kind.endswith(".delta"):
                said[part] = said.get(part, "") + event["delta"]
            elif kind.endswith(".done") and "part" not in event:
                told = [event[name] for name in ("text", "refusal", "arguments", "input") if name in event]
                assert told == [said.get(part, "")]
    return done
