"""Limits and budgets of keys: what is refused in which words, and what a request is counted with in the end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from app import create_app
from app.accounts.record import AttemptRecord, RequestRecord, Terminal
from app.dialects.registry import DIALECTS
from app.gateway.messages import ClientRequest
from app.rate_limits.counts import Demand, Limit
from app.settings import KeySettings, PriceSettings, ProviderSettings, Settings
from tests.gateway.conftest import Client
from tests.support.answers import chat_answer, chat_stream, chunk
from tests.support.fake_upstream import CUT, FakeUpstream, Reply, json_reply, sse

KEY = "dm-limited-0123456789"
PATHS = {"messages": "/v1/messages", "chat": "/v1/chat/completions", "responses": "/v1/responses"}
# A dollar for a million tokens of either kind: 18 tokens of an answer cost 18,000 billionths.
PRICES = {"m": PriceSettings(input=1.0, output=1.0)}
ANSWER_TOKENS, ANSWER_COST = 18, 18_000

Limited = Callable[..., Client]


@pytest.fixture
def limited(upstream: FakeUpstream) -> Iterator[Limited]:
    made: list[Client] = []
    upstream.script(json_reply(chat_answer()))

    def make(**limits: Any) -> Client:
        settings = Settings(
            providers={"up": ProviderSettings(kind="openai", base_url=f"{upstream.url}/v1", api_key="sk-up")},
            keys={"ci": KeySettings(key=KEY, **limits), "free": KeySettings(key="dm-free-0123456789")},
            prices=PRICES,
        )
        made.append(Client(create_app(settings)))
        return made[-1]

    yield make
    for client in made:
        client.app.runtime.services.transport.close()


def ask(client: Client, dialect: str = "chat", key: str = KEY, **more: Any) -> Any:
    asked: dict[str, Any] = {"model": "up/m", **more}
    if dialect == "responses":
        asked |= {"input": "hi", "store": False}
    else:
        asked |= {"max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    return client.ask(PATHS[dialect], asked, x_api_key=key)


def used(client: Client, limit: Limit) -> int:
    return client.app.runtime.limiter.counts.look([Demand("ci", limit, 0)])[0]


TOKENS, PARALLEL = Limit("tokens", 0, "minute"), Limit("parallel", 0)
BUDGET = Limit("budget", 0, "day")

ERRORS = {
    "messages": ("rate_limit_error", "anthropic-ratelimit-requests-limit", "anthropic-ratelimit-requests-reset"),
    "chat": ("rate_limit_exceeded", "x-ratelimit-limit-requests", "x-ratelimit-reset-requests"),
    "responses": ("rate_limit_exceeded", "x-ratelimit-limit-requests", "x-ratelimit-reset-requests"),
}


@pytest.mark.parametrize("dialect", PATHS)
def test_requests_beyond_the_limit_are_a_429_in_the_words_of_the_dialect(limited: Limited, dialect: str) -> None:
    client = limited(requests_per_minute=2)
    assert [ask(client, dialect).status_code for _ in range(2)] == [200, 200]

    refused = ask(client, dialect)

    word, limit, reset = ERRORS[dialect]
    assert refused.status_code == 429
    assert word in refused.text
    assert "limit of 2 requests a minute" in refused.text
    assert 1 <= int(refused.headers["retry-after"]) <= 61
    assert refused.headers[limit] == "2"
    assert refused.headers[reset]
    assert "x-should-retry" not in refused.headers
    assert refused.headers["x-gateway-error"] == "rate_limit"


def test_the_record_of_a_refused_request_names_the_model_that_was_asked_for(limited: Limited, log_lines: Any) -> None:
    client = limited(requests_per_minute=1)
    ask(client)

    ask(client)

    assert [(line["status"], line["model"]) for line in log_lines()] == [(200, "up/m"), (429, "up/m")]


def test_keys_without_limits_are_not_counted(limited: Limited, upstream: FakeUpstream) -> None:
    client = limited(requests_per_minute=1)

    assert [ask(client, key="dm-free-0123456789").status_code for _ in range(3)] == [200] * 3
    assert client.app.runtime._limiter is None


@pytest.mark.parametrize("dialect", PATHS)
def test_a_limit_that_ends_in_hours_tells_an_agent_not_to_wait(limited: Limited, dialect: str) -> None:
    client = limited(requests_per_day=1)
    ask(client)

    refused = ask(client, dialect)

    assert ("usage_limit_reached" in refused.text) is (dialect == "responses")  # where Codex would sleep for hours
    assert (refused.status_code, refused.headers["x-should-retry"]) == (429, "false")
    assert int(refused.headers["retry-after"]) > 80_000


BUDGET_WORDS = {"messages": "billing_error", "chat": "insufficient_quota", "responses": "insufficient_quota"}


@pytest.mark.parametrize("dialect", PATHS)
@pytest.mark.parametrize("period", ["day", "month"])
def test_a_budget_is_exact_to_one_request(limited: Limited, upstream: FakeUpstream, dialect: str, period: str) -> None:
    client = limited(**{f"budget_per_{period}": 2.5 * ANSWER_COST / 1e9})

    answers = [ask(client, dialect) for _ in range(5)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert len(upstream.seen) == 3
    assert BUDGET_WORDS[dialect] in answers[-1].text
    assert f"for this {period}" in answers[-1].text
    assert answers[-1].headers["x-should-retry"] == "false"


@pytest.mark.parametrize("dialect", PATHS)
def test_a_budget_that_is_only_held_for_what_is_under_way_lets_an_agent_come_back(
    limited: Limited, upstream: FakeUpstream, dialect: str
) -> None:
    client = limited(budget_per_day=3.5 * ANSWER_COST / 1e9)
    upstream.script(chat_stream("one", "two"))
    # What this one allows itself would spend all of it.
    body = {"model": "up/m", "stream": True, "max_tokens": 4000, "messages": [{"role": "user", "content": "hi"}]}
    running = client.http.post(PATHS["chat"], data=json.dumps(body), headers={"x-api-key": KEY}, buffered=False)
    next(iter(running.response))

    during = ask(client, dialect)
    running.get_data()
    running.close()
    upstream.script(json_reply(chat_answer()))
    after = ask(client, dialect)

    assert (during.status_code, during.headers["retry-after"]) == (429, "1")
    assert "x-should-retry" not in during.headers
    assert "running requests that may spend the rest of its budget of $0.000063" in during.text
    assert BUDGET_WORDS[dialect] not in during.text
    assert after.status_code == 200


def test_a_whole_answer_is_settled_by_what_its_upstream_counted(limited: Limited) -> None:
    client = limited(tokens_per_minute=10_000, budget_per_day=1.0, max_parallel=2)

    ask(client)

    assert used(client, TOKENS) == ANSWER_TOKENS
    assert used(client, BUDGET) == ANSWER_COST
    assert used(client, PARALLEL) == 0


def test_tokens_beyond_the_limit_are_refused_until_there_is_room(limited: Limited) -> None:
    client = limited(tokens_per_minute=2 * ANSWER_TOKENS)

    assert [ask(client).status_code for _ in range(4)] == [200, 200, 429, 429]
    refused = ask(client)
    assert refused.headers["x-ratelimit-limit-tokens"] == str(2 * ANSWER_TOKENS)


FAILED: dict[str, Reply] = {
    "an error of the upstream": json_reply({"error": {"message": "no"}}, 400),
    "no answer at all": Reply((CUT,), framing="raw"),
}


@pytest.mark.parametrize("case", FAILED)
def test_what_failed_costs_no_tokens(limited: Limited, upstream: FakeUpstream, case: str) -> None:
    client = limited(tokens_per_minute=100, budget_per_day=1.0, max_parallel=1)
    upstream.script(FAILED[case])

    statuses = [ask(client).status_code for _ in range(2)]

    assert 429 not in statuses
    assert all(status >= 400 for status in statuses)
    assert (used(client, TOKENS), used(client, BUDGET), used(client, PARALLEL)) == (0, 0, 0)


def test_a_refused_body_gives_its_place_back(limited: Limited) -> None:
    client = limited(max_parallel=1, tokens_per_minute=1000)

    broken = [client.ask(PATHS["chat"], b"{", x_api_key=KEY).status_code for _ in range(3)]

    assert broken == [400] * 3
    assert (used(client, TOKENS), used(client, PARALLEL)) == (0, 0)


def test_a_stream_that_breaks_off_is_settled_by_what_came(limited: Limited, upstream: FakeUpstream) -> None:
    client = limited(tokens_per_minute=100_000, budget_per_day=1.0, max_parallel=1)
    words = [chunk({"content": "word "}) for _ in range(200)]
    upstream.script(sse(chunk({"role": "assistant"}), *words, 0.3, CUT))

    answer = ask(client, stream=True)

    assert "word" in answer.text
    assert 200 <= used(client, TOKENS) <= 1200
    assert used(client, BUDGET) == used(client, TOKENS) * 1000
    assert used(client, PARALLEL) == 0


def test_a_stream_that_its_client_leaves_frees_its_place(limited: Limited, upstream: FakeUpstream) -> None:
    client = limited(max_parallel=1, tokens_per_minute=100_000)
    upstream.script(chat_stream("one", "two"))
    body = json.dumps({"model": "up/m", "stream": True, "messages": [{"role": "user", "content": "hi"}]})

    left = client.http.post(PATHS["chat"], data=body, headers={"x-api-key": KEY}, buffered=False)
    next(iter(left.response))
    during = ask(client).status_code
    left.close()

    assert during == 429
    assert used(client, PARALLEL) == 0
    assert used(client, TOKENS) > 0


HISTORY = "word " * 20_000
LEAST = 15_000  # tokens of it


def continued(client: Client, upstream: FakeUpstream, what: str) -> dict[str, Any]:
    """A short request that continues a long history."""
    if what == "conversation":
        items = {"items": [{"role": "user", "content": HISTORY}]}
        named = client.ask("/v1/conversations", items, x_api_key=KEY).json["id"]
    else:
        upstream.script(json_reply(chat_answer()))
        named = client.ask(PATHS["responses"], {"model": "up/m", "input": HISTORY}, x_api_key=KEY).json["id"]
    return {"model": "up/m", "input": "go on", what: named}


@pytest.mark.parametrize("what", ["previous_response_id", "conversation"])
def test_what_a_request_continues_counts_like_what_it_says(limited: Limited, upstream: FakeUpstream, what: str) -> None:
    client = limited(tokens_per_minute=1_000_000)
    body = continued(client, upstream, what)
    before = used(client, TOKENS)
    upstream.script(chat_stream("one", "two"))

    left = client.http.post(
        PATHS["responses"], json={**body, "stream": True}, headers={"x-api-key": KEY}, buffered=False
    )
    next(iter(left.response))
    during = used(client, TOKENS) - before
    left.close()
    after = used(client, TOKENS) - before
    upstream.script(json_reply(chat_answer(usage=None)))
    assert client.ask(PATHS["responses"], body, x_api_key=KEY).status_code == 200
    untold = used(client, TOKENS) - before - after

    assert min(during, after, untold) > LEAST


def test_history_beyond_the_limit_is_refused_with_the_next_request(limited: Limited, upstream: FakeUpstream) -> None:
    client = limited(tokens_per_minute=LEAST)
    body = continued(client, upstream, "conversation")
    upstream.script(chat_stream("one", "two"))
    running = client.http.post(
        PATHS["responses"], json={**body, "stream": True}, headers={"x-api-key": KEY}, buffered=False
    )
    next(iter(running.response))

    refused = client.ask(PATHS["responses"], body, x_api_key=KEY)
    running.close()

    assert refused.status_code == 429


PROMPTS: dict[str, dict[str, Any]] = {
    "messages": {"messages": [{"role": "user", "content": HISTORY}]},
    "documents": {"documents": [{"text": HISTORY}]},
    "a template": {"chat_template": HISTORY},
    "the words for one": {"chat_template_kwargs": {"documents": HISTORY}},
    "a prediction": {"prediction": {"type": "content", "content": HISTORY}},
}


@pytest.mark.parametrize("place", PROMPTS)
def test_a_prompt_counts_wherever_it_stands(limited: Limited, upstream: FakeUpstream, place: str) -> None:
    client = limited(tokens_per_minute=1_000_000)
    upstream.script(chat_stream("one", "two"))
    body = {"model": "up/m", "stream": True, "messages": [{"role": "user", "content": "hi"}], **PROMPTS[place]}

    left = client.http.post(PATHS["chat"], json=body, headers={"x-api-key": KEY}, buffered=False)
    next(iter(left.response))
    left.close()

    assert used(client, TOKENS) > LEAST


UNCOUNTED = ({}, None, {"prompt_tokens": 0, "completion_tokens": 0}, {"prompt_tokens": -5, "completion_tokens": "NaN"})


@pytest.mark.parametrize("usage", UNCOUNTED)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", PATHS)
def test_an_answer_whose_upstream_counts_nothing_is_estimated(
    limited: Limited, upstream: FakeUpstream, usage: Any, stream: bool, dialect: str
) -> None:
    client = limited(tokens_per_minute=1_000_000)
    end = chunk({}, "stop", usage=usage)
    whole = json_reply(chat_answer(usage=usage))
    upstream.script(sse(chunk({"content": HISTORY}), end, b"data: [DONE]\n\n") if stream else whole)
    asked: dict[str, Any] = {"model": "up/m", "max_tokens": 9, "stream": stream}
    given = "input" if dialect == "responses" else "messages"

    answer = client.ask(PATHS[dialect], {**asked, given: [{"role": "user", "content": HISTORY}]}, x_api_key=KEY)
    answer.close()

    assert used(client, TOKENS) > LEAST


SENT, FAILED_ONCE = AttemptRecord("up/m"), AttemptRecord("up/m", 500, "internal")
LEFT: dict[str, tuple[tuple[AttemptRecord, ...], Terminal, bool]] = {
    "while the upstream works": ((SENT,), "client_closed", True),
    "while the upstream works again": ((FAILED_ONCE, SENT), "client_closed", True),
    "in a queue": ((), "client_closed", False),
    "before another attempt": ((FAILED_ONCE,), "client_closed", False),
    "after an error": ((SENT,), "error", False),
}


@pytest.mark.parametrize("when", LEFT)
def test_who_leaves_has_used_what_an_upstream_was_asked(limited: Limited, when: str) -> None:
    attempts, terminal, counts = LEFT[when]
    runtime = limited(tokens_per_minute=1_000_000).app.runtime
    key = runtime.services.access.check_key({"x-api-key": KEY})
    body = json.dumps({"model": "up/m", "messages": [{"role": "user", "content": HISTORY}]}).encode()
    asked = ClientRequest(DIALECTS["openai_chat"], body, {}, key=key)
    reserved = runtime.limiter.reserve("key", "ci", key.limits, asked, lambda: None)

    reserved.settle(RequestRecord("id", 0.0, attempts=attempts, terminal=terminal))

    left = runtime.limiter.counts.look([Demand("ci", TOKENS, 0)])[0]
    assert left > LEAST if counts else left == 0


def test_too_much_at_a_time_says_how_many(limited: Limited, upstream: FakeUpstream) -> None:
    client = limited(max_parallel=1)
    upstream.script(chat_stream("one", "two"))
    left = client.http.post(
        PATHS["chat"],
        data=json.dumps({"model": "up/m", "stream": True, "messages": [{"role": "user", "content": "hi"}]}),
        headers={"x-api-key": KEY},
        buffered=False,
    )
    next(iter(left.response))

    refused = ask(client, "messages")
    left.close()

    assert "1 running requests" in refused.text
    assert refused.headers["retry-after"] == "1"


def test_several_answers_are_settled_together(limited: Limited) -> None:
    client = limited(tokens_per_minute=100_000)

    assert ask(client, n=2).status_code == 200

    assert used(client, TOKENS) % ANSWER_TOKENS == 0


def test_a_model_without_a_price_spends_no_budget(limited: Limited) -> None:
    client = limited(budget_per_day=0.000_001)

    assert [ask(client, model="up/unpriced").status_code for _ in range(3)] == [200] * 3


def test_limits_that_cannot_be_counted_are_said_in_health(limited: Limited, data_folder: Any) -> None:
    data_folder.mkdir(parents=True, exist_ok=True)
    (data_folder / "limits.1.bin").write_bytes(b"broken")
    client = limited(requests_per_minute=2)

    statuses = [ask(client).status_code for _ in range(3)]
    health = client.http.get("/health", headers={"x-api-key": KEY}).json

    assert statuses == [200, 200, 429]
    assert any("usage counters" in reason for reason in health["reasons"])


def test_a_conversation_is_kept_for_a_key_with_limits_and_takes_nothing_of_them(limited: Limited) -> None:
    client = limited(budget_per_day=1.0, requests_per_minute=1)

    kept = [client.ask("/v1/conversations", {"metadata": {"a": "b"}}, x_api_key=KEY).status_code for _ in range(3)]

    assert kept == [200] * 3
    assert ask(client).status_code == 200


@pytest.mark.parametrize("allowed", [-1_000_000, 0, 9, 10**9])
def test_no_client_makes_room_by_the_tokens_that_it_allows(
    limited: Limited, upstream: FakeUpstream, allowed: int
) -> None:
    client = limited(tokens_per_minute=1_000_000)
    upstream.script(chat_stream("one", "two"))
    body = {"model": "up/m", "stream": True, "max_tokens": allowed, "messages": [{"role": "user", "content": "hi"}]}

    running = client.http.post(PATHS["chat"], data=json.dumps(body), headers={"x-api-key": KEY}, buffered=False)

    assert 0 <= used(client, TOKENS) <= 4096 + len(json.dumps(body))
    running.close()
