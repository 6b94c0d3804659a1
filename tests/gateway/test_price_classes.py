"""A reply costs what its vendor's price class says, whichever dialects stand on both sides and however it came."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from app.accounts.prices import load_prices
from app.accounts.record import RequestRecord
from app.settings import PriceSettings
from tests.gateway.conftest import Client, MakeClient, listen
from tests.support.fake_upstream import FakeUpstream, Reply, json_reply, sse

# 100 tokens in and 10 out cost 120 microdollars at the standard price.
PRICES = {"m": PriceSettings(input=1.0, output=2.0, batch=0.5, priority=2.5, us=1.1, image=0.04)}
STANDARD = 120_000


def chat(stream: bool, tier: Any, **details: int) -> Reply:
    usage: dict[str, Any] = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    if details:
        usage["completion_tokens_details"] = details
    head = {"id": "c", "created": 1, "model": "m", "service_tier": tier}
    if not stream:
        message = {"role": "assistant", "content": "Hi."}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return json_reply({**head, "object": "chat.completion", "choices": [choice], "usage": usage})
    chunks: list[dict[str, Any]] = [
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hi."}, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {"choices": [], "usage": usage},
    ]
    lines = [json.dumps({**head, "object": "chat.completion.chunk", **chunk}) for chunk in chunks]
    return sse(*(f"data: {line}\n\n".encode() for line in lines), b"data: [DONE]\n\n")


def messages(stream: bool, tier: Any) -> Reply:
    counts: dict[str, Any] = {"input_tokens": 100, "output_tokens": 10, "service_tier": "standard"}
    name = {"fast": "speed", "us": "inference_geo", "global": "inference_geo"}.get(tier, "service_tier")
    counts[name] = tier
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": counts}
    if not stream:
        content = [{"type": "text", "text": "Hi."}]
        return json_reply({**message, "content": content, "stop_reason": "end_turn", "stop_sequence": None})
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**message, "stop_reason": None, "stop_sequence": None}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi."}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None},
         "usage": {"output_tokens": 10}},
        {"type": "message_stop"},
    ]  # fmt: skip
    return sse(*(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events))


def responses(stream: bool, tier: Any, *more: dict[str, Any]) -> Reply:
    text = {"type": "output_text", "text": "Hi.", "annotations": []}
    item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [text]}
    usage = {"input_tokens": 100, "output_tokens": 10, "total_tokens": 110}
    head = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "service_tier": tier}
    whole = {**head, "status": "completed", "output": [item, *more], "usage": usage}
    if not stream:
        return json_reply(whole)
    begun = {**head, "service_tier": "auto", "status": "in_progress", "output": []}
    events: list[dict[str, Any]] = [{"type": "response.created", "response": begun}]
    for place, each in enumerate(whole["output"]):
        events.append({"type": "response.output_item.added", "output_index": place, "item": each})
        events.append({"type": "response.output_item.done", "output_index": place, "item": each})
    events.append({"type": "response.completed", "response": whole})
    lines = [json.dumps({**event, "sequence_number": number}) for number, event in enumerate(events)]
    return sse(*(f"event: {json.loads(line)['type']}\ndata: {line}\n\n".encode() for line in lines))


UPSTREAMS: dict[str, Callable[..., Reply]] = {"chat": chat, "messages": messages, "responses": responses}
PATHS = {"chat": "/v1/chat/completions", "messages": "/v1/messages", "responses": "/v1/responses"}


@pytest.fixture
def client(make_client: MakeClient, upstream: FakeUpstream) -> Client:
    settings = {"kind": "openai", "base_url": f"{upstream.url}/v1", "api_key": "sk-upstream"}
    made = make_client(responses={**settings, "dialect": "openai_responses"})
    made.app.runtime.recorder.prices = load_prices(PRICES)
    return made


def ask(client: Client, path: str, upstream: str, stream: bool) -> RequestRecord:
    records = listen(client)
    body: dict[str, Any] = {"model": f"{upstream}/m", "stream": stream}
    if path == "responses":
        body |= {"input": "hi", "store": False}
    else:
        body |= {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 50}
    answer = client.ask(PATHS[path], body)
    assert answer.status_code == 200, answer.get_data()
    answer.get_data()
    (record,) = records
    assert record.usage is not None
    assert (record.usage.input, record.usage.output) == (100, 10)
    return record


CLASSES = [
    *(("chat", tier) for tier in ("default", "flex", "priority", None, 7, ["flex"])),
    *(("responses", tier) for tier in ("default", "flex", "priority", "scale")),
    *(("messages", tier) for tier in ("standard", "batch", "priority", "fast", "us", "global")),
]
FACTORS = {
    ("chat", "flex"): 0.5, ("chat", "priority"): 2.5, ("responses", "flex"): 0.5, ("responses", "priority"): 2.5,
    # Anthropic's priority tier is capacity that was paid for in advance.
    ("messages", "batch"): 0.5, ("messages", "fast"): 2.5, ("messages", "us"): 1.1,
}  # fmt: skip


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("kind", "tier"), CLASSES, ids=str)
def test_a_reply_costs_what_its_price_class_says(
    client: Client, upstream: FakeUpstream, kind: str, tier: Any, path: str, stream: bool
) -> None:
    upstream.script(UPSTREAMS[kind](stream, tier))

    record = ask(client, path, kind, stream)

    factor = 1.0 if isinstance(tier, list) else FACTORS.get((kind, tier), 1.0)
    assert record.cost == round(STANDARD * factor)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("path", PATHS)
def test_each_image_that_a_reply_shows_has_its_price(
    client: Client, upstream: FakeUpstream, path: str, stream: bool
) -> None:
    image = {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "aGk="}
    upstream.script(responses(stream, "default", image, {**image, "id": "ig_2"}))

    record = ask(client, path, "responses", stream)

    assert record.cost == STANDARD + 2 * 40_000_000


def test_a_name_of_an_image_in_a_text_is_no_image(client: Client, upstream: FakeUpstream) -> None:
    said = {"type": "output_text", "text": '"image_generation_call"', "annotations": []}
    talk = {"type": "message", "id": "msg_2", "role": "assistant", "status": "completed", "content": [said]}
    upstream.script(responses(False, "default", talk))

    assert ask(client, "responses", "responses", False).cost == STANDARD


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", ["image_tokens", "audio_tokens"])
def test_tokens_of_images_and_sound_without_a_price_leave_no_cost(
    client: Client, upstream: FakeUpstream, kind: str, path: str, stream: bool
) -> None:
    upstream.script(chat(stream, "default", **{kind: 7}))

    assert ask(client, path, "chat", stream).cost is None
