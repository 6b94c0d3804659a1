"""The anthropic SDK: what its helpers make of answers that come from other dialects."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import anthropic
import pydantic
import pytest
from anthropic import beta_tool

from tests.clients.conftest import Pair
from tests.clients.gateways import KEY
from tests.clients.programs import OLDER_ANTHROPIC, install_python
from tests.clients.standins.anthropic_messages import AnthropicStandIn
from tests.clients.standins.oca import OcaStandIn
from tests.clients.standins.openai_chat import ChatStandIn
from tests.clients.standins.openai_responses import ResponsesStandIn
from tests.clients.standins.scripted_model import Call, ScriptedModel
from tests.clients.workspace import Workspace

pytestmark = pytest.mark.parametrize(
    "kept_pair", [OcaStandIn, ChatStandIn, AnthropicStandIn, ResponsesStandIn], indirect=True
)

MODEL = "claude-sonnet-4-6"
QUESTION = {"role": "user", "content": "What is the weather in Zürich?"}
WEATHER = {
    "name": "weather",
    "description": "Say the weather.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
ASK_WEATHER = Call("weather", {"city": "Zürich"})


class City(pydantic.BaseModel):
    name: str
    people: int


@pytest.fixture
def client(pair: Pair) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=pair.gateway.url, api_key=KEY, max_retries=0) as client:
        yield client


def test_a_message_is_created(client: anthropic.Anthropic) -> None:
    message = client.messages.create(model=MODEL, max_tokens=100, messages=[QUESTION])

    assert [block.text for block in message.content if block.type == "text"] == ["There is nothing to do."]
    assert message.stop_reason == "end_turn"
    assert (message.usage.input_tokens, message.usage.cache_read_input_tokens, message.usage.output_tokens) == (
        40,
        8,
        12,
    )


def test_the_stream_helper_accumulates_what_a_message_would_hold(client: anthropic.Anthropic, pair: Pair) -> None:
    pair.upstream.play(ScriptedModel(ASK_WEATHER))

    with client.messages.stream(model=MODEL, max_tokens=100, messages=[QUESTION], tools=[WEATHER]) as stream:
        kinds = [event.type for event in stream]
        message = stream.get_final_message()

    (call,) = [block for block in message.content if block.type == "tool_use"]
    assert (call.name, call.input) == ("weather", {"city": "Zürich"})
    assert message.stop_reason == "tool_use"
    assert message.usage.output_tokens == 12
    assert kinds[-1] == "message_stop"


def test_a_loop_by_hand_returns_the_whole_content(client: anthropic.Anthropic, pair: Pair) -> None:
    pair.upstream.play(ScriptedModel(ASK_WEATHER))
    thinking = {"type": "enabled", "budget_tokens": 1024}
    first = client.messages.create(
        model=MODEL, max_tokens=2000, messages=[QUESTION], tools=[WEATHER], thinking=thinking
    )
    (call,) = [block for block in first.content if block.type == "tool_use"]
    result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "sunny"}]}

    messages = [QUESTION, {"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
    second = client.messages.create(model=MODEL, max_tokens=2000, messages=messages, tools=[WEATHER], thinking=thinking)

    assert [block.text for block in second.content if block.type == "text"] == ["The tool said: sunny"]


@pytest.mark.parametrize("streamed", [False, True])
def test_the_tool_runner_comes_to_its_end(client: anthropic.Anthropic, pair: Pair, streamed: bool) -> None:
    """It wants a thread that the server holds. Only the vendor has those; a refusal makes the runner do without."""
    asked = []

    @beta_tool
    def weather(city: str) -> str:
        """Say the weather.

        Args:
            city: where
        """
        asked.append(city)
        return "sunny"

    pair.upstream.play(ScriptedModel(ASK_WEATHER, ASK_WEATHER))

    runner = client.beta.messages.tool_runner(
        model=MODEL, max_tokens=100, messages=[QUESTION], tools=[weather], stream=streamed
    )
    last = [answer.get_final_message() if streamed else answer for answer in runner][-1]

    assert asked == ["Zürich", "Zürich"]
    assert [block.text for block in last.content if block.type == "text"] == ["The tool said: sunny"]


def test_an_answer_is_parsed_by_a_type(client: anthropic.Anthropic, pair: Pair) -> None:
    pair.upstream.play(ScriptedModel(structured={"name": "Zürich", "people": 430_000}))

    parsed = client.messages.parse(model=MODEL, max_tokens=100, messages=[QUESTION], output_format=City)

    assert parsed.parsed_output == City(name="Zürich", people=430_000)


def test_tokens_are_counted(client: anthropic.Anthropic) -> None:
    few = client.messages.count_tokens(model=MODEL, messages=[QUESTION]).input_tokens
    more = client.messages.count_tokens(model=MODEL, messages=[QUESTION], tools=[WEATHER]).input_tokens

    assert 0 < few < more


def test_models_are_listed_and_found(client: anthropic.Anthropic, pair: Pair) -> None:
    ids = [model.id for model in client.models.list()]

    assert f"up/{pair.upstream.model}" in ids
    assert client.models.retrieve(ids[0]).id == ids[0]


def test_a_wrong_key_is_an_authentication_error(pair: Pair) -> None:
    with (
        anthropic.Anthropic(base_url=pair.gateway.url, api_key="wrong", max_retries=0) as stranger,
        pytest.raises(anthropic.AuthenticationError) as refused,
    ):
        stranger.messages.create(model=MODEL, max_tokens=100, messages=[QUESTION])

    assert refused.value.request_id
    assert pair.upstream.asked == []


def test_the_asynchronous_client_streams_text(pair: Pair) -> None:
    async def read() -> str:
        async with (
            anthropic.AsyncAnthropic(base_url=pair.gateway.url, auth_token=KEY) as client,
            client.messages.stream(model=MODEL, max_tokens=100, messages=[QUESTION]) as stream,
        ):
            return "".join([text async for text in stream.text_stream])

    assert asyncio.run(read()) == "There is nothing to do."


OLDER = """
import sys
import anthropic

client = anthropic.Anthropic(base_url=sys.argv[1], api_key=sys.argv[2], max_retries=0)
options = {"model": "claude-sonnet-4-6", "max_tokens": 100, "temperature": 0.5}
question = {"role": "user", "content": "hi"}
with client.messages.stream(messages=[question], **options) as stream:
    print("".join(stream.text_stream))
print(client.messages.create(messages=[question], **options).usage.output_tokens)
"""


def test_an_older_sdk_is_served_as_well(pair: Pair, workspace: Workspace) -> None:
    python = install_python(OLDER_ANTHROPIC) / "python"

    printed = workspace.run([python, "-c", OLDER, pair.gateway.url, KEY])

    assert printed.splitlines() == ["There is nothing to do.", "12"]
