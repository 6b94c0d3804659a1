"""The built distributions, made once for all tests of this folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """These tests build and install packages for a minute, so they run only where they are named: `make package`."""
    named = [(config.invocation_params.dir / argument.partition("::")[0]).resolve() for argument in config.args]
    return None if any(path.is_relative_to(HERE) for path in named) else True


def run(*command: str | Path, cwd: Path | None = None, **environ: str) -> str:
    """What the command prints. Fails with all that it said."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=os.environ | environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def build(folder: Path, **variables: str) -> Path:
    told = [f"{name}={value}" for name, value in variables.items()]
    run("make", "dist", f"DIST={folder}", f"PYTHON={sys.executable}", *told, cwd=ROOT)
    return folder


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `make dist` fills."""
    return build(tmp_path_factory.mktemp("dist"))
