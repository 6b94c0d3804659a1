"""The openai SDK: what its helpers make of answers that come from other dialects."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import openai
import pydantic
import pytest

from tests.clients.conftest import Pair
from tests.clients.gateways import KEY
from tests.clients.standins.anthropic_messages import AnthropicStandIn
from tests.clients.standins.oca import OcaStandIn
from tests.clients.standins.openai_chat import ChatStandIn
from tests.clients.standins.openai_responses import ResponsesStandIn
from tests.clients.standins.scripted_model import Call, ScriptedModel

pytestmark = pytest.mark.parametrize(
    "kept_pair", [OcaStandIn, ChatStandIn, AnthropicStandIn, ResponsesStandIn], indirect=True
)

MODEL = "gpt-5.4"
QUESTION = {"role": "user", "content": "What is the weather in Zürich?"}
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER = {"name": "weather", "description": "Say the weather.", "parameters": SCHEMA, "strict": True}
CHAT_TOOL = {"type": "function", "function": WEATHER}
RESPONSES_TOOL = {"type": "function", **WEATHER}
ASK_WEATHER = Call("weather", {"city": "Zürich"})


class City(pydantic.BaseModel):
    name: str
    people: int


ZURICH = City(name="Zürich", people=430_000)


@pytest.fixture
def client(pair: Pair) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{pair.gateway.url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


# ---- Chat Completions


def test_a_completion_is_created(client: openai.OpenAI) -> None:
    completion = client.chat.completions.create(model=MODEL, messages=[QUESTION])

    assert completion.choices[0].message.content == "There is nothing to do."
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage is not None
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (48, 12)


def test_plain_chunks_carry_text_and_usage(client: openai.OpenAI) -> None:
    options = {"include_usage": True}

    chunks = list(client.chat.completions.create(model=MODEL, messages=[QUESTION], stream=True, stream_options=options))

    deltas = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
    assert "".join(deltas) == "There is nothing to do."
    assert [chunk.usage.total_tokens for chunk in chunks if chunk.usage] == [60]


def test_the_chat_stream_helper_accumulates_a_tool_call(client: openai.OpenAI, pair: Pair) -> None:
    pair.upstream.play(ScriptedModel(ASK_WEATHER))

    with client.chat.completions.stream(model=MODEL, messages=[QUESTION], tools=[CHAT_TOOL]) as stream:
        completion = stream.until_done().get_final_completion()

    (call,) = completion.choices[0].message.tool_calls or ()
    assert (call.function.name, call.function.parsed_arguments) == ("weather", {"city": "Zürich"})
    assert completion.choices[0].finish_reason == "tool_calls"


def test_a_loop_of_chat_returns_the_messages(client: openai.OpenAI, pair: Pair) -> None:
    pair.upstream.play(ScriptedModel(ASK_WEATHER, ASK_WEATHER))
    messages: list[Any] = [QUESTION]

    while True:
        completion = client.chat.completions.create(model=MODEL, messages=messages, tools=[CHAT_TOOL])
        message = completion.choices[0].message
        if not message.tool_calls:
            break
        messages.append(message)
        messages += [{"role": "tool", "tool_call_id": call.id, "content": "sunny"} for call in message.tool_calls]

    assert message.content == "The tool said: sunny"
    assert len(messages) == 5


def test_a_completion_is_parsed_by_a_type(client: openai.OpenAI, pair: Pair) -> None:
    pair.upstream.play(ScriptedModel(structured=ZURICH.model_dump()))

    completion = client.chat.completions.parse(model=MODEL, messages=[QUESTION], response_format=City)

    assert completion.choices[0].message.parsed == ZURICH


# ---- Responses


def test_a_response_is_created(client: openai.OpenAI) -> None:
    response = client.responses.create(model=MODEL, input="hi", instructions="Be brief.")

    assert response.output_text == "There is nothing to do."
    assert response.status == "completed"
    assert response.usage is not None
    assert (response.usage.input_tokens, response.usage.output_tokens) == (48, 12)


def test_the_responses_stream_helper_accumulates_what_a_response_would_hold(client: openai.OpenAI) -> None:
    with client.responses.stream(
        model=MODEL, input=[QUESTION], reasoning={"effort": "low", "summary": "auto"}
    ) as stream:
        events = list(stream)
        response = stream.get_final_response()

    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == response.output_text == "There is nothing to do."
    assert events[0].type == "response.created"
    assert [event.sequence_number for event in events] == sorted({event.sequence_number for event in events})


@pytest.mark.parametrize("streamed", [False, True])
def test_a_loop_of_responses_returns_the_items(client: openai.OpenAI, pair: Pair, streamed: bool) -> None:
    pair.upstream.play(ScriptedModel(ASK_WEATHER, ASK_WEATHER))
    items: list[Any] = [QUESTION]
    options: dict[str, Any] = {
        "model": MODEL,
        "tools": [RESPONSES_TOOL],
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "reasoning": {"effort": "low"},
    }

    while True:
        if streamed:
            with client.responses.stream(input=items, **options) as stream:
                response = stream.get_final_response()
        else:
            response = client.responses.create(input=items, **options)
        calls = [item for item in response.output if item.type == "function_call"]
        if not calls:
            break
        items += response.output
        items += [{"type": "function_call_output", "call_id": call.call_id, "output": "sunny"} for call in calls]

    assert response.output_text == "The tool said: sunny"


def test_a_response_is_parsed_by_a_type(client: openai.OpenAI, pair: Pair) -> None:
    pair.upstream.play(ScriptedModel(structured=ZURICH.model_dump()))

    response = client.responses.parse(model=MODEL, input="hi", text_format=City)

    assert response.output_parsed == ZURICH


def test_a_response_goes_on_from_a_stored_one(client: openai.OpenAI, pair: Pair) -> None:
    pair.upstream.play(ScriptedModel(ASK_WEATHER))
    first = client.responses.create(model=MODEL, input=[QUESTION], tools=[RESPONSES_TOOL])
    (call,) = [item for item in first.output if item.type == "function_call"]
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}

    second = client.responses.create(model=MODEL, input=[result], tools=[RESPONSES_TOOL], previous_response_id=first.id)

    assert second.output_text == "The tool said: sunny"
    assert second.previous_response_id == first.id


def test_a_conversation_is_kept_and_goes_on(client: openai.OpenAI, pair: Pair) -> None:
    pair.upstream.play(ScriptedModel(ASK_WEATHER))
    place = client.conversations.create(items=[{"role": "user", "content": "Be brief."}], metadata={"topic": "weather"})

    first = client.responses.create(model=MODEL, input=[QUESTION], tools=[RESPONSES_TOOL], conversation=place.id)
    (call,) = [item for item in first.output if item.type == "function_call"]
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    second = client.responses.create(model=MODEL, input=[result], tools=[RESPONSES_TOOL], conversation=place.id)

    assert second.output_text == "The tool said: sunny"
    assert second.conversation is not None
    assert second.conversation.id == place.id
    items = client.conversations.items.list(place.id, order="asc", limit=2)
    kinds = [item.type for item in items if item.type != "reasoning"]
    assert kinds == ["message", "message", "function_call", "function_call_output", "message"]
    assert client.conversations.update(place.id, metadata={"topic": "rain"}).metadata == {"topic": "rain"}
    assert client.conversations.delete(place.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.conversations.retrieve(place.id)


def test_a_response_is_made_in_the_background(client: openai.OpenAI, pair: Pair) -> None:
    if isinstance(pair.upstream, ResponsesStandIn):
        pytest.skip("what keeps its own responses makes its own in the background")

    made = client.responses.create(model=MODEL, input=[QUESTION], background=True)
    end = time.monotonic() + 10
    while (found := client.responses.retrieve(made.id)).status in ("queued", "in_progress") and time.monotonic() < end:
        time.sleep(0.05)

    assert made.status == "queued"
    assert found.output_text == "There is nothing to do."
    events = list(client.responses.retrieve(made.id, stream=True))
    rest = list(client.responses.retrieve(made.id, stream=True, starting_after=events[3].sequence_number))
    assert events[-1].type == "response.completed"
    assert [event.sequence_number for event in rest] == [event.sequence_number for event in events[4:]]


def test_a_stored_response_is_retrieved_listed_and_deleted(client: openai.OpenAI) -> None:
    made = client.responses.create(model=MODEL, input="hi")

    found = client.responses.retrieve(made.id)
    items = list(client.responses.input_items.list(made.id))
    client.responses.delete(made.id)

    assert found.output_text == made.output_text
    assert [item.content[0].text for item in items] == ["hi"]
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)


# ---- the rest


def test_models_are_listed_and_found(client: openai.OpenAI, pair: Pair) -> None:
    ids = [model.id for model in client.models.list()]

    assert f"up/{pair.upstream.model}" in ids
    assert client.models.retrieve(ids[0]).id == ids[0]


def test_a_wrong_key_is_an_authentication_error(pair: Pair) -> None:
    with (
        openai.OpenAI(base_url=f"{pair.gateway.url}/v1", api_key="wrong", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError) as refused,
    ):
        stranger.chat.completions.create(model=MODEL, messages=[QUESTION])

    assert refused.value.request_id
    assert pair.upstream.asked == []


def test_the_asynchronous_client_streams_text(pair: Pair) -> None:
    async def read() -> str:
        async with openai.AsyncOpenAI(base_url=f"{pair.gateway.url}/v1", api_key=KEY) as client:
            chunks = await client.chat.completions.create(model=MODEL, messages=[QUESTION], stream=True)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks if chunk.choices])

    assert asyncio.run(read()) == "There is nothing to do."
