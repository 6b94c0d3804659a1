"""Claude Code in print mode: one command through its Bash tool, and an answer that quotes what the command said."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.claude_code import ask_claude
from tests.clients.gateways import KEY, gateway, gateway_to
from tests.clients.programs import CLAUDE_CODE, install_npm
from tests.clients.standins.anthropic_messages import AnthropicStandIn
from tests.clients.standins.oca import OcaStandIn
from tests.clients.standins.openai_chat import ChatStandIn
from tests.clients.standins.openai_responses import ResponsesStandIn
from tests.clients.standins.scripted_model import Call, ScriptedModel
from tests.clients.standins.stand_in import StandIn
from tests.clients.workspace import MARKER, Workspace

READ_MARKER = Call("Bash", {"command": f"cat {MARKER}", "description": "Read the marker"})
UPSTREAMS = [OcaStandIn, ChatStandIn, AnthropicStandIn, ResponsesStandIn]


@pytest.fixture(scope="module")
def claude() -> Path:
    return install_npm(CLAUDE_CODE, "claude")


@pytest.mark.parametrize("kind", UPSTREAMS)
def test_a_command_is_run_and_quoted(kind: type[StandIn], claude: Path, workspace: Workspace, tmp_path: Path) -> None:
    with kind(ScriptedModel(READ_MARKER)) as upstream, gateway_to(upstream, tmp_path) as served:
        printed = ask_claude(claude, workspace, served)

    assert printed.strip() == f"The tool said: {workspace.secret}"
    assert upstream.refused == []
    assert KEY not in str(upstream.asked)


def test_several_commands_are_run_one_after_the_other(claude: Path, workspace: Workspace, tmp_path: Path) -> None:
    write = Call("Bash", {"command": f"tr a-f A-F < {MARKER} > shouted.txt"})
    fail = Call("Bash", {"command": "cat nowhere.txt"})
    read = Call("Bash", {"command": "cat shouted.txt"})

    with OcaStandIn(ScriptedModel(write, fail, read)) as upstream, gateway_to(upstream, tmp_path) as served:
        printed = ask_claude(claude, workspace, served)

    assert printed.strip() == f"The tool said: {workspace.secret.upper()}"
    assert upstream.refused == []


def test_a_key_in_the_older_header_will_do(claude: Path, workspace: Workspace, tmp_path: Path) -> None:
    with ChatStandIn(ScriptedModel(READ_MARKER)) as upstream, gateway_to(upstream, tmp_path) as served:
        printed = ask_claude(claude, workspace, served, ANTHROPIC_API_KEY=KEY)

    assert workspace.secret in printed


def test_the_demo_runs_the_command_that_it_was_asked_for(claude: Path, workspace: Workspace, tmp_path: Path) -> None:
    with gateway({}, "demo/demo", tmp_path) as served:
        printed = ask_claude(claude, workspace, served)

    assert printed.strip() == f"The tool answered: {workspace.secret}"
