"""Limits that end soon are waited out; of others the client is told when to come back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.field.asking import both_modes, every_client
from tests.field.pairs import GOOD, ask
from tests.gateway.conftest import Client
from tests.support.fake_upstream import FakeUpstream, json_reply


@every_client
@both_modes
@pytest.mark.parametrize(
    "headers", [{}, {"retry-after": "0"}, {"retry-after-ms": "50"}, {"x-ratelimit-reset-requests": "50ms"}]
)
def test_a_short_limit_is_waited_out(
    client: Client, upstream: FakeUpstream, dialect: str, headers: dict[str, str], stream: bool
) -> None:
    upstream.script(json_reply({"error": {"message": "limit"}}, 429, headers), GOOD)

    assert ask(client, dialect, "chat/m", stream=stream).text == "t"


RESETS: dict[str, tuple[dict[str, Any], dict[str, str], int]] = {
    "resets_in_seconds": ({"type": "usage_limit_reached", "resets_in_seconds": 3600}, {}, 3600),
    "OpenAI's headers": (
        {},
        {"x-ratelimit-reset-tokens": "6m0s", "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-requests": "1h"},
        360,
    ),
    "one header": ({}, {"x-ratelimit-reset": "90"}, 90),
    "Google": ({"details": [{"@type": "RetryInfo", "retryDelay": "41.5s"}]}, {}, 42),
}


@every_client
@pytest.mark.parametrize("name", RESETS)
def test_the_end_of_a_limit_is_when_to_come_back(
    client: Client, upstream: FakeUpstream, name: str, dialect: str
) -> None:
    body, headers, seconds = RESETS[name]
    upstream.script(json_reply({"error": {"message": "limit", **body}}, 429, headers))
    path = {"A": "/v1/messages", "C": "/v1/chat/completions", "R": "/v1/responses"}[dialect]
    asked = {"input": "hi"} if dialect == "R" else {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 9}

    response = client.ask(path, {"model": "chat/m", **asked})

    assert response.headers["retry-after"] == str(seconds)


def test_the_end_of_a_limit_may_be_a_moment(client: Client, upstream: FakeUpstream) -> None:
    moment = datetime.now(UTC) + timedelta(seconds=1000)
    for told in (moment.timestamp(), moment.timestamp() * 1000, moment.isoformat()):
        upstream.script(
            json_reply({"error": {"message": "limit", "type": "usage_limit_reached", "resets_at": told}}, 429)
        )

        response = client.chat()

        assert 950 <= int(response.headers["retry-after"]) <= 1001
