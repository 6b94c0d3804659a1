"""The endpoints beside generation, and what is refused before any upstream is asked."""

from __future__ import annotations

import pytest

from tests.gateway.conftest import Client, MakeClient
from tests.support.answers import chat_answer
from tests.support.fake_upstream import FakeUpstream, json_reply


def test_an_unknown_path_is_refused_in_the_dialect_it_looks_like(client: Client) -> None:
    anthropic = client.http.post("/v2/messages", headers={"anthropic-version": "2023-06-01"})
    openai = client.http.get("/v1/nothing")

    assert anthropic.status_code == openai.status_code == 404
    assert anthropic.get_json()["type"] == "error"
    assert "/v1/messages" in anthropic.get_json()["error"]["message"]
    assert set(openai.get_json()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("path", ["/", "/health", "/ping", "/api/hello"])
def test_somebody_is_at_home(client: Client, path: str) -> None:
    assert client.http.get(path).status_code == 200
    assert client.http.head(path).status_code == 200


def test_health_says_healthy_and_no_secret(client: Client) -> None:
    response = client.http.get("/health")

    assert response.get_json()["status"] == "healthy"
    assert "sk-upstream" not in response.text


def test_telemetry_is_thanked_for(client: Client) -> None:
    assert client.http.post("/api/event_logging/batch", json={}).status_code == 204


def test_a_websocket_upgrade_is_refused_so_that_codex_goes_on_at_once(client: Client) -> None:
    headers = {"upgrade": "websocket", "connection": "upgrade"}

    assert client.http.get("/v1/responses", headers=headers).status_code == 426


def test_the_wrong_method_is_said_to_be_wrong(client: Client) -> None:
    response = client.http.get("/v1/messages")

    assert response.status_code == 405
    assert response.allow == {"POST", "OPTIONS"}
    assert "GET" in response.get_json()["error"]["message"]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"{", "JSON"),
        (b"[]", "object"),
        (b'{"messages":[]}', "model"),
        (b'{"model":7,"messages":[]}', "model"),
        (b'{"model":"","messages":[]}', "model"),
        (b'{"model":"chat/m","stream":"yes","messages":[]}', "stream"),
    ],
)
def test_a_broken_body_is_refused_by_the_field(client: Client, body: bytes, named: str) -> None:
    for path in ("/v1/messages", "/v1/chat/completions", "/v1/responses"):
        response = client.ask(path, body)

        assert response.status_code == 400
        assert named in response.get_json()["error"]["message"]


def test_a_mount_chooses_the_provider(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply(chat_answer()))

    response = client.ask("/chat/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": "q"}]})

    assert response.status_code == 200
    assert upstream.seen[0].json()["model"] == "m"


def test_without_a_valid_key_nothing_is_served_but_signs_of_life(make_client: MakeClient) -> None:
    client = make_client(server={"api_keys": ("secret-key",)})

    assert client.message().status_code == 401
    assert client.http.get("/v1/models").status_code == 401
    assert client.http.get("/health").status_code == 200


def test_a_foreign_host_is_refused_everywhere(client: Client) -> None:
    for path in ("/", "/login", "/v1/models", "/health/x"):
        assert client.http.get(path, headers={"host": "evil.example"}).status_code == 403
    assert client.ask("/v1/messages", b"{}", host="evil.example").status_code == 403


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready", "/ping"])
def test_a_probe_is_answered_under_any_name_and_told_nothing(client: Client, path: str) -> None:
    answer = client.http.get(path, headers={"host": "10.1.2.3:8080"})

    assert answer.status_code == 200
    assert set(answer.get_json()) <= {"status", "service", "timestamp"}


def test_models_are_listed_for_both_families(make_client: MakeClient, upstream: FakeUpstream) -> None:
    upstream.script(json_reply({"object": "list", "data": [{"id": "m", "object": "model", "created": 5}]}))
    client = make_client()

    listed = client.http.get("/v1/models?limit=1000").get_json()

    names = [entry["id"] for entry in listed["data"]]
    assert "chat/m" in names
    assert (listed["object"], listed["has_more"], listed["first_id"]) == ("list", False, names[0])
    assert {entry["object"] for entry in listed["data"]} == {entry["type"] for entry in listed["data"]} == {"model"}
    one = client.http.get("/v1/models/chat/m").get_json()
    assert (one["id"], one["created"]) == ("chat/m", 5)


def test_an_unknown_model_is_not_found(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply({}, 404))

    response = client.http.get("/v1/models/nobody")

    assert response.status_code == 404
    assert response.get_json()["error"]["code"] == "model_not_found"


def test_tokens_are_estimated_where_the_upstream_cannot_count(client: Client, upstream: FakeUpstream) -> None:
    body = {"model": "chat/m", "messages": [{"role": "user", "content": "the quick brown fox " * 50}]}

    counted = client.ask("/v1/messages/count_tokens", body, anthropic_version="2023-06-01").get_json()

    assert 150 <= counted["input_tokens"] <= 300
    assert upstream.seen == []


def test_both_endpoints_that_count_estimate_alike(client: Client) -> None:
    words = "the quick brown fox " * 50
    messages = {"model": "chat/m", "messages": [{"role": "user", "content": words}]}
    responses = {"model": "chat/m", "input": words}

    counted = client.ask("/v1/messages/count_tokens", messages, anthropic_version="2023-06-01").get_json()

    assert client.ask("/v1/responses/input_tokens", responses).get_json()["input_tokens"] == counted["input_tokens"]


def test_an_estimate_knows_that_the_upstreams_model_makes_more_tokens(client: Client) -> None:
    plain, fine = (
        client.ask("/v1/responses/input_tokens", {"model": f"chat/{name}", "input": "the quick brown fox " * 50})
        for name in ("m", "claude-opus-4-8")
    )

    assert 1.4 < fine.get_json()["input_tokens"] / plain.get_json()["input_tokens"] < 1.6


def test_an_upstream_that_cannot_count_is_soon_asked_no_more(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply({"type": "error", "error": {"type": "not_found_error", "message": "no"}}, 404))
    body = {"model": "messages/m", "messages": [{"role": "user", "content": "hello " * 200}]}

    for _ in range(5):
        counted = client.ask("/v1/messages/count_tokens", body, anthropic_version="2023-06-01").get_json()
        assert 150 <= counted["input_tokens"] <= 300

    assert len(upstream.seen) == 3


def test_tokens_are_counted_by_an_upstream_that_can(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply({"input_tokens": 42}))
    body = {"model": "messages/m", "messages": [{"role": "user", "content": "hi"}]}

    counted = client.ask("/v1/messages/count_tokens?beta=true", body, anthropic_version="2023-06-01").get_json()

    assert counted == {"input_tokens": 42}
    assert upstream.seen[0].path == "/v1/messages/count_tokens"


def test_a_thread_is_refused_so_that_sdks_send_everything(client: Client) -> None:
    response = client.message(thread={"type": "create"})

    assert response.status_code == 400
    details = response.get_json()["error"]["details"]
    assert details == {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}


def test_half_a_surrogate_pair_in_a_prompt_is_repaired_not_refused(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply(chat_answer()))

    response = client.ask(
        "/v1/chat/completions", b'{"model":"chat/m","messages":[{"role":"user","content":"x\\ud83d"}]}'
    )

    assert response.status_code == 200
    assert upstream.seen[0].json()["messages"][0]["content"] == "x\ufffd"


def test_pages_elsewhere_may_send_and_read_nothing_unless_configured(
    make_client: MakeClient, upstream: FakeUpstream
) -> None:
    upstream.script(json_reply(chat_answer()))
    closed, opened = make_client(), make_client(server={"cors_origins": ("https://app.example",)})

    for client, origin, allowed in (
        (closed, "https://app.example", None),
        (opened, "https://evil.example", None),
        (opened, "https://app.example", "https://app.example"),
    ):
        headers = {"origin": origin, "access-control-request-method": "POST"}
        preflight = client.http.options("/v1/chat/completions", headers=headers)
        answer = client.ask(
            "/v1/chat/completions", {"model": "chat/m", "messages": [{"role": "user", "content": "q"}]}, origin=origin
        )

        assert preflight.headers.get("access-control-allow-origin") == allowed
        assert answer.headers.get("access-control-allow-origin") == allowed
        assert answer.status_code == (200 if allowed else 403)
