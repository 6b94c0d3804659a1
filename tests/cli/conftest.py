"""Gives the commands a machine of their own: an empty home, an empty folder, a bare environment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.machine import Machine
from tests.support.gateway_process import free_port


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(tmp_path)
    for name in list(os.environ):
        if name not in ("PATH", "LANG"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(machine.home))
    monkeypatch.chdir(machine.folder)
    return machine


@pytest.fixture
def port() -> int:
    """A port that nobody listens on."""
    return free_port()
