"""Where the genuine programs come from: pinned versions, installed below .cache/clients when missing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from filelock import FileLock

from app.blueprints.operations.tested_clients import find_tested

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache" / "clients"


def pinned(name: str) -> str:
    """The package and version that `dragoman version --tested` tells, as its registry's own tool takes them."""
    client = find_tested(name)
    return f"{client.package}{'@' if client.registry == 'npm' else '=='}{client.version}"


CLAUDE_CODE = pinned("Claude Code")
CODEX = pinned("Codex")
OPENCODE = pinned("opencode")
CLINE = pinned("Cline")
QWEN_CODE = pinned("Qwen Code")
GOOSE = pinned("goose")
AIDER = pinned("aider")
OLDER_ANTHROPIC = pinned("anthropic SDK, older")
OPENAI_AGENTS = pinned("openai-agents")
LANGCHAIN = (pinned("langchain-anthropic"), pinned("langchain-openai"))
PYDANTIC_AI = pinned("Pydantic AI")
AI_SDK = (pinned("AI SDK"), pinned("@ai-sdk/anthropic"), pinned("@ai-sdk/openai"), "zod@4.6.7")
LITELLM = pinned("LiteLLM proxy")
AXE = "axe-core@4.14.1"  # accessibility rules, run inside the pages
TIMEOUT = 300  # seconds for one installation


def install_npm(package: str, command: str) -> Path:
    """The command of an npm package, written as name@version. Skips the test where it cannot be installed."""
    return install_modules(package) / ".bin" / command


def install_goose() -> Path:
    """goose. Its package names the command after itself, so the program below the package is taken."""
    return install_modules(GOOSE) / GOOSE.rpartition("@")[0] / "bin" / "goose"


def install_modules(*packages: str) -> Path:
    """The folder of the modules of npm packages, written as name@version; the first names the folder. Skips as
    `install_npm` does."""
    folder = CACHE / packages[0].rpartition("/")[2]
    npm = ["npm", "install", "--no-fund", "--no-audit", "--loglevel=error", "--prefix", str(folder)]
    _install(folder, [*npm, *packages])
    return folder / "node_modules"


def install_python(*requirements: str) -> Path:
    """The bin folder of a virtual environment that holds the requirements; the first names it. Skips where they cannot
    be installed."""
    folder = CACHE / requirements[0].replace("==", "-").replace("[", "-").replace("]", "")
    venv = [sys.executable, "-m", "venv", str(folder)]
    pip = [str(folder / "bin" / "pip"), "install", "-q", "--disable-pip-version-check", *requirements]
    _install(folder, venv, pip)
    return folder / "bin"


def _install(folder: Path, *commands: Sequence[str]) -> None:
    """Runs the commands unless they succeeded before; the mark is written last, so a half installation is redone."""
    mark = folder / ".installed"
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(CACHE / ".lock"):
        if mark.exists():
            return
        folder.mkdir(exist_ok=True)
        for command in commands:
            if (trouble := _run(command)) is not None:
                pytest.skip(f"{folder.name} cannot be installed: {trouble}")
        mark.touch()


def _run(command: Sequence[str]) -> str | None:
    """What went wrong, if anything."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    except FileNotFoundError:
        return f"there is no {command[0]}"
    except subprocess.TimeoutExpired:
        return f"no end within {TIMEOUT} s"
    return done.stderr.strip()[-500:] if done.returncode else None
