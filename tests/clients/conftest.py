"""This file is the fixtures of the real programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.workspace import Workspace

HERE = Path(__file__).parent


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """These tests take minutes and the npm registry, so they run only where they are named, as `make clients` does."""
    named = [(config.invocation_params.dir / argument.partition("::")[0]).resolve() for argument in config.args]
    return None if any(path.is_relative_to(HERE) for path in named) else True


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)
