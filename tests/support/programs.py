"""Programs that a machine may have or lack."""

from __future__ import annotations

import shutil

import pytest


def program(name: str) -> str:
    """The path of a program; skips the test where there is none."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not on this machine")
    return path
