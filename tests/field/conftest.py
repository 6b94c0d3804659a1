"""What the reports of the field are tried on: the gateway in this process, with scripted upstreams of each dialect."""

from __future__ import annotations

import pytest

from tests.gateway.conftest import Client, MakeClient, client, data_folder, make_client, upstream  # noqa: F401
from tests.support.fake_upstream import FakeUpstream


@pytest.fixture
def every(make_client: MakeClient, upstream: FakeUpstream) -> Client:  # noqa: F811
    """A client of a gateway with an upstream of each dialect."""
    return make_client(responses={"kind": "openai", "dialect": "openai_responses", "base_url": f"{upstream.url}/v1"})


@pytest.fixture(autouse=True)
def _no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries follow each other at once: what is tried here is what is said, not how long it takes."""
    monkeypatch.setattr("app.gateway.failures.policy.FIRST_BACKOFF", 0.0)
