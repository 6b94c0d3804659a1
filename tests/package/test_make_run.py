"""`make run` with pip and with uv, in checkouts whose environment a failure or an update of the system has broken."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.package.conftest import ROOT, run
from tests.package.test_installing import ask, tool
from tests.support.gateway_process import GatewayProcess


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    for name in run("git", "ls-files", "app", "*.py", "*.cfg", "requirements.txt", "Makefile", "README.md", "LICENSE",
                    cwd=ROOT).splitlines():  # fmt: skip
        if not name.startswith(("tests/", "bench/", "deploy/")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def serve(checkout: Path, **environ: str) -> str:
    # Without a terminal nothing says that make has ended, so the gateway takes its place by `exec`.
    run("make", ".venv/.runs", f"PYTHON={sys.executable}", cwd=checkout, **environ)
    with GatewayProcess(checkout, command=("make", "run", f"PYTHON={sys.executable}"), **environ) as gateway:
        return ask(gateway)


def test_what_a_failed_first_try_left_is_made_anew(checkout: Path) -> None:
    run(sys.executable, "-m", "venv", "--without-pip", checkout / ".venv")

    assert "Hello" in serve(checkout)


def test_an_environment_whose_python_is_gone_is_made_anew_by_uv_where_it_is_there(
    checkout: Path, tmp_path: Path
) -> None:
    path = f"{tool(tmp_path, 'uv')}:{os.environ['PATH']}"
    run("make", ".venv/.made", f"PYTHON={sys.executable}", cwd=checkout, PATH=path)
    (checkout / ".venv" / ".runs").touch()
    for python in (checkout / ".venv" / "bin").glob("python*"):
        python.unlink()
        python.symlink_to(checkout / "gone")

    assert "Hello" in serve(checkout, PATH=path)
    assert "uv" in (checkout / ".venv" / "pyvenv.cfg").read_text()


def test_a_system_without_venv_is_told_what_to_install_and_left_clean(checkout: Path) -> None:
    python = checkout / "python"
    python.write_text(f'#!/bin/sh\n[ "$1" = -m ] && {{ mkdir -p .venv/bin; exit 1; }}\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    environ = {name: value for name, value in os.environ.items() if name != "PATH"} | {"PATH": "/usr/bin:/bin"}

    done = subprocess.run(
        ["make", "run", f"PYTHON={python}"], cwd=checkout, env=environ, capture_output=True, text=True, timeout=60
    )

    assert done.returncode != 0
    assert "apt install python3-venv" in done.stdout
    assert not (checkout / ".venv").exists()
