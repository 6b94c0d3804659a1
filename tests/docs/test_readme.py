"""Every command and example of the README runs, against a gateway that serves its demo."""

from __future__ import annotations

import importlib
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from app.settings import load_settings
from tests.docs.blocks import CONFIGURATION, README, ROOT, blocks, first_words
from tests.support.gateway_process import BIN, GatewayProcess, bare_environ

STAND_INS = Path(__file__).parent / "bin"
PATH = f"{BIN}:{STAND_INS}:{os.environ['PATH']}"

SHELL = blocks(README, "sh")
MAKES = [block for block in SHELL if block.startswith("make ")]
SERVES = [block for block in SHELL if "dragoman serve" in block]
LOCAL = next(block for block in blocks(README, "toml") if "[providers.local]" in block)
CODEX = next(block for block in blocks(README, "toml") if "[model_providers." in block)
CALLS = [block for block in SHELL if block not in MAKES + SERVES]

# The columns of the table of clients and upstreams, and the module that each of its rows rests on.
UPSTREAMS = ("OcaStandIn", "ChatStandIn", "AnthropicStandIn", "ResponsesStandIn")
PROGRAMS = {
    "Claude Code": "test_claude_code",
    "Codex": "test_codex",
    "anthropic SDK": "test_anthropic_sdk",
    "openai SDK": "test_openai_sdk",
    "openai-agents": "test_openai_agents",
}
TABLE = {
    row[0]: row[1:] for row in re.findall(r"^\| ([\w -]+) " + r"\| (yes|-) " * 4 + r"\|$", README.read_text(), re.M)
}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway as `make run` starts it on a machine without any account."""
    with GatewayProcess(tmp_path_factory.mktemp("demo")) as gateway:
        yield gateway


@pytest.mark.parametrize("block", MAKES, ids=first_words)
def test_the_targets_of_make_exist(block: str) -> None:
    for line in block.splitlines():
        subprocess.run(["make", "-n", line.split()[1]], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize("block", CALLS, ids=first_words)
def test_a_command_of_the_readme_succeeds(block: str, demo: GatewayProcess, tmp_path: Path) -> None:
    script = block.replace("127.0.0.1:8080", f"127.0.0.1:{demo.port}").replace("curl -s", "curl -sSf")
    codex = tmp_path / "home" / ".codex" / "config.toml"
    codex.parent.mkdir(parents=True)
    codex.write_text(CODEX.replace("127.0.0.1:8080", f"127.0.0.1:{demo.port}"))

    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env=bare_environ(tmp_path / "home", PATH=PATH),
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize("block", blocks(README, "python"), ids=first_words)
def test_an_example_of_the_readme_prints_an_answer(block: str, demo: GatewayProcess, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", block.replace("127.0.0.1:8080", f"127.0.0.1:{demo.port}")],
        cwd=tmp_path,
        env=bare_environ(tmp_path / "home", PATH=PATH),
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize("block", SERVES, ids=first_words)
def test_a_start_of_the_readme_answers_and_stops_when_told(block: str, tmp_path: Path) -> None:
    secrets = tmp_path / "home" / ".cline" / "data" / "secrets.json"
    secrets.parent.mkdir(parents=True)
    secrets.write_text('{"ocaApiKey": "opaque-token"}')
    # The file of the README's own example, where the block speaks of one.
    (tmp_path / "dragoman.toml").write_text(LOCAL if "token" not in block and "export" not in block else "")
    # exec: the signal is for the gateway, not for the shell that a reader would type into.
    script = re.sub(r"^dragoman serve", "exec dragoman serve", block, flags=re.MULTILINE)

    with GatewayProcess(tmp_path, command=["bash", "-euc", script]) as gateway:
        gateway.signal(signal.SIGTERM)

        assert gateway.wait() == 0


@pytest.mark.parametrize("base", sorted(set(re.findall(r"http://127\.0\.0\.1:8080[^`\s]*(?=`)", README.read_text()))))
def test_a_base_url_of_the_readme_is_one(base: str, demo: GatewayProcess) -> None:
    base = base.replace("127.0.0.1:8080", f"127.0.0.1:{demo.port}").rstrip("/")
    body = {"model": "demo/demo", "messages": [{"role": "user", "content": "Hello"}]}
    request = urllib.request.Request(
        f"{base}/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"}
    )

    with urllib.request.urlopen(request, timeout=10) as answer:
        assert json.load(answer)["object"] == "chat.completion"


@pytest.mark.parametrize("client", PROGRAMS)
def test_the_table_says_yes_where_the_genuine_program_is_run(client: str) -> None:
    said = {upstream for upstream, word in zip(UPSTREAMS, TABLE[client], strict=True) if word == "yes"}

    assert said == tried_upstreams(importlib.import_module(f"tests.clients.{PROGRAMS[client]}"))


@pytest.mark.parametrize("document", [README, CONFIGURATION], ids=lambda path: path.name)
def test_each_configuration_that_is_shown_loads(document: Path, tmp_path: Path) -> None:
    keys = dict.fromkeys(("TEAM_KEY", "ANTHROPIC_API_KEY", "LOCAL_KEY"), "key")
    for number, block in enumerate(block for block in blocks(document, "toml") if block != CODEX):
        path = tmp_path / f"{number}.toml"
        path.write_text(block)

        settings = load_settings(path, keys | {"HOME": str(tmp_path)}, {})

        assert set(settings.providers) - {"demo"}


def tried_upstreams(module: ModuleType) -> set[str]:
    """The stand-ins that a module's tests, or the first of them that names any, are run against."""
    tests = [value for name, value in vars(module).items() if name.startswith("test_")]
    for owner in (module, *tests):
        marks = getattr(owner, "pytestmark", [])
        for mark in marks if isinstance(marks, list) else [marks]:
            names = {getattr(value, "__name__", "") for value in mark.args[1]}
            if names <= set(UPSTREAMS):
                return names
    raise AssertionError(f"{module.__name__} names no upstream")
