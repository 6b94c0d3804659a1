"""A gateway that serves the demo, for tests of what the pages say."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.gateway_process import GatewayProcess


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway as `make run` starts it on a machine without any account."""
    with GatewayProcess(tmp_path_factory.mktemp("demo")) as gateway:
        yield gateway
