"""A reply costs what its vendor's price class says, whichever dialects stand on both sides and however it came."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from app.accounts.prices import load_prices
from app.accounts.record import RequestRecord
from app.settings import PriceSettings
from tests.gateway.conftest import Client, MakeClient, listen
from tests.support.answers import (
    CHUNK_HEAD,
    chat_answer,
    message,
    message_events,
    named,
    response,
    response_events,
    unnamed,
)
from tests.support.fake_upstream import FakeUpstream, Reply, json_reply, sse

# 100 tokens in and 10 out cost 120 microdollars at the standard price.
PRICES = {"m": PriceSettings(input=1.0, output=2.0, batch=0.5, priority=2.5, us=1.1, image=0.04)}
STANDARD = 120_000


def chat(stream: bool, tier: Any, **details: int) -> Reply:
    usage: dict[str, Any] = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    if details:
        usage["completion_tokens_details"] = details
    if not stream:
        return json_reply(chat_answer("Hi.", usage=usage, service_tier=tier))
    tiered = {**CHUNK_HEAD, "service_tier": tier}
    said = {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hi."}, "finish_reason": None}]}
    ended = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    return sse(*unnamed({**tiered, **said}, {**tiered, **ended}, {**tiered, "choices": [], "usage": usage}, "[DONE]"))


def messages(stream: bool, tier: Any) -> Reply:
    counts: dict[str, Any] = {"input_tokens": 100, "output_tokens": 10, "service_tier": "standard"}
    name = {"fast": "speed", "us": "inference_geo", "global": "inference_geo"}.get(tier, "service_tier")
    counts[name] = tier
    whole = message("Hi.", usage=counts)
    return sse(*named(*message_events(whole))) if stream else json_reply(whole)


def responses(stream: bool, tier: Any, *more: dict[str, Any] | str) -> Reply:
    usage = {"input_tokens": 100, "output_tokens": 10, "total_tokens": 110}
    whole = response("Hi.", *more, usage=usage, service_tier=tier)
    return sse(*named(*response_events(whole, service_tier="auto"), numbered=True)) if stream else json_reply(whole)


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
    upstream.script(responses(False, "default", '"image_generation_call"'))

    assert ask(client, "responses", "responses", False).cost == STANDARD


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", ["image_tokens", "audio_tokens"])
def test_tokens_of_images_and_sound_without_a_price_leave_no_cost(
    client: Client, upstream: FakeUpstream, kind: str, path: str, stream: bool
) -> None:
    upstream.script(chat(stream, "default", **{kind: 7}))

    assert ask(client, path, "chat", stream).cost is None
