"""How a provider does: what /health and the list of models know from requests that were sent anyway."""

from __future__ import annotations

from typing import Any

import pytest

from tests.gateway.conftest import Client, MakeClient
from tests.support.answers import chat_answer, chat_stream
from tests.support.fake_upstream import CUT, FakeUpstream, Piece, Reply, json_reply

REFUSED = json_reply({"error": {"message": "this key was revoked", "type": "invalid_api_key"}}, 401)
BROKEN = json_reply({"error": {"message": "cannot run: 'my secret prompt'", "type": "server_error"}}, 500)
ANSWER = json_reply(chat_answer())


def health_of(client: Client, name: str, **headers: str) -> tuple[str, dict[str, Any]]:
    """The status of the whole, and the entry of one provider."""
    answer = client.http.get("/health", headers=headers).get_json()
    return answer["status"], answer["providers"][name]


def test_a_refused_key_shows_until_a_request_succeeds(make_client: MakeClient, upstream: FakeUpstream) -> None:
    client = make_client(server={"max_attempts": 1})
    upstream.script(REFUSED, ANSWER)

    fresh = health_of(client, "chat")
    client.chat()
    refused = health_of(client, "chat")
    client.chat()
    mended = health_of(client, "chat")

    assert fresh == ("healthy", {"kind": "openai", "authenticated": True, "token_storage": fresh[1]["token_storage"]})
    assert refused[0] == "degraded"
    assert refused[1]["authenticated"] is False
    assert refused[1]["last_failure"]["kind"] == "upstream_auth"
    assert "this key was revoked" in refused[1]["last_failure"]["message"]
    assert mended[0] == "healthy"
    assert mended[1]["authenticated"] is True
    assert mended[1]["last_success"] >= mended[1]["last_failure"]["time"]


def test_a_server_that_does_not_run_shows_although_it_needs_no_key(make_client: MakeClient) -> None:
    client = make_client(server={"max_attempts": 1}, local={"kind": "openai", "base_url": "http://127.0.0.1:9/v1"})

    client.chat("local/m")

    status, entry = health_of(client, "local")
    assert status == "degraded"
    assert "127.0.0.1:9" in entry["last_failure"]["message"]


def test_the_words_of_a_conversation_do_not_reach_those_who_look_at_health(
    make_client: MakeClient, upstream: FakeUpstream
) -> None:
    client = make_client(server={"max_attempts": 1})
    upstream.script(BROKEN)

    client.chat()

    status, entry = health_of(client, "chat")
    assert status == "degraded"
    assert entry["last_failure"]["message"] == "it answered with an error of kind internal (HTTP 500)"


def test_strangers_learn_when_and_what_kind_but_no_sentence(make_client: MakeClient, upstream: FakeUpstream) -> None:
    client = make_client(server={"max_attempts": 1, "api_keys": ["sk-client"]})
    upstream.script(REFUSED)
    client.ask(
        "/v1/chat/completions",
        {"model": "chat/m", "messages": [{"role": "user", "content": "hi"}]},
        authorization="Bearer sk-client",
    )

    _, entry = health_of(client, "chat")

    assert set(entry["last_failure"]) == {"time", "kind"}


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(json_reply({"error": {"message": "messages: too odd"}}, 400), id="a wrong request"),
        pytest.param(json_reply({"error": {"message": "no such model"}}, 404), id="an unknown model"),
        pytest.param(json_reply({"error": {"message": "slow down"}}, 429), id="a rate limit"),
    ],
)
def test_what_is_not_the_providers_fault_leaves_it_healthy(
    make_client: MakeClient, upstream: FakeUpstream, reply: Reply
) -> None:
    client = make_client(server={"max_attempts": 1})
    upstream.script(reply)

    client.chat()

    assert health_of(client, "chat")[0] == "healthy"


@pytest.mark.parametrize("tail", [pytest.param((CUT,), id="reset"), pytest.param((), id="ended too early")])
def test_a_stream_that_breaks_off_is_a_failure(
    make_client: MakeClient, upstream: FakeUpstream, tail: tuple[Piece, ...]
) -> None:
    client = make_client(server={"max_attempts": 1})
    upstream.script(chat_stream("hello", tail=tail))

    said = client.chat(stream=True).text

    assert "hello" in said
    status, entry = health_of(client, "chat")
    assert status == "degraded"
    assert entry["last_failure"]["kind"] in ("internal", "unreachable")


def test_a_list_of_models_that_cannot_be_had_says_why(make_client: MakeClient, upstream: FakeUpstream) -> None:
    client = make_client(local={"kind": "openai", "base_url": "http://127.0.0.1:9/v1"})
    upstream.script(REFUSED, REFUSED)

    listed = client.http.get("/v1/models")

    assert listed.status_code == 200
    assert "was refused" in health_of(client, "chat")[1]["models_failure"]["message"]
    assert "127.0.0.1:9" in health_of(client, "local")[1]["models_failure"]["message"]


def test_what_is_known_outlives_a_reload_of_the_same_provider(make_client: MakeClient, upstream: FakeUpstream) -> None:
    client = make_client(server={"max_attempts": 1})
    upstream.script(REFUSED)
    client.chat()
    settings = client.app.runtime.services.settings

    client.app.runtime.reload(lambda: settings)

    assert health_of(client, "chat")[0] == "degraded"


def test_the_root_tells_the_status_that_health_does(make_client: MakeClient, upstream: FakeUpstream) -> None:
    client = make_client()

    def told() -> list[str]:
        return [client.http.get(path, headers={"accept": "*/*"}).json["status"] for path in ("/", "/health")]

    before = told()
    upstream.script(json_reply({"error": {"message": "invalid key"}}, 401))
    client.chat()

    assert (before, told()) == (["healthy"] * 2, ["degraded"] * 2)
