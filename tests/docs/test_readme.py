"""Every command and example of the README runs, against a gateway that serves its demo."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.settings import load_settings
from tests.docs.blocks import CONFIGURATION, README, ROOT, blocks, first_words

BIN = Path(sys.executable).parent
STAND_INS = Path(__file__).parent / "bin"

SHELL = blocks(README, "sh")
MAKES = [block for block in SHELL if block.startswith("make ")]
SERVES = [block for block in SHELL if "dragoman serve" in block]
CALLS = [block for block in SHELL if block not in MAKES + SERVES]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def wait_healthy(process: subprocess.Popen[str], port: int) -> None:
    deadline = time.monotonic() + 20
    while not healthy(port):
        assert process.poll() is None, f"it ended with {process.returncode}"
        assert time.monotonic() < deadline, "it does not answer"
        time.sleep(0.05)


def machine(home: Path, **more: str) -> dict[str, str]:
    """The environment of a user with an empty home."""
    home.mkdir(exist_ok=True)
    path = f"{BIN}:{STAND_INS}:{os.environ['PATH']}"
    return {"HOME": str(home), "XDG_CONFIG_HOME": str(home / "config"), "PATH": path} | more


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a gateway as `make run` starts it on a machine without any account."""
    folder, port = tmp_path_factory.mktemp("demo"), free_port()
    environ = machine(folder / "home", PORT=str(port))
    with subprocess.Popen([BIN / "dragoman", "serve"], cwd=folder, env=environ, text=True) as process:
        try:
            wait_healthy(process, port)
            yield port
        finally:
            process.terminate()


@pytest.mark.parametrize("block", MAKES, ids=first_words)
def test_the_targets_of_make_exist(block: str) -> None:
    for line in block.splitlines():
        subprocess.run(["make", "-n", line.split()[1]], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize("block", CALLS, ids=first_words)
def test_a_command_of_the_readme_succeeds(block: str, demo: int, tmp_path: Path) -> None:
    script = block.replace("127.0.0.1:8080", f"127.0.0.1:{demo}").replace("curl -s", "curl -sSf")

    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env=machine(tmp_path / "home"),
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize("block", blocks(README, "python"), ids=first_words)
def test_an_example_of_the_readme_prints_an_answer(block: str, demo: int, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", block.replace("127.0.0.1:8080", f"127.0.0.1:{demo}")],
        cwd=tmp_path,
        env=machine(tmp_path / "home"),
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize("block", SERVES, ids=first_words)
def test_a_start_of_the_readme_answers_and_stops_when_told(block: str, tmp_path: Path) -> None:
    port = free_port()
    environ = machine(tmp_path / "home", PORT=str(port))
    secrets = tmp_path / "home" / ".cline" / "data" / "secrets.json"
    secrets.parent.mkdir(parents=True)
    secrets.write_text('{"ocaApiKey": "opaque-token"}')
    # exec: the signal is for the gateway, not for the shell that a reader would type into.
    script = re.sub(r"^dragoman serve", "exec dragoman serve", block, flags=re.MULTILINE)

    with subprocess.Popen(["bash", "-euc", script], cwd=tmp_path, env=environ, text=True) as process:
        try:
            wait_healthy(process, port)
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0


@pytest.mark.parametrize("document", [README, CONFIGURATION], ids=lambda path: path.name)
def test_each_configuration_that_is_shown_loads(document: Path, tmp_path: Path) -> None:
    keys = dict.fromkeys(("TEAM_KEY", "ANTHROPIC_API_KEY", "LOCAL_KEY"), "key")
    for number, block in enumerate(blocks(document, "toml")):
        path = tmp_path / f"{number}.toml"
        path.write_text(block)

        settings = load_settings(path, keys | {"HOME": str(tmp_path)}, {})

        assert set(settings.providers) > {"demo"}
