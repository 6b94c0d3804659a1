"""A program with Pydantic AI. Takes the gateway's root, a key and an API; prints what three agents came to."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pydantic
from openai import AsyncOpenAI
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

MODELS = {"chat": OpenAIChatModel, "responses": OpenAIResponsesModel}


class City(pydantic.BaseModel):
    name: str
    people: int


def reveal(path: str) -> str:
    """Say what a file says."""
    return Path(path).read_text()


async def main(root: str, key: str, api: str) -> None:
    client = AsyncOpenAI(base_url=f"{root}/v1", api_key=key, max_retries=0)
    model = MODELS[api]("gpt-5.4", provider=OpenAIProvider(openai_client=client))
    agent = Agent(model, instructions="Be brief.", tools=[reveal])

    run = await agent.run("What does the marker say?")
    print(run.output.strip(), run.usage.total_tokens)

    async with agent.run_stream("What does the marker say?") as streamed:
        print((await streamed.get_output()).strip())

    city = (await Agent(model, output_type=NativeOutput(City)).run("Where are we?")).output
    print(city.name, city.people)


asyncio.run(main(*sys.argv[1:]))
