"""Codex in exec mode: its shell, its freeform patches and the namespaced tool of an MCP server, on each dialect."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.clients.gateways import KEY, gateway, gateway_to
from tests.clients.programs import CODEX, install_npm
from tests.clients.standins.anthropic_messages import AnthropicStandIn
from tests.clients.standins.oca import OcaStandIn
from tests.clients.standins.openai_chat import ChatStandIn
from tests.clients.standins.openai_responses import ResponsesStandIn
from tests.clients.standins.scripted_model import Call, ScriptedModel
from tests.clients.standins.stand_in import StandIn
from tests.clients.workspace import MARKER, Workspace
from tests.support.gateway_process import GatewayProcess

READ_MARKER = Call("exec_command", {"cmd": f"cat {MARKER}"})
REVEAL = Call("reveal", {"path": MARKER})
PROMPT = f"Use exec_command to run `cat {MARKER}` and tell me what it says."
UPSTREAMS = [OcaStandIn, ChatStandIn, AnthropicStandIn, ResponsesStandIn]

# Codex forms its requests by the model's name: one that it does not know gets plain functions and namespaces, this one
# also freeform tools and tools that have to be searched for.
UNKNOWN, FREEFORM = "gpt-5.4", "gpt-5.5"

CONFIG = """
model = {model}
model_provider = {provider}
openai_base_url = {base_url}
check_for_update_on_startup = false
analytics.enabled = false
features.plugins = false
features.apps = false

[model_providers.gateway]
name = "gateway"
base_url = {base_url}
env_key = "CODEX_API_KEY"
wire_api = "responses"

[mcp_servers.marker]
command = {python}
args = [{server}]
"""


@pytest.fixture(scope="module")
def codex() -> Path:
    return install_npm(CODEX, "codex")


def ask_codex(codex: Path, workspace: Workspace, gateway: GatewayProcess, model: str, provider: str = "gateway") -> str:
    """What `codex exec` prints at the end of its loop."""
    settings = {
        "model": model,
        "provider": provider,
        "base_url": f"{gateway.url}/v1",
        "python": sys.executable,
        "server": str(Path(__file__).with_name("mcp_server.py")),
    }
    config = workspace.home / ".codex" / "config.toml"
    config.parent.mkdir()
    config.write_text(CONFIG.format_map({name: json.dumps(value) for name, value in settings.items()}))
    command = [codex, "exec", "--skip-git-repo-check", "--ephemeral", "--sandbox", "danger-full-access", PROMPT]
    return workspace.run(command, CODEX_API_KEY=KEY)


@pytest.mark.parametrize("kind", UPSTREAMS)
def test_a_command_is_run_and_quoted(kind: type[StandIn], codex: Path, workspace: Workspace, tmp_path: Path) -> None:
    with kind(ScriptedModel(READ_MARKER)) as upstream, gateway_to(upstream, tmp_path) as served:
        printed = ask_codex(codex, workspace, served, UNKNOWN)

    assert workspace.secret in printed
    assert upstream.refused == []
    assert KEY not in str(upstream.asked)


@pytest.mark.parametrize("kind", UPSTREAMS)
def test_a_freeform_patch_changes_a_file(
    kind: type[StandIn], codex: Path, workspace: Workspace, tmp_path: Path
) -> None:
    change = f"*** Update File: {MARKER}\n@@\n-{workspace.secret}\n+“changed” by a patch: \\n is no line end\n"
    patch = Call("apply_patch", f"*** Begin Patch\n{change}*** End Patch\n")

    with kind(ScriptedModel(patch)) as upstream, gateway_to(upstream, tmp_path) as served:
        printed = ask_codex(codex, workspace, served, FREEFORM)

    assert (workspace.project / MARKER).read_text() == "“changed” by a patch: \\n is no line end\n"
    assert f"M {MARKER}" in printed
    assert upstream.refused == []


@pytest.mark.parametrize("kind", UPSTREAMS)
def test_the_namespaced_tool_of_an_mcp_server_is_called(
    kind: type[StandIn], codex: Path, workspace: Workspace, tmp_path: Path
) -> None:
    with kind(ScriptedModel(REVEAL)) as upstream, gateway_to(upstream, tmp_path) as served:
        printed = ask_codex(codex, workspace, served, UNKNOWN)

    assert workspace.secret in printed
    assert upstream.refused == []


@pytest.mark.parametrize("kind", [ChatStandIn, AnthropicStandIn])
def test_a_tool_that_was_searched_for_is_called(
    kind: type[StandIn], codex: Path, workspace: Workspace, tmp_path: Path
) -> None:
    search = Call("tool_search", {"query": "reveal marker"})

    with kind(ScriptedModel(search, REVEAL)) as upstream, gateway_to(upstream, tmp_path) as served:
        printed = ask_codex(codex, workspace, served, FREEFORM)

    assert workspace.secret in printed
    assert upstream.refused == []


def test_the_built_in_provider_goes_on_without_a_websocket(codex: Path, workspace: Workspace, tmp_path: Path) -> None:
    with ChatStandIn(ScriptedModel(READ_MARKER)) as upstream, gateway_to(upstream, tmp_path) as served:
        printed = ask_codex(codex, workspace, served, UNKNOWN, provider="openai")

    assert workspace.secret in printed
    assert upstream.refused == []


def test_the_demo_runs_the_command_that_it_was_asked_for(codex: Path, workspace: Workspace, tmp_path: Path) -> None:
    with gateway({}, "demo/demo", tmp_path) as served:
        printed = ask_codex(codex, workspace, served, UNKNOWN)

    assert workspace.secret in printed
