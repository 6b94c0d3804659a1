"""`dragoman run` with the genuine programs, in a fresh home and in one whose settings lead elsewhere."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.clients.gateways import KEY, write_config
from tests.clients.programs import (
    AIDER,
    CLAUDE_CODE,
    CLINE,
    CODEX,
    OPENCODE,
    QWEN_CODE,
    install_goose,
    install_npm,
    install_python,
)
from tests.clients.standins.openai_chat import ChatStandIn
from tests.clients.standins.scripted_model import Call, ScriptedModel
from tests.clients.workspace import MARKER, TIMEOUT, Workspace
from tests.support.gateway_process import BIN, GatewayProcess, bare_environ, free_port

PROMPT = f"Run `cat {MARKER}` and tell me what it says."
QUIET = {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1", "CLAUDE_CODE_MAX_RETRIES": "1"}
NOWHERE = "http://127.0.0.1:9"

CLAUDE_SETTINGS = {
    "env": {
        "ANTHROPIC_BASE_URL": NOWHERE,
        "ANTHROPIC_AUTH_TOKEN": "of-another-router",
        "ANTHROPIC_API_KEY": "sk-left-over",
        "ANTHROPIC_MODEL": "deepseek,deepseek-chat",
        "ANTHROPIC_SMALL_FAST_MODEL": "deepseek,deepseek-chat",
        "CLAUDE_CODE_USE_BEDROCK": "1",
    },
    "apiKeyHelper": "echo of-a-helper",
}
CODEX_SETTINGS = f"""
model = "of-another-router"
model_provider = "elsewhere"
model_context_window = 1000
[model_providers.elsewhere]
name = "elsewhere"
base_url = "{NOWHERE}/v1"
wire_api = "responses"
"""


def start(program: Path, workspace: Workspace, config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`dragoman run` in the workspace, with the program first on the path."""
    command: Sequence[str] = ("dragoman", "run", "--config", str(config), *arguments)
    path = f"{program.parent}:{BIN}:{os.environ['PATH']}"
    environ = {"HOME": str(workspace.home), "PATH": path, "LANG": "C.UTF-8", "PORT": str(free_port()), **QUIET}
    environ |= {"XDG_DATA_HOME": str(config.parent / "data")}
    return subprocess.run(
        command,
        cwd=workspace.project,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )


@pytest.mark.parametrize("settings", [None, CLAUDE_SETTINGS], ids=["fresh", "led elsewhere"])
def test_claude_code_runs_its_tool_through_the_gateway(
    settings: dict[str, object] | None, workspace: Workspace, tmp_path: Path
) -> None:
    claude = install_npm(CLAUDE_CODE, "claude")
    file = workspace.home / ".claude" / "settings.json"
    if settings is not None:
        file.parent.mkdir()
        file.write_text(json.dumps(settings))
    with ChatStandIn(ScriptedModel(Call("Bash", {"command": f"cat {MARKER}"}))) as upstream:
        config = write_config({"up": upstream.settings | {"context_window": 77000}}, f"up/{upstream.model}", tmp_path)

        done = start(claude, workspace, config, "claude", "--no-check", "--", "-p", PROMPT, "--allowedTools", "Bash")

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"The tool said: {workspace.secret}"
    assert "context window 77000 tokens" in done.stderr
    assert KEY not in str(upstream.asked)
    assert settings is None or json.loads(file.read_text()) == settings


@pytest.mark.parametrize("settings", [None, CODEX_SETTINGS], ids=["fresh", "led elsewhere"])
def test_codex_runs_its_tool_through_the_gateway(settings: str | None, workspace: Workspace, tmp_path: Path) -> None:
    codex = install_npm(CODEX, "codex")
    file = workspace.home / ".codex" / "config.toml"
    if settings is not None:
        file.parent.mkdir()
        file.write_text(settings)
    with ChatStandIn(ScriptedModel(Call("exec_command", {"cmd": f"cat {MARKER}"}))) as upstream:
        config = write_config({"up": upstream.settings | {"context_window": 77000}}, f"up/{upstream.model}", tmp_path)
        options = ("exec", "--skip-git-repo-check", "--ephemeral", "--sandbox", "danger-full-access")

        done = start(codex, workspace, config, "codex", "--no-check", "--", *options, PROMPT)

    assert done.returncode == 0, done.stderr
    assert workspace.secret in done.stdout
    assert "metadata" not in done.stderr
    assert settings is None or file.read_text() == settings


def test_opencode_answers_through_the_gateway(workspace: Workspace, tmp_path: Path) -> None:
    opencode = install_npm(OPENCODE, "opencode")
    with ChatStandIn(ScriptedModel(Call("bash", {"command": f"cat {MARKER}", "description": "Read it"}))) as upstream:
        config = write_config({"up": upstream.settings}, f"up/{upstream.model}", tmp_path)

        done = start(opencode, workspace, config, "opencode", "--no-check", "--", "run", PROMPT)

    assert done.returncode == 0, done.stderr
    assert workspace.secret in done.stdout


@pytest.mark.parametrize(
    ("package", "command", "flags"), [(CLINE, "cline", ()), (QWEN_CODE, "qwen", ("-p",))], ids=["cline", "qwen"]
)
def test_other_agents_answer_through_the_gateway(
    package: str, command: str, flags: tuple[str, ...], workspace: Workspace, tmp_path: Path
) -> None:
    program = install_npm(package, command)
    with ChatStandIn(ScriptedModel()) as upstream:
        config = write_config({"up": upstream.settings}, f"up/{upstream.model}", tmp_path)

        done = start(program, workspace, config, command, "--no-check", "--", *flags, PROMPT)

    assert done.returncode == 0, done.stderr
    assert upstream.asked


def test_aider_answers_through_the_gateway(workspace: Workspace, tmp_path: Path) -> None:
    aider = install_python(AIDER) / "aider"
    with ChatStandIn(ScriptedModel()) as upstream:
        config = write_config({"up": upstream.settings | {"context_window": 77000}}, f"up/{upstream.model}", tmp_path)
        options = ("--no-git", "--yes-always", "--no-check-update", "--analytics-disable", "--no-stream")

        done = start(aider, workspace, config, "aider", "--no-check", "--", *options, "--message", "Say hello.")

    assert done.returncode == 0, done.stderr
    assert "context window 77000 tokens" in done.stderr
    assert upstream.asked
    assert "There is nothing to do." in done.stdout


GOOSE_SETTINGS = f"""
GOOSE_PROVIDER: openai
GOOSE_MODEL: of-another-router
OPENAI_HOST: {NOWHERE}
OPENAI_BASE_PATH: elsewhere/completions
"""
GOOSE_RUN = ("run", "--no-session", "--with-builtin", "developer", "-t", PROMPT)


@pytest.mark.parametrize("settings", [None, GOOSE_SETTINGS], ids=["fresh", "led elsewhere"])
def test_goose_runs_its_tool_through_the_gateway(settings: str | None, workspace: Workspace, tmp_path: Path) -> None:
    goose = install_goose()
    file = workspace.home / ".config" / "goose" / "config.yaml"
    if settings is not None:
        file.parent.mkdir(parents=True)
        file.write_text(settings)
    with ChatStandIn(ScriptedModel(Call("shell", {"command": f"cat {MARKER}"}))) as upstream:
        config = write_config({"up": upstream.settings | {"context_window": 77000}}, f"up/{upstream.model}", tmp_path)

        done = start(goose, workspace, config, "goose", "--no-check", "--", *GOOSE_RUN)

    assert done.returncode == 0, done.stderr
    assert f"The tool said: {workspace.secret}" in done.stdout
    assert "context window 77000 tokens" in done.stderr
    assert {(ask.path, ask.body["stream"]) for ask in upstream.asked} == {("/v1/chat/completions", True)}
    assert settings is None or file.read_text() == settings


def test_goose_with_the_variables_of_env_answers_through_a_running_gateway(
    workspace: Workspace, tmp_path: Path
) -> None:
    goose = install_goose()
    with ChatStandIn(ScriptedModel(Call("shell", {"command": f"cat {MARKER}"}))) as upstream:
        config = write_config({"up": upstream.settings}, f"up/{upstream.model}", tmp_path)
        serve = ("dragoman", "serve", "--config", str(config))
        with GatewayProcess(tmp_path, command=serve) as gateway:
            environ = bare_environ(workspace.home, PORT=str(gateway.port), OPENAI_BASE_URL=f"{NOWHERE}/v1")
            environ["PATH"] = f"{goose.parent}:{environ['PATH']}"
            script = f'eval "$(dragoman env --config {config} goose)"; goose {shlex.join(GOOSE_RUN)}'
            done = subprocess.run(
                ("bash", "-c", script),
                cwd=workspace.project,
                env=environ,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=TIMEOUT,
            )

    assert done.returncode == 0, done.stderr
    assert f"The tool said: {workspace.secret}" in done.stdout
    assert {ask.body["model"] for ask in upstream.asked if ask.body} == {upstream.model}
