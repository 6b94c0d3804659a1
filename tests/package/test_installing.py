"""Each way to install the wheel gives a command that serves."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.package.conftest import run
from tests.package.test_distributions import sdist_of, wheel_of
from tests.support.gateway_process import GatewayProcess


class Installed:
    """A folder of commands, and the python beside them."""

    def __init__(self, commands: Path, python: Path) -> None:
        self.dragoman = commands / "dragoman"
        self.python = python


def with_pip(package: Path, folder: Path) -> Installed:
    run(sys.executable, "-m", "venv", folder)
    run(folder / "bin" / "pip", "install", "-q", package)
    return Installed(folder / "bin", folder / "bin" / "python")


def with_pipx(package: Path, folder: Path) -> Installed:
    tools = tool(folder, "pipx")
    run(tools / "pipx", "install", package, PIPX_HOME=str(folder / "home"), PIPX_BIN_DIR=str(folder / "commands"))
    return Installed(folder / "commands", folder / "home" / "venvs" / "dragoman" / "bin" / "python")


def with_uv(package: Path, folder: Path) -> Installed:
    tools = tool(folder, "uv")
    where = {"UV_TOOL_DIR": str(folder / "home"), "UV_TOOL_BIN_DIR": str(folder / "commands")}
    run(tools / "uv", "tool", "install", "--python", sys.executable, package, **where)
    return Installed(folder / "commands", folder / "home" / "dragoman" / "bin" / "python")


def tool(folder: Path, name: str) -> Path:
    run(sys.executable, "-m", "venv", folder / "tools")
    run(folder / "tools" / "bin" / "pip", "install", "-q", name)
    return folder / "tools" / "bin"


def ask(gateway: GatewayProcess) -> str:
    body = {"model": "demo/demo", "max_tokens": 50, "messages": [{"role": "user", "content": "Hello"}]}
    request = urllib.request.Request(
        f"{gateway.url}/v1/messages", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        return str(json.load(answer)["content"][-1]["text"])


@pytest.mark.parametrize("install", [with_pip, with_pipx, with_uv])
def test_the_wheel_serves(dist: Path, tmp_path: Path, install: Callable[[Path, Path], Installed]) -> None:
    installed = install(wheel_of(dist), tmp_path / "installed")

    with GatewayProcess(tmp_path, command=(str(installed.dragoman), "serve")) as gateway:
        assert "Hello" in ask(gateway)


def test_uvx_serves_without_installing(dist: Path, tmp_path: Path) -> None:
    uvx = tool(tmp_path / "installed", "uv") / "uvx"
    cache = {"UV_CACHE_DIR": str(tmp_path / "cache")}
    command = (str(uvx), "--python", sys.executable, "--from", str(wheel_of(dist)), "dragoman")
    run(*command, "--version", **cache)

    # What it has fetched by now is all that it needs.
    with GatewayProcess(tmp_path, command=(*command, "serve"), UV_OFFLINE="1", **cache) as gateway:
        assert "Hello" in ask(gateway)


def test_the_source_distribution_serves_as_a_module(dist: Path, tmp_path: Path) -> None:
    installed = with_pip(sdist_of(dist), tmp_path / "installed")

    with GatewayProcess(tmp_path, command=(str(installed.python), "-m", "dragoman", "serve")) as gateway:
        assert "Hello" in ask(gateway)


def test_gunicorn_serves_with_the_settings_of_the_package(dist: Path, tmp_path: Path) -> None:
    installed = with_pip(wheel_of(dist), tmp_path / "installed")
    gunicorn = str(installed.python.with_name("gunicorn"))

    with GatewayProcess(tmp_path, command=(gunicorn, "-c", "python:app.server.gunicorn_conf", "wsgi:app")) as gateway:
        assert "Hello" in ask(gateway)


def test_gunicorn_with_its_own_settings_is_refused_with_the_remedy(dist: Path, tmp_path: Path) -> None:
    installed = with_pip(wheel_of(dist), tmp_path / "installed")
    gunicorn = str(installed.python.with_name("gunicorn"))

    done = subprocess.run(
        [gunicorn, "-b", "127.0.0.1:0", "wsgi:app"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )

    assert done.returncode != 0
    assert "python:app.server.gunicorn_conf" in done.stderr
    assert "Traceback" not in done.stderr
