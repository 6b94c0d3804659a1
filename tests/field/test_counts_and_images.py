"""Counts and images of replies where vendors put them, for clients of every dialect.

Each case names where it was reported: the repository and the number of the issue or the pull request.
"""

# ruff: noqa: E501 - one case a line
from __future__ import annotations

from typing import Any

import pytest

from tests.field.asking import both_modes, every_client
from tests.field.pairs import CHAT_HEAD, chat_events, delta
from tests.gateway.conftest import Client, events_of
from tests.support.answers import message, message_events, named
from tests.support.fake_upstream import FakeUpstream, Reply, json_reply, sse

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PATHS = {"A": "/v1/messages", "C": "/v1/chat/completions", "R": "/v1/responses"}

# What the server counts, and how much that is: input with what was cached, of that read from the cache, output, thinking.
COUNTS: dict[str, tuple[dict[str, Any], tuple[int, int, int, int]]] = {
    "OpenAI": ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 2}}, (10, 4, 5, 2)),
    "xorbitsai/xagent#922 zero hits beside hits": ({"prompt_tokens": 10, "completion_tokens": 5, "prompt_cache_hit_tokens": 0, "prompt_tokens_details": {"cached_tokens": 4}}, (10, 4, 5, 0)),
    "MetaFARS/codex-relay#23 DeepSeek": ({"prompt_tokens": 10, "completion_tokens": 5, "prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 6}, (10, 4, 5, 0)),
    "promptfoo/promptfoo#9672 Moonshot": ({"prompt_tokens": 10, "completion_tokens": 5, "cached_tokens": 4}, (10, 4, 5, 0)),
    "sonami-tech/omni-llm-provider#49 xAI": ({"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 135, "completion_tokens_details": {"reasoning_tokens": 94}}, (32, 0, 103, 94)),
    "router-for-me/CLIProxyAPI#5733 Gemini": ({"prompt_tokens": 21, "completion_tokens": 0, "total_tokens": 81, "completion_tokens_details": {"reasoning_tokens": 60}}, (21, 0, 60, 60)),
    "maximhq/bifrost#5425 null": ({"prompt_tokens": 10, "completion_tokens": None, "total_tokens": 10, "prompt_tokens_details": None, "completion_tokens_details": None}, (10, 0, 0, 0)),
    "GizClaw/flowcraft#110 Anthropic's names": ({"prompt_tokens": 10, "completion_tokens": 5, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 0}, (10, 4, 5, 0)),
}  # fmt: skip


def reply(stream: bool, usage: dict[str, Any], place: str) -> Reply:
    if not stream:
        choice = {"index": 0, "message": {"role": "assistant", "content": "t"}, "finish_reason": "stop"}
        return json_reply({**CHAT_HEAD, "choices": [choice], "usage": usage})
    said = delta({"role": "assistant", "content": "t"})
    match place:
        case "own chunk":
            return chat_events(said, delta({}, "stop"), {"choices": [], "usage": usage}, "[DONE]")
        case "with the end":
            return chat_events(said, delta({}, "stop") | {"usage": usage}, "[DONE]")
        case "in the choice":
            return chat_events(said, delta({}, "stop", usage=usage), "[DONE]")
        case _:
            return chat_events(said, delta({}, "stop") | {"x_groq": {"id": "r", "usage": usage}}, "[DONE]")


def counted(client: Client, dialect: str, stream: bool) -> tuple[int, int, int, int]:
    asked = (
        {"input": "hi", "store": False}
        if dialect == "R"
        else {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 99}
    )
    if stream and dialect == "C":
        asked["stream_options"] = {"include_usage": True}
    response = client.ask(PATHS[dialect], {"model": "chat/m", "stream": stream, **asked})
    events = [event for event in events_of(response) if event != "[DONE]"] if stream else [response.json]
    match dialect:
        case "A":
            usage = next(event["usage"] for event in reversed(events) if "usage" in event)
            read = usage.get("cache_read_input_tokens") or 0
            return (
                usage["input_tokens"] + read + (usage.get("cache_creation_input_tokens") or 0),
                read,
                usage["output_tokens"],
                0,
            )
        case "C":
            usage = next(event["usage"] for event in reversed(events) if event.get("usage"))
            return usage["prompt_tokens"], 0, usage["completion_tokens"], 0
        case _:
            usage = (events[-1]["response"] if stream else events[0])["usage"]
            return (
                usage["input_tokens"],
                usage["input_tokens_details"]["cached_tokens"],
                usage["output_tokens"],
                usage["output_tokens_details"]["reasoning_tokens"],
            )


@pytest.mark.parametrize("dialect", ["A", "R"])
@both_modes
@pytest.mark.parametrize("place", ["own chunk", "with the end", "in the choice", "x_groq"])
def test_counts_are_read_under_every_name(client: Client, upstream: FakeUpstream, dialect: str, stream: bool, place: str) -> None:  # fmt: skip
    """Moonshot counts in the choice (earendil-works/pi#2017), Groq in a field of its own (vercel/ai#8723)."""
    wrong = {}
    for name, (usage, meant) in COUNTS.items():
        upstream.script(reply(stream, usage, place))
        got = counted(client, dialect, stream)
        if got != (meant if dialect == "R" else (*meant[:3], 0)):
            wrong[name] = got

    assert wrong == {}


def test_counts_at_the_end_of_a_messages_stream_are_those_that_count(client: Client, upstream: FakeUpstream) -> None:
    """zai-org/GLM-5#139, sgl-project/sglang#20685: zero at the start, the truth in `message_delta`."""
    counts = {"input_tokens": 14, "output_tokens": 3, "cache_read_input_tokens": 2}
    whole = message("t", usage={"input_tokens": 0, "output_tokens": 0})
    upstream.script(sse(*named(*message_events(whole, **counts))))

    response = client.chat("messages/m", stream=True, stream_options={"include_usage": True})

    assert events_of(response)[-2]["usage"]["prompt_tokens"] == 16


IMAGES = {
    "BerriAI/litellm#16378": {"type": "image_url", "index": 0, "image_url": {"url": f"data:image/png;base64,{PNG}"}},
    "MiXaiLL76/auto_ai_router#66": {"image_url": {"url": f"data:image/png;base64,{PNG}"}},
    "b64_json": {"b64_json": PNG},
}


@every_client
@both_modes
@pytest.mark.parametrize("image", IMAGES.values(), ids=IMAGES)
def test_images_that_a_model_made_reach_the_client(client: Client, upstream: FakeUpstream, dialect: str, stream: bool, image: dict[str, Any]) -> None:  # fmt: skip
    """danny-avila/LibreChat#9514, agentgateway/agentgateway#3438: OpenRouter's and LiteLLM's `images`."""
    said = {"role": "assistant", "content": "Here it is.", "images": [image]}
    if stream:
        upstream.script(
            chat_events(
                delta({"role": "assistant", "content": "Here it is."}),
                delta({"images": [image]}),
                delta({}, "stop"),
                "[DONE]",
            )
        )
    else:
        upstream.script(json_reply({**CHAT_HEAD, "choices": [{"index": 0, "message": said, "finish_reason": "stop"}]}))
    asked = (
        {"input": "draw", "store": False}
        if dialect == "R"
        else {"messages": [{"role": "user", "content": "draw"}], "max_tokens": 99}
    )

    response = client.ask(PATHS[dialect], {"model": "chat/m", "stream": stream, **asked})

    assert response.status_code == 200
    assert "Here it is." in response.text
    if dialect == "R":
        body = events_of(response)[-2]["response"] if stream else response.json
        made = [item for item in body["output"] if item["type"] == "image_generation_call"]
        assert [item["result"] for item in made] == [PNG]
    elif dialect == "C":
        assert PNG in response.text
    else:
        assert "image_generation" in response.text
