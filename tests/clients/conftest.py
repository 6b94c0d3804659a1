"""The fixtures of the real programs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.clients.chromium import Chromium
from tests.clients.gateways import gateway_to
from tests.clients.standins.scripted_model import ScriptedModel
from tests.clients.standins.stand_in import StandIn
from tests.clients.workspace import Workspace
from tests.support.gateway_process import GatewayProcess

HERE = Path(__file__).parent


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """These tests take minutes and the npm registry, so they run only where they are named, as `make clients` does."""
    named = [(config.invocation_params.dir / argument.partition("::")[0]).resolve() for argument in config.args]
    return None if any(path.is_relative_to(HERE) for path in named) else True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Iterator[None]:
    """A browser that outlives a test that failed shows what it showed."""
    if call.excinfo is not None and not call.excinfo.errisinstance(pytest.skip.Exception):
        for browser in Chromium.running:
            browser.keep_picture()
    return (yield)


class Pair(NamedTuple):
    """A stand-in and the gateway before it."""

    upstream: StandIn
    gateway: GatewayProcess


@pytest.fixture(scope="module")
def kept_pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Needs the kind of stand-in as indirect parameter."""
    folder = tmp_path_factory.mktemp("gateway")
    with request.param(ScriptedModel()) as upstream, gateway_to(upstream, folder) as gateway:
        yield Pair(upstream, gateway)


@pytest.fixture
def pair(kept_pair: Pair) -> Iterator[Pair]:
    """A pair that serves all tests of a module, with a fresh script; at the end the stand-in must be content."""
    kept_pair.upstream.play(ScriptedModel())
    yield kept_pair
    assert kept_pair.upstream.refused == []


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)
