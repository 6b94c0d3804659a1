"""Every command and example of the README runs, against a gateway that serves its demo."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

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
CALLS = [block for block in SHELL if block not in MAKES + SERVES]


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


@pytest.mark.parametrize("document", [README, CONFIGURATION], ids=lambda path: path.name)
def test_each_configuration_that_is_shown_loads(document: Path, tmp_path: Path) -> None:
    keys = dict.fromkeys(("TEAM_KEY", "ANTHROPIC_API_KEY", "LOCAL_KEY"), "key")
    for number, block in enumerate(blocks(document, "toml")):
        path = tmp_path / f"{number}.toml"
        path.write_text(block)

        settings = load_settings(path, keys | {"HOME": str(tmp_path)}, {})

        assert set(settings.providers) > {"demo"}
