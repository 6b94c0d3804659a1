"""A program with openai-agents. Takes the gateway's root, a key and an API; prints what three agents came to."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pydantic
from agents import Agent, OpenAIChatCompletionsModel, OpenAIResponsesModel, Runner, function_tool, set_tracing_disabled
from openai import AsyncOpenAI

MODELS = {"chat": OpenAIChatCompletionsModel, "responses": OpenAIResponsesModel}


class City(pydantic.BaseModel):
    name: str
    people: int


@function_tool
def reveal(path: str) -> str:
    """Say what a file says."""
    return Path(path).read_text()


async def main(root: str, key: str, api: str) -> None:
    model = MODELS[api]("gpt-5.4", AsyncOpenAI(base_url=f"{root}/v1", api_key=key, max_retries=0))
    agent = Agent(name="reader", instructions="Be brief.", tools=[reveal], model=model)

    run = await Runner.run(agent, "What does the marker say?")
    print(run.final_output.strip(), run.context_wrapper.usage.total_tokens)

    streamed = Runner.run_streamed(agent, "What does the marker say?")
    async for _ in streamed.stream_events():
        pass
    print(streamed.final_output.strip())

    typed = Agent(name="geographer", model=model, output_type=City)
    city = (await Runner.run(typed, "Where are we?")).final_output
    print(city.name, city.people)


set_tracing_disabled(True)
asyncio.run(main(*sys.argv[1:]))
