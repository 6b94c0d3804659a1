"""This file is the fixtures that all tests share: the wire files, found by dialect, kind and name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

WIRE = Path(__file__).parent / "wire"


@pytest.fixture(scope="session")
def read_wire() -> Callable[[str], bytes]:
    """Reads a wire file by its path below tests/wire, for example "openai_chat/streams/text.sse"."""

    def read(path: str) -> bytes:
        return (WIRE / path).read_bytes()

    return read
