"""A program with LangChain. Takes the gateway's root, a key and an API; prints what three agents came to."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pydantic
from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI


class City(pydantic.BaseModel):
    name: str
    people: int


@tool
def reveal(path: str) -> str:
    """Say what a file says."""
    return Path(path).read_text()


def make_model(root: str, key: str, api: str) -> BaseChatModel:
    if api == "messages":
        thinking = {"type": "enabled", "budget_tokens": 2000}
        return ChatAnthropic(
            model="claude-sonnet-4-6", base_url=root, api_key=key, max_retries=0, max_tokens=4000, thinking=thinking
        )
    if api == "responses":
        reasoning = {"effort": "low", "summary": "auto"}
        return ChatOpenAI(
            model="gpt-5.4",
            base_url=f"{root}/v1",
            api_key=key,
            max_retries=0,
            use_responses_api=True,
            reasoning=reasoning,
        )
    return ChatOpenAI(model="gpt-5.4", base_url=f"{root}/v1", api_key=key, max_retries=0, stream_usage=True)


def run_agent(ask: Callable[[list[BaseMessage]], AIMessage]) -> tuple[str, int]:
    """Asks until there is no more call; the last text, and the tokens of all turns."""
    messages: list[BaseMessage] = [SystemMessage("Be brief."), HumanMessage("What does the marker say?")]
    tokens = 0
    while True:
        answer = ask(messages)
        messages.append(answer)
        tokens += answer.usage_metadata["total_tokens"]
        if not answer.tool_calls:
            return str(answer.text).strip(), tokens
        messages += [reveal.invoke(call) for call in answer.tool_calls]


def main(root: str, key: str, api: str) -> None:
    model = make_model(root, key, api)
    agent = model.bind_tools([reveal])

    print(*run_agent(agent.invoke))

    def ask_streamed(messages: list[BaseMessage]) -> AIMessage:
        first, *others = agent.stream(messages)
        return sum(others, first)

    print(run_agent(ask_streamed)[0])

    city = model.with_structured_output(City, method="json_schema").invoke("Where are we?")
    print(city.name, city.people)


main(*sys.argv[1:])
