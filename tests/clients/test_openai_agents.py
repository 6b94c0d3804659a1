"""openai-agents: agents with a tool and with a typed answer, over both of the APIs that it speaks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.conftest import Pair
from tests.clients.gateways import KEY
from tests.clients.programs import OPENAI_AGENTS, install_python
from tests.clients.standins.anthropic_messages import AnthropicStandIn
from tests.clients.standins.openai_chat import ChatStandIn
from tests.clients.standins.scripted_model import Call, ScriptedModel
from tests.clients.workspace import MARKER, Workspace

PROGRAM = Path(__file__).with_name("agents_program.py")


@pytest.mark.parametrize("kept_pair", [ChatStandIn, AnthropicStandIn], indirect=True)
@pytest.mark.parametrize("api", ["chat", "responses"])
def test_agents_come_to_their_answers(pair: Pair, workspace: Workspace, api: str) -> None:
    python = install_python(OPENAI_AGENTS) / "python"
    pair.upstream.play(ScriptedModel(Call("reveal", {"path": MARKER}), structured={"name": "Zürich", "people": 430}))

    printed = workspace.run([python, PROGRAM, f"{pair.gateway.url}/v1", KEY, api])

    assert printed.splitlines() == [
        f"The tool said: {workspace.secret} 120",
        f"The tool said: {workspace.secret}",
        "name='Zürich' people=430",
    ]
