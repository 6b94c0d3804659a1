"""Agents whose key has spent its budget: their loop stops at once, and tells their user why."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.clients.claude_code import ask_claude
from tests.clients.gateways import KEY, write_config
from tests.clients.programs import CLAUDE_CODE, CODEX, install_npm
from tests.clients.standins.openai_chat import ChatStandIn
from tests.clients.standins.scripted_model import Call, ScriptedModel
from tests.clients.test_codex import UNKNOWN, ask_codex
from tests.clients.workspace import MARKER, Workspace
from tests.support.gateway_process import GatewayProcess

# An agent that goes on asking takes minutes.
AT_ONCE = 45.0
SAID = "has spent its budget"


def limited_gateway(upstream: ChatStandIn, folder: Path) -> GatewayProcess:
    """Its only key can pay for one answer."""
    config = write_config({"up": upstream.settings}, f"up/{upstream.model}", folder)
    text = config.read_text().replace(f'api_keys = ["{KEY}"]', "")
    text += f'\n[keys.agent]\nkey = "{KEY}"\nbudget_per_day = 0.000001\n'
    text += f'[prices."up/{upstream.model}"]\ninput = 1000.0\noutput = 1000.0\n'
    config.write_text(text)
    return GatewayProcess(folder, command=("dragoman", "serve", "--config", str(config)))


def test_claude_code_stops_and_says_why(workspace: Workspace, tmp_path: Path) -> None:
    claude = install_npm(CLAUDE_CODE, "claude")
    read = Call("Bash", {"command": f"cat {MARKER}", "description": "Read the marker"})

    with ChatStandIn(ScriptedModel(read)) as upstream, limited_gateway(upstream, tmp_path) as served:
        began = time.monotonic()
        with pytest.raises(AssertionError, match=SAID):
            ask_claude(claude, workspace, served)

    assert time.monotonic() - began < AT_ONCE
    assert len([asked for asked in upstream.asked if "models" not in asked.path]) == 1


def test_codex_stops_and_says_why(workspace: Workspace, tmp_path: Path) -> None:
    codex = install_npm(CODEX, "codex")

    with (
        ChatStandIn(ScriptedModel(Call("exec_command", {"cmd": f"cat {MARKER}"}))) as upstream,
        limited_gateway(upstream, tmp_path) as served,
    ):
        began = time.monotonic()
        with pytest.raises(AssertionError, match="hit your usage limit"):
            ask_codex(codex, workspace, served, UNKNOWN)

    assert time.monotonic() - began < AT_ONCE
    assert len([asked for asked in upstream.asked if "models" not in asked.path]) == 1
