"""An answering upstream, and the figures of the suite: each test reports what it measured, and the run ends with one
table of all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from tests.cli.conftest import machine  # noqa: F401  # a fixture for the commands
from tests.hardening.gateway import ANSWER
from tests.support.fake_upstream import FakeUpstream, json_reply

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

REPORTED = "dragoman-figure"


@pytest.fixture(scope="module")
def lasting_upstream() -> Iterator[FakeUpstream]:
    """For gateways that serve all tests of a module."""
    with FakeUpstream(json_reply(ANSWER)) as fake:
        yield fake


@pytest.fixture
def upstream(lasting_upstream: FakeUpstream) -> FakeUpstream:
    """An upstream that answers, and was asked nothing yet."""
    lasting_upstream.script(json_reply(ANSWER))
    lasting_upstream.seen.clear()
    return lasting_upstream


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Callable[[str, object, object], None]:
    """Reports one row: what was measured, the value, and what is allowed. Values carry their unit."""

    def report(name: str, value: object, allowed: object) -> None:
        record_property(REPORTED, (name, str(value), str(allowed)))

    return report


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    reports = (*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed"))
    rows = sorted({tuple(value) for each in reports for key, value in each.user_properties if key == REPORTED})
    if not rows:
        return
    terminalreporter.section("hardening figures")
    width = max(len(name) for name, _value, _allowed in rows)
    for name, value, allowed in rows:
        terminalreporter.line(f"{name:<{width}}  {value:>16}  (allowed: {allowed})")
