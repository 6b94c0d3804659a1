"""Agents in bad weather: each comes to its answer, or says at once and in its own words what is wrong."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients.claude_code import ask_claude
from tests.clients.gateways import gateway_to
from tests.clients.programs import CLAUDE_CODE, CODEX, install_npm
from tests.clients.standins.openai_chat import ChatStandIn
from tests.clients.standins.openai_responses import ResponsesStandIn
from tests.clients.standins.scripted_model import Call, ScriptedModel
from tests.clients.standins.stand_in import StandIn
from tests.clients.standins.weather import Weather, calm, cut_after, refused
from tests.clients.test_codex import UNKNOWN, ask_codex
from tests.clients.workspace import MARKER, Workspace
from tests.support.gateway_process import GatewayProcess

Ask = Callable[[Workspace, GatewayProcess], str]
AGENTS: dict[str, tuple[Call, Ask]] = {
    "claude": (
        Call("Bash", {"command": f"cat {MARKER}", "description": "Read the marker"}),
        lambda workspace, served: ask_claude(install_npm(CLAUDE_CODE, "claude"), workspace, served),
    ),
    "codex": (
        Call("exec_command", {"cmd": f"cat {MARKER}"}),
        lambda workspace, served: ask_codex(install_npm(CODEX, "codex"), workspace, served, UNKNOWN),
    ),
}
LIMITED = refused(429, "Rate limit reached", retry_after="1")
LASTING = refused(429, "Rate limit reached", retry_after="1800")
OVERLOADED = refused(503, "Overloaded")
FULL = refused(400, "This model's maximum context length is 4096 tokens. However, you requested 9000 tokens.")

every_agent = pytest.mark.parametrize("agent", AGENTS)
every_upstream = pytest.mark.parametrize("kind", [ChatStandIn, ResponsesStandIn])


@every_agent
@every_upstream
@pytest.mark.parametrize(
    "weather",
    [(LIMITED, calm, OVERLOADED), (cut_after(6),), (calm, cut_after(6)), (cut_after(0), OVERLOADED)],
    ids=["busy", "cut in the call", "cut in the answer", "cut and busy"],
)
def test_the_loop_comes_to_its_end(
    agent: str, kind: type[StandIn], weather: tuple[Weather, ...], workspace: Workspace, tmp_path: Path
) -> None:
    call, ask = AGENTS[agent]

    with kind(ScriptedModel(call)) as upstream, gateway_to(upstream, tmp_path) as served:
        upstream.weather.extend(weather)
        printed = ask(workspace, served)

    assert workspace.secret in printed
    assert not upstream.weather
    assert upstream.refused == []


@every_agent
@every_upstream
@pytest.mark.parametrize(
    ("weather", "said"),
    [
        (LASTING, {"claude": "Rate limit reached. The limit resets at", "codex": "usage limit. Try again at"}),
        (FULL, {"claude": "Prompt is too long", "codex": "ran out of room"}),
    ],
    ids=["a limit that lasts", "a full context"],
)
def test_what_cannot_be_helped_is_said_at_once(
    agent: str, kind: type[StandIn], weather: Weather, said: dict[str, str], workspace: Workspace, tmp_path: Path
) -> None:
    call, ask = AGENTS[agent]

    with kind(ScriptedModel(call)) as upstream, gateway_to(upstream, tmp_path) as served:
        upstream.weather.extend([weather] * 20)
        began = time.monotonic()
        with pytest.raises(AssertionError) as raised:
            ask(workspace, served)

    assert said[agent] in str(raised.value)
    assert time.monotonic() - began < 30
    assert len(upstream.weather) >= 17
