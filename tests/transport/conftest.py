"""Gives the transport's tests what most of them start from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.transport import Transport, TransportSettings


@pytest.fixture
def transport() -> Iterator[Transport]:
    transport = Transport(TransportSettings())
    yield transport
    transport.close()
