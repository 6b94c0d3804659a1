"""Limits of providers: what is asked of them, what clients are told, and where all of it can be seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from app import create_app
from app.blueprints.operations.gauges import describe_state
from app.gateway.recording.alerts import Alert
from app.gateway.recording.troubles import find_spent_budgets
from app.gateway.use_limits.in_force import LimitUse
from app.rate_limits.counts import Demand, Limit
from app.settings import KeySettings, PriceSettings, ProviderSettings, RouteSettings, Settings, SharedSettings
from app.settings.tables import CredentialSettings, UseLimits
from tests.gateway.conftest import Client, MakeClient
from tests.support.answers import chat_answer, chat_stream
from tests.support.fake_upstream import FakeUpstream, json_reply, sse

ANSWER = json_reply(chat_answer())
BUSY = json_reply({"error": {"message": "busy", "type": "server_error"}}, 503)
ROUTE = {"routes": {"fast": RouteSettings(targets=("first/m", "chat/m"))}}
PERIODS = {"minute": 61, "hour": 3660, "day": 87_840}


OpenClient = Callable[[Settings], Client]


@pytest.fixture
def open_client() -> Iterator[OpenClient]:
    made: list[Client] = []

    def open_one(settings: Settings) -> Client:
        made.append(Client(create_app(settings)))
        return made[-1]

    yield open_one
    for client in made:
        client.app.runtime.services.transport.close()


def limited(upstream: FakeUpstream, **more: Any) -> dict[str, Any]:
    return {"kind": "openai", "base_url": f"{upstream.url}/v1", "api_key": "sk-first", **more}


def used(client: Client, kind: Any, period: Any, name: str = "first") -> int:
    (count,) = client.app.runtime.limiter.counts.look([Demand(f"provider {name}", Limit(kind, 0, period), 0)])
    return count


@pytest.mark.parametrize("period", PERIODS)
@pytest.mark.parametrize("kind", ["requests", "tokens"])
def test_what_is_too_much_for_the_only_provider_is_a_429_in_each_dialect(
    make_client: MakeClient, upstream: FakeUpstream, kind: str, period: str
) -> None:
    upstream.script(ANSWER)
    client = make_client(first=limited(upstream, **{f"{kind}_per_{period}": 1}))

    statuses = [client.chat("first/m").status_code, client.chat("first/m").status_code]
    refused = client.message("first/m")

    assert statuses == [200, 429]
    assert (refused.status_code, refused.get_json()["error"]["type"]) == (429, "rate_limit_error")
    assert f"the provider 'first' has reached its limit of 1 {kind} a {period}" in refused.text
    assert 1 <= int(refused.headers["retry-after"]) <= PERIODS[period]
    assert ("x-should-retry" in refused.headers) == (period != "minute")
    assert not [name for name, _ in refused.headers if "ratelimit" in name.lower()]
    assert len(upstream.seen) == 1


def test_a_limited_provider_leads_to_the_next_target_and_the_record_says_why(
    make_client: MakeClient, upstream: FakeUpstream, log_lines: Callable[[], list[Any]]
) -> None:
    upstream.script(ANSWER)
    client = make_client(models=ROUTE, first=limited(upstream, requests_per_hour=2))

    answers = [client.chat("fast") for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200] * 4
    assert [answer.headers["x-dragoman-upstream"] for answer in answers] == ["first/m"] * 2 + ["chat/m"] * 2
    assert "limit of 2 requests" in log_lines()[-1]["skipped"][0]


def test_each_try_counts_as_a_request_and_only_answers_cost_tokens(
    make_client: MakeClient, upstream: FakeUpstream
) -> None:
    upstream.script(BUSY, ANSWER)
    client = make_client(first=limited(upstream, requests_per_day=100, tokens_per_day=10_000))

    assert client.chat("first/m").status_code == 200

    assert len(upstream.seen) == 2
    assert used(client, "requests", "day") == 2
    assert used(client, "tokens", "day") == 18


def test_several_answers_of_one_request_are_counted_one_by_one(make_client: MakeClient, upstream: FakeUpstream) -> None:
    upstream.script(ANSWER)
    client = make_client(first=limited(upstream, requests_per_day=100, tokens_per_day=10_000, quirks={"n": False}))

    assert client.chat("first/m", n=3).status_code == 200

    asked = len(upstream.seen)
    assert (used(client, "requests", "day"), used(client, "tokens", "day")) == (asked, 18 * asked)


def test_a_provider_that_has_spent_its_budget_is_not_asked_before_the_next_day(
    upstream: FakeUpstream, open_client: OpenClient
) -> None:
    upstream.script(ANSWER)
    settings = Settings(
        providers={"up": ProviderSettings(**limited(upstream, budget_per_day=2.5 * 18 / 1e6))},
        prices={"m": PriceSettings(input=1.0, output=1.0)},
    )
    client = open_client(settings)

    answers = [client.chat("up/m") for _ in range(5)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert answers[-1].headers["x-should-retry"] == "false"
    assert "the provider 'up' has spent its budget of $0.000045 for this day" in answers[-1].text


def test_a_limit_of_ours_lets_no_credential_rest(make_client: MakeClient, upstream: FakeUpstream) -> None:
    upstream.script(ANSWER)
    pool = {
        "api_key": None,
        "credentials": (CredentialSettings(name="a", api_key="sk-a"), CredentialSettings(name="b", api_key="sk-b")),
    }
    client = make_client(first=limited(upstream, requests_per_hour=1) | pool)
    client.chat("first/m")

    assert client.chat("first/m").status_code == 429

    members = client.app.runtime.services.providers["first"].source.describe_members()  # type: ignore[union-attr]
    assert [member.cooldown for member in members] == [0.0, 0.0]


def test_a_pool_does_not_rest_either_while_limits_fail_closed(upstream: FakeUpstream, open_client: OpenClient) -> None:
    pool = (CredentialSettings(name="a", api_key="sk-a"), CredentialSettings(name="b", api_key="sk-b"))
    provider = ProviderSettings(kind="openai", base_url=f"{upstream.url}/v1", credentials=pool, requests_per_minute=1)
    shared = SharedSettings(redis="unix:///nowhere/redis.sock", fail_closed=True)
    client = open_client(Settings(providers={"up": provider}, shared=shared))

    answer = client.chat("up/m")

    members = client.app.runtime.services.providers["up"].source.describe_members()  # type: ignore[union-attr]
    assert answer.status_code == 503
    assert "try again later" in answer.text
    assert [member.cooldown for member in members] == [0.0, 0.0]
    assert upstream.seen == []


OWN = {
    "/v1/chat/completions": (
        *("x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
        "1h1m0s",
    ),
    "/v1/messages": (
        *("anthropic-ratelimit-requests-limit", "anthropic-ratelimit-requests-remaining"),
        *("anthropic-ratelimit-requests-reset", "T"),
    ),
}


@pytest.mark.parametrize("path", OWN)
@pytest.mark.parametrize("stream", [False, True])
def test_a_good_answer_tells_what_is_left_of_the_keys_own_limits_and_nothing_of_the_upstreams(
    upstream: FakeUpstream, open_client: OpenClient, path: str, *, stream: bool
) -> None:
    theirs = {"x-ratelimit-remaining-requests": "4711", "x-ratelimit-limit-tokens": "9", "retry-after": "1"}
    upstream.script(
        sse(*chat_stream("hi").pieces, headers=theirs) if stream else json_reply(chat_answer(), headers=theirs)
    )
    keys = {"ci": KeySettings(key="dm-1", requests_per_hour=5, requests_per_day=100), "free": KeySettings(key="dm-2")}
    client = open_client(Settings(providers={"up": ProviderSettings(**limited(upstream))}, keys=keys))
    body = {"model": "up/m", "max_tokens": 9, "stream": stream, "messages": [{"role": "user", "content": "hi"}]}

    for left in (4, 3):
        answer = client.ask(path, body, x_api_key="dm-1")
        limit, remaining, resets, reset = OWN[path]
        assert (answer.status_code, answer.headers[limit], answer.headers[remaining]) == (200, "5", str(left))
        assert reset in answer.headers[resets]
        assert "4711" not in answer.headers.values()
        assert not [name for name, _ in answer.headers if "tokens" in name.lower()]
    free = client.ask("/v1/chat/completions", body, x_api_key="dm-2")
    assert free.headers["x-ratelimit-remaining-requests"] == "4711"


def test_the_use_of_all_limits_is_shown_to_admins_and_to_each_key_its_own(
    upstream: FakeUpstream, open_client: OpenClient
) -> None:
    upstream.script(ANSWER)
    keys = {
        "ci": KeySettings(key="dm-1", requests_per_hour=5, budget_per_month=1.0),
        "anna": KeySettings(key="dm-2", max_parallel=3),
        "boss": KeySettings(key="dm-3", role="admin"),
    }
    provider = ProviderSettings(**limited(upstream, requests_per_minute=7, max_parallel=2))
    prices = {"m": PriceSettings(input=1.0, output=1.0)}
    client = open_client(Settings(providers={"up": provider}, keys=keys, prices=prices))
    client.ask("/v1/chat/completions", {"model": "up/m", "messages": []}, x_api_key="dm-1")

    def shown(key: str) -> list[tuple[str, str, str, int, int]]:
        rows = client.http.get("/_/api/limits", headers={"x-api-key": key}).get_json()["limits"]
        return [(row["owner"], row["name"], row["limit"], row["used"], row["maximum"]) for row in rows]

    own = [("key", "ci", "budget_per_month", 18_000, 10**9), ("key", "ci", "requests_per_hour", 1, 5)]
    assert shown("dm-1") == own
    assert shown("dm-2") == [("key", "anna", "max_parallel", 0, 3)]
    assert shown("dm-3") == [
        *own,
        ("key", "anna", "max_parallel", 0, 3),
        ("provider", "up", "requests_per_minute", 1, 7),
        ("provider", "up", "max_parallel", 0, 2),
    ]
    told = {
        (gauge.name, gauge.labels["name"], gauge.labels["limit"]): gauge.value
        for gauge in describe_state(client.app.runtime)
        if gauge.name.startswith("dragoman_limit")
    }
    assert told["dragoman_limit", "ci", "budget_per_month"] == 1.0
    assert told["dragoman_limit_used", "ci", "budget_per_month"] == pytest.approx(18e-6)
    assert told["dragoman_limit_used", "up", "requests_per_minute"] == 1


def test_an_alert_goes_out_at_eighty_percent_of_a_budget_and_another_when_it_is_spent(
    upstream: FakeUpstream, open_client: OpenClient
) -> None:
    upstream.script(ANSWER)
    keys = {"ci": KeySettings(key="dm-1", budget_per_day=10 * 18 / 1e6)}
    prices = {"m": PriceSettings(input=1.0, output=1.0)}
    client = open_client(Settings(providers={"up": ProviderSettings(**limited(upstream))}, keys=keys, prices=prices))
    told: list[list[Alert]] = []

    for _ in range(10):
        client.ask("/v1/chat/completions", {"model": "up/m", "messages": []}, x_api_key="dm-1")
        told.append([alert for alert in client.app.runtime._find_troubles() if alert.kind == "budget"])

    assert [len(alerts) for alerts in told] == [0] * 7 + [1, 1, 2]
    assert told[-1][1].subject == "key ci, day, 100 %"
    assert told[-1][1].message == "the client key 'ci' has spent $0.00018 of $0.00018 of this day"


def test_nobody_is_alerted_of_other_limits() -> None:
    assert list(find_spent_budgets([LimitUse("key", "ci", "requests_per_day", "requests", "day", 10, 10)])) == []


def test_keys_and_providers_have_the_same_limits() -> None:
    fields = set(UseLimits.__struct_fields__)

    assert fields < set(KeySettings.__struct_fields__)
    assert fields < set(ProviderSettings.__struct_fields__)
