"""Pools of credentials through the gateway, and what accounts have used of their windows."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from app.errors import ConfigError
from app.providers.quotas import QuotaWindow, find_cooldown, read_quotas
from app.settings import load_settings
from app.settings.checking import build_settings
from tests.gateway.conftest import Client, MakeClient
from tests.support.answers import chat_answer
from tests.support.fake_upstream import FakeUpstream, Reply, json_reply

ANSWER = json_reply(chat_answer())
LIMITED = json_reply({"error": {"message": "too many"}}, 429, {"retry-after": "3600"})
REVOKED = json_reply({"error": {"message": "revoked", "type": "invalid_api_key"}}, 401)
SPENT = json_reply({"error": {"message": "no credit", "code": "insufficient_quota"}}, 429)
DEAR = json_reply(
    {
        "error": {
            "message": "This request requires more credits, or fewer max_tokens. You requested up to 64000 tokens."
        }
    },
    402,
)
WRONG = json_reply({"error": {"message": "messages: too odd"}}, 400)


@pytest.fixture
def pooled(make_client: MakeClient, upstream: FakeUpstream) -> Client:
    return pool(make_client, upstream)


def pool(make_client: MakeClient, upstream: FakeUpstream, **more: Any) -> Client:
    entries = [{"name": "one", "api_key": "sk-one"}, {"name": "two", "api_key": "sk-two"}]
    settings = build_settings(
        {"providers": {"p": {"kind": "openai", "base_url": f"{upstream.url}/v1", "credentials": entries}}},
        client_key=None,
        source=None,
        found=(),
    )
    table = settings.providers["p"]
    return make_client(p={"kind": "openai", "base_url": table.base_url, "credentials": table.credentials, **more})


def ask(client: Client, session: str = "s1") -> Any:
    body = {"model": "p/m", "messages": [{"role": "user", "content": "hi"}]}
    return client.ask("/v1/chat/completions", body, x_session_id=session)


def shown(upstream: FakeUpstream) -> list[str]:
    """The keys that the upstream saw, in order."""
    return [
        seen.headers["authorization"].removeprefix("Bearer ")
        for seen in upstream.seen
        if seen.path.endswith("/chat/completions")
    ]


def test_a_session_stays_on_one_account(pooled: Client, upstream: FakeUpstream) -> None:
    upstream.script(*[ANSWER] * 6)

    for _ in range(6):
        assert ask(pooled).status_code == 200

    assert len(set(shown(upstream))) == 1


def test_the_next_account_gets_nothing_that_only_the_first_can_decrypt(
    make_client: MakeClient, upstream: FakeUpstream
) -> None:
    """qxcnm/Codex-Manager#397."""
    client = pool(make_client, upstream, dialect="openai_responses")
    upstream.script(LIMITED, json_reply({"object": "response", "model": "m", "output": []}))
    question = {"type": "message", "role": "user", "content": "hi"}
    thought = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
    items = [question, thought, {"type": "message", "role": "assistant", "content": "hello"}, question]

    answer = client.ask("/v1/responses", {"model": "p/gpt-5", "input": items, "store": False})

    assert answer.status_code == 200
    assert [b"gAAA" in seen.body for seen in upstream.seen] == [True, False]


@pytest.mark.parametrize("refusal", [LIMITED, REVOKED, SPENT], ids=["limited", "revoked", "spent"])
def test_a_limited_account_is_left_before_the_client_notices(
    pooled: Client, upstream: FakeUpstream, refusal: Reply
) -> None:
    upstream.script(refusal, ANSWER, ANSWER)

    first, second = ask(pooled), ask(pooled)

    assert (first.status_code, second.status_code) == (200, 200)
    refused, *then = shown(upstream)
    assert len(then) == 2
    assert {refused} | set(then) == {"sk-one", "sk-two"}
    assert refused not in then
    health = pooled.http.get("/health").get_json()["providers"]["p"]
    assert sorted(member["rests_seconds"] > 0 for member in health["credentials"].values()) == [False, True]


def test_an_account_that_one_request_was_too_dear_for_serves_the_next(
    pooled: Client, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.gateway.failures.pool_switch.MOMENT", 0.05)
    upstream.script(DEAR, ANSWER, ANSWER)

    assert ask(pooled).status_code == 200
    time.sleep(0.1)
    assert ask(pooled).status_code == 200

    first, other, next_one = shown(upstream)
    assert first == next_one != other


def test_when_every_account_is_limited_the_client_hears_so(pooled: Client, upstream: FakeUpstream) -> None:
    upstream.script(LIMITED, LIMITED)

    answer = ask(pooled)

    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "3600"
    assert set(shown(upstream)) == {"sk-one", "sk-two"}


def test_a_wrong_request_costs_no_account(pooled: Client, upstream: FakeUpstream) -> None:
    upstream.script(WRONG)

    assert ask(pooled).status_code == 400
    assert len(shown(upstream)) == 1


def test_the_windows_of_a_login_are_remembered_and_shown(pooled: Client, upstream: FakeUpstream) -> None:
    reset = int(time.time()) + 3600
    headers = {
        "anthropic-ratelimit-unified-status": "allowed",
        "anthropic-ratelimit-unified-5h-utilization": "0.25",
        "anthropic-ratelimit-unified-5h-reset": str(reset),
        "anthropic-ratelimit-unified-7d-utilization": "-0.0",
    }
    upstream.script(json_reply(chat_answer(), 200, headers))

    ask(pooled)

    [windows] = pooled.http.get("/health").get_json()["providers"]["p"]["quotas"].values()
    assert [(each["window"], each["used_percent"]) for each in windows] == [("5h", 25.0), ("7d", 0.0)]
    assert "resets" in windows[0]


HOSTILE = {
    "words": "much", "nan": "nan", "infinite": "inf", "huge": "9" * 500, "negative": "-3", "empty": "", "date": "1e300",
}  # fmt: skip


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_odd_windows_hurt_nobody(value: str) -> None:
    names = ("anthropic-ratelimit-unified-5h-utilization", "anthropic-ratelimit-unified-5h-reset")
    windows = read_quotas({"anthropic-ratelimit-unified-status": value} | dict.fromkeys(names, value), 1000.0)

    assert all(window.used == 0.0 and window.resets_at is None for window in windows)


def test_the_windows_of_chatgpt_are_named_by_their_length() -> None:
    headers = {
        "x-codex-primary-used-percent": "100",
        "x-codex-primary-window-minutes": "300",
        "x-codex-primary-reset-at": "1600",
        "x-codex-secondary-used-percent": "12.5",
        "x-codex-secondary-window-minutes": "10080",
        "x-codex-secondary-reset-after-seconds": "90",
    }

    windows = read_quotas(headers, 1000.0)

    assert windows == (QuotaWindow("5h", 1.0, 1600.0), QuotaWindow("7d", 0.125, 1090.0))
    assert find_cooldown(windows, 1000.0) == 600.0


FAULTS = {
    "two in one": ([{"api_key": "a", "access_token": "b"}], "providers.p.credentials.1"),
    "none in one": ([{"name": "a"}], "providers.p.credentials.1"),
    "an unknown key": ([{"api_key": "a", "key": "b"}], "providers.p.credentials.1.key"),
    "the same name": ([{"api_key": "a", "name": "n"}, {"api_key": "b", "name": "n"}], "providers.p.credentials"),
    "no list": ("sk-a", "providers.p.credentials"),
    "a line end": (["sk\na"], "providers.p.credentials.1"),
}


@pytest.mark.parametrize(("entries", "key"), FAULTS.values(), ids=FAULTS)
def test_a_wrong_pool_is_named_at_the_start(entries: Any, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_settings(
            {"providers": {"p": {"kind": "openai", "credentials": entries}}}, client_key=None, source=None, found=()
        )

    assert key in str(caught.value)


def test_a_pool_in_a_file_has_keys_of_the_environment_and_paths_of_the_home(tmp_path: Path) -> None:
    path = tmp_path / "dragoman.toml"
    path.write_text(
        '[providers.anthropic]\ncredentials = ["${KEY}", { name = "spare", credentials_file = "~/c.json" }]\n'
    )
    path.chmod(0o600)

    settings = load_settings(path, {"HOME": str(tmp_path), "KEY": "sk-secret"}, {})

    one, other = settings.providers["anthropic"].credentials
    assert (one.name, one.api_key) == ("1", "sk-secret")
    assert (other.name, other.credentials_file) == ("spare", str(tmp_path / "c.json"))
    assert "sk-secret" not in repr(settings)
