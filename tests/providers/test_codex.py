"""What a request to the Codex backend says of its session."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest

from app.providers.kinds.codex import CodexProvider
from tests.gateway.conftest import MakeClient, data_folder, make_client, upstream
from tests.support.fake_upstream import FakeUpstream, json_reply, sse

__all__ = ["data_folder", "make_client", "upstream"]  # the fixtures of this file

DONE = b'data: {"type":"response.completed","response":{"id":"r","status":"completed","output":[]}}\n\n'


def ask(make_client: MakeClient, upstream: FakeUpstream, path: str, *inputs: str, **headers: str) -> list[Any]:
    client = make_client(codex={"kind": "codex", "base_url": upstream.url, "access_token": "t"})
    upstream.script(*[sse(DONE)] * len(inputs))
    for text in inputs:
        body = {"model": "gpt-5.5", "input": text, "messages": [{"role": "user", "content": text}]}
        client.ask(path, body, **headers)
    return [seen for seen in upstream.seen if seen.method == "POST"]


WAYS = {
    "in the path": ("/api/codex/s-7/responses", {}),
    "in the path of a chat": ("/api/codex/s-7/chat/completions", {}),
    "in a header": ("/api/codex/v1/responses", {"session-id": "s-7"}),
    "in a header of another client": ("/api/codex/v1/chat/completions", {"x-session-id": "s-7"}),
}
HI = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(("path", "headers"), WAYS.values(), ids=WAYS)
def test_a_session_reaches_the_backend_as_header_and_cache_key(
    make_client: MakeClient, upstream: FakeUpstream, path: str, headers: dict[str, str]
) -> None:
    (seen,) = ask(make_client, upstream, path, "hello", **headers)

    assert seen.headers["session-id"] == "s-7"
    assert seen.json()["prompt_cache_key"] == "s-7"


@pytest.mark.parametrize("path", ["/api/codex/responses", "/api/codex/v1/chat/completions"])
def test_a_conversation_without_a_session_gets_one_of_its_own(
    make_client: MakeClient, upstream: FakeUpstream, path: str
) -> None:
    first, again, other = ask(make_client, upstream, path, "hello", "hello", "something else")

    keys = [seen.json()["prompt_cache_key"] for seen in (first, again, other)]
    assert keys[0] == keys[1] != keys[2]
    assert [seen.headers["session-id"] for seen in (first, again, other)] == keys


TROUBLES: dict[str, tuple[int, Any]] = {
    "ChatGPT Plus subscription required": (429, {"error": {"type": "usage_not_included", "message": "m"}}),
    "ChatGPT Plus subscription required, for this workspace": (403, {"detail": "m"}),
    "Session not found": (404, {"error": {"code": "previous_response_not_found", "message": "m"}}),
    "Model not available": (404, {"error": {"code": "model_not_found", "message": "m"}}),
    "Rate limit exceeded": (429, {"error": {"type": "usage_limit_reached", "message": "m", "resets_in_seconds": 90}}),
}


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("path", ["/api/codex/responses", "/api/codex/v1/chat/completions"])
def test_trouble_has_the_name_that_its_users_know_and_a_remedy(
    make_client: MakeClient, upstream: FakeUpstream, path: str, trouble: str
) -> None:
    """The troubleshooting texts of earlier gateways for this backend."""
    client = make_client(codex={"kind": "codex", "base_url": upstream.url, "access_token": "t"})
    status, body = TROUBLES[trouble]
    upstream.script(json_reply(body, status))

    response = client.ask(path, {"model": "gpt-5.5", "input": "hi", "messages": [{"role": "user", "content": "hi"}]})

    message = response.json["error"]["message"]
    name, _, rest = message.partition(": ")
    assert name == trouble.partition(",")[0]
    assert rest.startswith("m. ")
    assert len(rest) > len("m. ")


def test_a_session_that_is_missing_by_words_alone_is_no_missing_model(
    make_client: MakeClient, upstream: FakeUpstream
) -> None:
    client = make_client(codex={"kind": "codex", "base_url": upstream.url, "access_token": "t"})
    upstream.script(json_reply({"detail": "The session sess_1 was not found"}, 404))

    response = client.ask("/api/codex/responses", {"model": "gpt-5.5", "input": "hi"})

    assert response.json["error"]["message"].startswith("Session not found: ")


def test_a_model_that_a_login_may_not_use_has_that_name_too(make_client: MakeClient, upstream: FakeUpstream) -> None:
    client = make_client(codex={"kind": "codex", "base_url": upstream.url, "access_token": "t"})
    words = "The 'gpt-9' model is not supported when using Codex with a ChatGPT account."
    upstream.script(json_reply({"detail": words}, 400))

    response = client.ask("/api/codex/responses", {"model": "gpt-9", "input": "hi"})

    assert response.status_code == 400
    assert response.json["error"]["message"].startswith(f"Model not available: {words}")


def test_a_backend_that_cannot_be_reached_has_one_remedy(make_client: MakeClient) -> None:
    with FakeUpstream() as gone:
        url = gone.url
    client = make_client(codex={"kind": "codex", "base_url": url, "access_token": "t"})

    message = client.ask("/api/codex/responses", {"model": "gpt-5.5", "input": "hi"}).json["error"]["message"]

    assert "Failed to connect to ChatGPT backend: " in message
    assert message.endswith("Connection refused. Check the network, and [server] proxies if there is one.")


def test_codex_keeps_the_fields_that_it_reads_of_a_limit(make_client: MakeClient, upstream: FakeUpstream) -> None:
    client = make_client(codex={"kind": "codex", "base_url": upstream.url, "access_token": "t"})
    error = {"type": "usage_limit_reached", "message": "m", "plan_type": "plus", "resets_in_seconds": 90}
    upstream.script(json_reply({"error": error}, 429))

    response = client.ask("/api/codex/responses", {"model": "gpt-5.5", "input": "hi"})

    told = response.json["error"]
    assert told.pop("message").startswith("Rate limit exceeded: m. ")
    assert told == {"type": "usage_limit_reached", "plan_type": "plus", "resets_in_seconds": 90}


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions", "/v1/responses"])
@pytest.mark.parametrize(("seconds", "lasts"), [(None, True), (7200, True), (30, False)])
def test_agents_stop_at_a_usage_limit_and_show_when_it_resets(
    make_client: MakeClient, upstream: FakeUpstream, path: str, seconds: int | None, lasts: bool
) -> None:
    client = make_client(codex={"kind": "codex", "base_url": upstream.url, "access_token": "t"})
    reset = {} if seconds is None else {"resets_at": int(time.time()) + seconds}
    error = {"type": "usage_limit_reached", "message": "The usage limit has been reached", "plan_type": "plus"}
    upstream.script(json_reply({"error": error | reset}, 429))
    texts: dict[str, Any] = {"input": "hi"} if path == "/v1/responses" else {"messages": HI}
    limit = {"max_tokens": 9} if path == "/v1/messages" else {}

    answer = client.ask(path, {"model": "codex/gpt-5.5", **texts, **limit})

    is_money = path == "/v1/messages" and seconds is None
    assert answer.status_code == (402 if is_money else 429)
    assert (answer.headers.get("x-should-retry") == "false") is lasts
    if path == "/v1/messages":
        assert answer.json["error"]["type"] == ("billing_error" if is_money else "rate_limit_error")
    message = answer.json["error"]["message"]
    if seconds is None:
        assert "retry-after" not in answer.headers
        assert "resets at" not in message
    else:
        assert seconds - 5 <= int(answer.headers["retry-after"]) <= seconds
        shown = datetime.strptime(message.rpartition("resets at ")[2], "%Y-%m-%d %H:%M UTC.").replace(tzinfo=UTC)
        assert 0 <= shown.timestamp() - reset["resets_at"] <= 120


def test_a_backend_that_cannot_be_reached_is_called_so(make_client: MakeClient) -> None:
    client = make_client(codex={"kind": "codex", "base_url": "http://127.0.0.1:9", "access_token": "t"})

    response = client.ask("/api/codex/responses", {"model": "gpt-5.5", "input": "hi"})

    assert "Failed to connect to ChatGPT backend: cannot connect to 127.0.0.1:9" in response.json["error"]["message"]


@pytest.mark.parametrize("listed", [{"models": []}, {"object": "list", "data": []}, None])
def test_a_backend_that_lists_no_models_has_those_of_the_vendor(
    make_client: MakeClient, upstream: FakeUpstream, listed: Any
) -> None:
    client = make_client(codex={"kind": "codex", "base_url": upstream.url, "access_token": "t"})
    upstream.script(json_reply(listed) if listed is not None else json_reply({"detail": "m"}, 500))

    ids = [model["id"] for model in client.app.test_client().get("/api/codex/v1/models").json["data"]]

    assert set(ids) == set(CodexProvider.known_models)


def test_an_effort_is_sent_as_the_backend_lists_it(make_client: MakeClient, upstream: FakeUpstream) -> None:
    client = make_client(codex={"kind": "codex", "base_url": upstream.url, "access_token": "t"})
    levels = [{"effort": "low", "description": "d"}, {"effort": "high"}]
    listed = {
        "models": [{"slug": "gpt-6.1-sol", "supported_reasoning_levels": levels}, {"slug": "odd", "priority": []}]
    }
    upstream.script(json_reply(listed), sse(DONE))
    client.app.test_client().get("/api/codex/v1/models")

    client.ask("/api/codex/v1/chat/completions", {"model": "gpt-6.1-sol", "messages": HI, "reasoning_effort": "xhigh"})

    assert upstream.seen[-1].json()["reasoning"]["effort"] == "high"
