"""The libraries that agents are written with: one with a tool, asked whole and streamed, and one with a typed answer,
over each of the APIs that a library speaks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients.conftest import Pair
from tests.clients.gateways import KEY
from tests.clients.programs import AI_SDK, LANGCHAIN, OPENAI_AGENTS, PYDANTIC_AI, install_modules, install_python
from tests.clients.standins.anthropic_messages import AnthropicStandIn
from tests.clients.standins.openai_chat import ChatStandIn
from tests.clients.standins.openai_responses import ResponsesStandIn
from tests.clients.standins.scripted_model import Call, ScriptedModel
from tests.clients.workspace import MARKER, Workspace

PROGRAMS = Path(__file__).with_name("libraries")


def with_python(program: str, *requirements: str) -> list[Path | str]:
    """The command of a program in the environment of its library."""
    return [install_python(*requirements) / "python", PROGRAMS / program]


def with_node(program: str, *packages: str) -> list[Path | str]:
    """Node looks for modules beside the program only, so it is run from beside them."""
    installed = install_modules(*packages).parent / program
    installed.write_bytes((PROGRAMS / program).read_bytes())
    return ["node", installed]


COMMANDS: dict[str, Callable[[], list[Path | str]]] = {
    "openai-agents": lambda: with_python("with_openai_agents.py", OPENAI_AGENTS),
    "LangChain": lambda: with_python("with_langchain.py", *LANGCHAIN),
    "Pydantic AI": lambda: with_python("with_pydantic_ai.py", PYDANTIC_AI),
    "AI SDK": lambda: with_node("with_ai_sdk.mjs", *AI_SDK),
}
APIS = {
    "openai-agents": ("chat", "responses"),
    "LangChain": ("messages", "chat", "responses"),
    "Pydantic AI": ("chat", "responses"),
    "AI SDK": ("messages", "chat", "responses"),
}


@pytest.mark.parametrize("kept_pair", [ChatStandIn, AnthropicStandIn, ResponsesStandIn], indirect=True)
@pytest.mark.parametrize(("library", "api"), [(library, api) for library in APIS for api in APIS[library]])
def test_agents_come_to_their_answers(pair: Pair, workspace: Workspace, library: str, api: str) -> None:
    command = COMMANDS[library]()
    pair.upstream.play(ScriptedModel(Call("reveal", {"path": MARKER}), structured={"name": "Zürich", "people": 430}))

    printed = workspace.run([*command, pair.gateway.url, KEY, api])

    assert printed.splitlines() == [
        f"The tool said: {workspace.secret} 120",
        f"The tool said: {workspace.secret}",
        "Zürich 430",
    ]
