"""This file is the fixtures of the real programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)
