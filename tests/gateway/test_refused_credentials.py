"""What a client hears when the gateway has no credential for an upstream, or the upstream refuses it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.credentials.issuer import Issuer
from tests.credentials.logins import LoginFile
from tests.gateway.conftest import Client, MakeClient
from tests.support.answers import chat_stream
from tests.support.fake_upstream import FakeUpstream, json_reply

REFUSED = json_reply({"error": {"message": "token is no good", "type": "auth_error"}}, 401)
FORBIDDEN = json_reply({"error": {"message": "no entitlement", "type": "key_model_access_denied"}}, 403)

NO_MODELS = json_reply({"data": []})

ASK = {
    "/v1/messages": {"max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "hi"}]},
    "/v1/responses": {"input": "hi"},
}


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    issuer = Issuer("oca")
    yield issuer
    issuer.stop()


@pytest.fixture
def login(tmp_path: Path, issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> LoginFile:
    """A login that is valid for hours, as far as this side can know."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr("app.credentials.stores.stored_login._WRITE_TIMEOUT", 0.2)
    return LoginFile("oca", tmp_path, issuer, left=7200)


@pytest.fixture
def oca(make_client: MakeClient, login: LoginFile, upstream: FakeUpstream, issuer: Issuer) -> Client:
    return make_client(
        oca={"kind": "oca", "base_url": upstream.url, "token_file": str(login.path), "idcs_url": issuer.url}
    )


def chats(upstream: FakeUpstream) -> list[str]:
    """The Authorization of each request for an answer."""
    return [seen.headers["authorization"] for seen in upstream.seen if seen.path.endswith("/chat/completions")]


def message_of(client: Client, status: int) -> str:
    response = client.chat("oca/m")
    assert response.status_code == status, response.text
    return str(response.get_json()["error"]["message"])


@pytest.mark.parametrize("path", ASK)
def test_without_any_credential_each_dialect_says_401_and_the_remedy(
    oca: Client, login: LoginFile, upstream: FakeUpstream, path: str
) -> None:
    login.path.unlink()

    response = oca.ask(path, {"model": "oca/m", **ASK[path]})

    error = response.get_json()["error"]
    assert response.status_code == 401
    assert "Run `dragoman login oca`" in error["message"]
    assert "Please visit http://localhost/login to authenticate with OCA." in error["message"]
    assert str(login.path) in error["message"]
    assert response.headers["x-gateway-error"] == "authentication"
    assert chats(upstream) == []


def test_a_refused_token_is_renewed_once_and_the_request_sent_again(
    oca: Client, issuer: Issuer, upstream: FakeUpstream
) -> None:
    upstream.script(NO_MODELS, REFUSED, chat_stream("hello"))

    response = oca.chat("oca/m")

    assert response.status_code == 200
    assert issuer.uses == ["refresh-secret-0"]
    assert chats(upstream)[1] in {f"Bearer {token}" for token in issuer.live}


def test_a_token_that_another_program_has_renewed_is_used_without_renewing(
    oca: Client, login: LoginFile, issuer: Issuer, upstream: FakeUpstream
) -> None:
    upstream.script(NO_MODELS, chat_stream("one"), REFUSED, chat_stream("two"))
    oca.chat("oca/m")
    access, refresh = issuer.grant()
    login.write(access, refresh)

    response = oca.chat("oca/m")

    assert response.status_code == 200
    assert issuer.uses == []
    assert chats(upstream)[2] == f"Bearer {access}"


def test_an_upstream_that_refuses_the_renewed_token_too_is_named_with_the_remedy(
    oca: Client, issuer: Issuer, upstream: FakeUpstream
) -> None:
    upstream.script(REFUSED)

    first, second = message_of(oca, 502), message_of(oca, 502)

    assert "Oracle error: 401: token is no good. Run `dragoman login oca`" in first
    assert "Oracle error: 401: token is no good. The credential from" in second
    # The token is fresh; another one would fare no better.
    assert issuer.uses == ["refresh-secret-0"]


def test_a_login_that_has_ended_is_said_to_have(oca: Client, issuer: Issuer, upstream: FakeUpstream) -> None:
    upstream.script(REFUSED)
    issuer.newest = "another"

    said = message_of(oca, 502)

    assert "Refresh token expired. Please visit /login to re-authenticate." in said
    assert "Run `dragoman login oca`" in said
    assert "refresh-secret" not in said


@pytest.mark.parametrize("path", ASK)
def test_an_issuer_in_trouble_is_no_reason_to_log_in_again(
    oca: Client, issuer: Issuer, upstream: FakeUpstream, path: str
) -> None:
    upstream.script(REFUSED)
    issuer.hook = lambda _token: (503, {}, {})

    response = oca.ask(path, {"model": "oca/m", **ASK[path]})

    said = response.get_json()["error"]["message"]
    assert response.status_code == 503
    assert said.startswith("Oracle error: 401: token is no good. The token endpoint at 127.0.0.1 answered HTTP 503.")
    assert "Token refresh failed. The login in" in said
    assert "could not be renewed; the next attempt is in" in said
    assert "dragoman login" not in said


@pytest.mark.parametrize("stopped", [False, True], ids=["issuer answers", "issuer out of reach"])
@pytest.mark.parametrize("path", ASK)
def test_a_403_is_told_with_its_status_whatever_the_issuer_says(
    oca: Client, issuer: Issuer, upstream: FakeUpstream, path: str, stopped: bool
) -> None:
    upstream.script(FORBIDDEN)
    if stopped:
        issuer.hook = lambda _token: (503, {}, {})

    response = oca.ask(path, {"model": "oca/m", **ASK[path]})

    assert response.status_code == 403
    assert "Oracle error: 403: no entitlement" in response.get_json()["error"]["message"]


def test_a_policy_spends_no_rotating_token_for_each_request(
    oca: Client, issuer: Issuer, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if each request came long after the one before.
    monkeypatch.setattr("app.credentials.login_source._NEW", -1.0)
    upstream.script(FORBIDDEN)

    said = [message_of(oca, 403) for _ in range(3)]

    assert all("no entitlement" in each for each in said)
    assert issuer.uses == ["refresh-secret-0"]


def test_a_key_of_the_settings_that_is_refused_names_what_to_change(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(REFUSED)

    message = client.chat().get_json()["error"]["message"]

    assert message.startswith("upstream chat rejected its credentials: token is no good. The API key in")
    assert "providers.chat.api_key was refused" in message


def test_of_two_own_credentials_of_the_client_one_goes_upstream(
    make_client: MakeClient, upstream: FakeUpstream
) -> None:
    client = make_client(messages={"api_key": None, "auth": "passthrough"})

    client.ask("/v1/messages", ASK["/v1/messages"] | {"model": "messages/m"}, x_api_key="k", authorization="Bearer t")

    headers = upstream.seen[-1].headers
    assert (headers.get("x-api-key"), headers.get("authorization")) == ("k", None)


def test_the_refusal_of_the_clients_own_key_is_the_clients(make_client: MakeClient, upstream: FakeUpstream) -> None:
    client = make_client(messages={"auth": "passthrough", "api_key": None})
    refusal = {"type": "error", "error": {"type": "authentication_error", "message": "invalid x-api-key"}}
    upstream.script(json_reply(refusal, 401))

    response = client.ask("/v1/messages", {"model": "messages/m", **ASK["/v1/messages"]}, x_api_key="sk-mine")

    assert response.status_code == 401
    assert response.get_json()["error"]["type"] == "authentication_error"


@pytest.mark.parametrize("dialect", ["openai_chat", "openai_responses", "anthropic_messages"])
@pytest.mark.parametrize("path", ASK)
def test_the_refusal_of_the_clients_own_key_is_a_401_for_every_pair_of_dialects(
    make_client: MakeClient, upstream: FakeUpstream, path: str, dialect: str
) -> None:
    kind = "anthropic" if dialect == "anthropic_messages" else "openai"
    own = {"kind": kind, "dialect": dialect, "base_url": upstream.url, "auth": "passthrough"}
    client = make_client(own=own)
    upstream.script(json_reply({"error": {"type": "authentication_error", "message": "no such key"}}, 401))

    response = client.ask(path, {"model": "own/m", **ASK[path]}, authorization="Bearer sk-mine")

    assert upstream.seen[-1].headers["authorization"] == "Bearer sk-mine"
    assert response.status_code == 401, response.text
    assert "no such key" in response.text
    assert response.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("path", ASK)
def test_what_no_retry_mends_says_so(make_client: MakeClient, upstream: FakeUpstream, path: str) -> None:
    client = make_client(server={"api_keys": ["sk-client"]}, empty={"kind": "oca", "base_url": upstream.url})
    unknown = json_reply({"error": {"type": "not_found_error", "message": "no model m"}}, 404)
    upstream.script(REFUSED, unknown)
    ask = ASK[path]

    answers = {
        "wrong client key": client.ask(path, {"model": "chat/m", **ask}, authorization="Bearer sk-other"),
        "refused upstream key": client.ask(path, {"model": "chat/m", **ask}, authorization="Bearer sk-client"),
        "unknown upstream model": client.ask(path, {"model": "chat/m", **ask}, authorization="Bearer sk-client"),
        "missing upstream login": client.ask(path, {"model": "empty/m", **ask}, authorization="Bearer sk-client"),
    }

    assert {name: answer.status_code for name, answer in answers.items()} == {
        "wrong client key": 401,
        "refused upstream key": 502,
        "unknown upstream model": 404,
        "missing upstream login": 401,
    }
    assert {answer.headers.get("x-should-retry") for answer in answers.values()} == {"false"}


def test_codex_stops_at_what_no_retry_mends(make_client: MakeClient, upstream: FakeUpstream) -> None:
    client = make_client(server={"api_keys": ["sk-client"]}, empty={"kind": "oca", "base_url": upstream.url})
    upstream.script(REFUSED, FORBIDDEN, REFUSED)

    def ask(model: str, key: str = "sk-client", agent: str = "codex_exec/0.169.0 (Debian)") -> tuple[int, str]:
        body = {"model": model, **ASK["/v1/responses"]}
        answer = client.ask("/v1/responses", body, authorization=f"Bearer {key}", user_agent=agent)
        return answer.status_code, answer.get_json()["error"]["message"]

    told = [ask("chat/m", "sk-other"), ask("empty/m"), ask("chat/m"), ask("chat/m")]

    assert [status for status, _ in told] == [400] * 4
    remedies = ("the client key is wrong", "dragoman login", "put a valid one there", "no entitlement")
    assert all(remedy in message for remedy, (_, message) in zip(remedies, told, strict=True)), told
    assert ask("chat/m", agent="OpenAI/Python 3.52")[0] == 502


def test_codex_may_renew_its_own_refused_credentials(make_client: MakeClient, upstream: FakeUpstream) -> None:
    client = make_client(own={"kind": "openai", "base_url": upstream.url, "auth": "passthrough"})
    upstream.script(REFUSED)
    headers = {"authorization": "Bearer sk-mine", "user_agent": "codex_cli_rs/0.169.0"}

    response = client.ask("/v1/responses", {"model": "own/m", **ASK["/v1/responses"]}, **headers)

    assert response.status_code == 401


def test_what_may_pass_says_nothing_of_retries(make_client: MakeClient, upstream: FakeUpstream) -> None:
    client = make_client(server={"max_attempts": 1})
    upstream.script(json_reply({"error": {"message": "busy"}}, 503))

    response = client.chat()

    assert response.status_code == 503
    assert "x-should-retry" not in response.headers


@pytest.mark.parametrize("path", ASK)
def test_with_an_issuer_out_of_reach_each_dialect_says_503_and_when_to_come_back(
    make_client: MakeClient, upstream: FakeUpstream, tmp_path: Path, path: str
) -> None:
    settings = {"kind": "anthropic", "base_url": upstream.url, "credentials_file": str(tmp_path / "c.json")}
    (tmp_path / "c.json").write_text(
        json.dumps({"claudeAiOauth": {"accessToken": "old", "refreshToken": "r", "expiresAt": 1000}})
    )
    client = make_client(claude=settings | {"oauth_token_url": "http://127.0.0.1:9/token"})

    response = client.ask(path, {"model": "claude/claude-sonnet-4-6", **ASK[path]})

    assert response.status_code == 503, response.text
    assert "127.0.0.1" in response.get_json()["error"]["message"]
    assert "login" not in response.get_json()["error"]["message"].replace("The login in", "").lower()
    assert 1 <= int(response.headers["retry-after"]) <= 5
    assert "x-should-retry" not in response.headers


LOGIN_WORDS = ("invalid X-Api-Key", "OAuth token has been revoked: sign in", "Missing header x-api-key.")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500])
@pytest.mark.parametrize("provider", ["chat", "messages"])
@pytest.mark.parametrize("words", LOGIN_WORDS)
def test_no_trouble_of_the_operator_has_the_words_at_which_claude_code_asks_for_a_login(
    make_client: MakeClient, upstream: FakeUpstream, status: int, provider: str, words: str
) -> None:
    client = make_client(server={"max_attempts": 1})
    error = {"type": "authentication_error", "message": words, "code": "x-api-key"}
    upstream.script(json_reply({"type": "error", "error": error}, status))

    said = client.message(f"{provider}/m").text.lower()

    assert "x-api-key" not in said
    assert "oauth token has been revoked" not in said
    assert "api key" in said or "revoked" in said


def test_a_wrong_client_key_is_said_without_those_words_too(make_client: MakeClient) -> None:
    client = make_client(server={"api_keys": ["sk-client"]})

    response = client.ask("/v1/messages", ASK["/v1/messages"] | {"model": "chat/m"}, x_api_key="sk-wrong")

    assert response.status_code == 401
    assert "x-api-key" not in response.text.lower()
    assert "server.api_keys" in response.text


def test_a_codex_login_that_is_missing_or_dead_is_told_as_its_users_know_it(
    make_client: MakeClient, upstream: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    issuer = Issuer("codex")
    path = tmp_path / "auth.json"
    table = {"kind": "codex", "base_url": upstream.url, "credentials_file": str(path)}
    client = make_client(codex=table | {"oauth_token_url": f"{issuer.url}/oauth/token"})
    ask = {"model": "codex/m", **ASK["/v1/responses"]}

    missing = client.ask("/v1/responses", ask)
    LoginFile("codex", tmp_path, issuer, left=-60)
    issuer.newest = "another"
    dead = client.ask("/v1/responses", ask)
    issuer.stop()

    assert (missing.status_code, dead.status_code) == (401, 401)
    assert "No valid OpenAI credentials found." in missing.text
    assert "Token refresh failed." in dead.text
    assert "dragoman login codex" in missing.text
    assert "dragoman login codex" in dead.text


def test_a_codex_login_whose_issuer_is_out_of_reach_is_told_as_its_users_know_it(
    make_client: MakeClient, upstream: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    issuer = Issuer("codex")
    login = LoginFile("codex", tmp_path, issuer, left=-60)
    table = {"kind": "codex", "base_url": upstream.url, "credentials_file": str(login.path)}
    client = make_client(codex=table | {"oauth_token_url": f"{issuer.url}/oauth/token"})
    issuer.stop()

    response = client.ask("/v1/responses", {"model": "codex/m", **ASK["/v1/responses"]})

    assert response.status_code == 503
    assert "cannot be reached" in response.text
    assert "Token refresh failed." in response.text
    assert "dragoman login" not in response.text
