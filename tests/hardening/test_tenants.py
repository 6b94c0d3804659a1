"""Clients with different keys never meet: ids, facts, pauses, room."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import Client, TestResponse

from app import create_app
from app.credentials.credential import Credential
from app.gateway.endpoints.explanation import list_learned
from app.gateway.messages import new_id
from app.gateway.responses_api.background import MAX_JOBS_PER_TENANT
from app.providers.provider import Provider
from app.settings import LedgerSettings, ModelsSettings, ProviderSettings, RouteSettings, ServerSettings, Settings
from app.settings.tables import CredentialSettings
from app.transport import Transport, TransportSettings
from tests.hardening.gateway import ANSWER
from tests.support.fake_upstream import CLOSE, CUT, FakeUpstream, json_reply, raw

Figure = Callable[[str, object, object], None]

ANNA, BERT, CARL = "sk-anna-0123456789", "sk-bert-0123456789", "sk-carl-0123456789"


@pytest.fixture
def client(upstream: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    providers = {
        name: ProviderSettings(kind="openai", base_url=f"{upstream.url}/v1", api_key="sk-upstream-1", models=("m",))
        for name in ("up", "other")
    }
    settings = Settings(
        server=ServerSettings(api_keys=(ANNA, BERT, CARL), max_attempts=1),
        providers=providers,
        models=ModelsSettings(),
        ledger=LedgerSettings(url=f"sqlite:///{tmp_path}/ledger.sqlite3"),
    )
    client = Client(create_app(settings))
    yield client
    close(client)


def close(client: Client) -> None:
    client.application.runtime.services.transport.close()


def ask(
    client: Client, key: str, path: str = "/v1/chat/completions", method: str = "POST", **body: Any
) -> TestResponse:
    default = {"model": "up/m", "messages": [{"role": "user", "content": "hi"}]}
    sent = (default if "chat" in path else {}) | body
    return client.open(path, method=method, json=sent or None, headers={"x-api-key": key})


QUOTING = [
    "tool '{}' is no good name",
    "Unsupported tool name: '{}'",
    "I do not understand: {}",
    "messages.0.content: {} is not permitted",
    "unknown tool {}",
    "property {} of metadata is not allowed",
]
TEXTS = ["Unsupported temperature", "unsupported value: temperature", "unknown parameter: metadata",
         "store is not supported", "stream_options", "'max_tokens' is not supported"]  # fmt: skip


def test_what_one_client_makes_an_upstream_say_changes_no_request_of_another(
    client: Client, upstream: FakeUpstream, figure: Figure
) -> None:
    fields = {"temperature": 0.3, "metadata": {"a": "b"}, "store": True, "max_tokens": 7}
    crossed = []

    for quoting in QUOTING:
        for text in TEXTS:
            error = {"error": {"message": quoting.format(text), "type": "invalid_request_error"}}
            for _ in range(4):
                upstream.script(json_reply(error, 400))
                tool = {"type": "function", "function": {"name": text, "parameters": {"type": "object"}}}
                ask(client, ANNA, tools=[tool], **fields)
            upstream.script(json_reply(ANSWER))
            ask(client, BERT, **fields)
            seen = json.loads(upstream.seen[-1].body)
            if missing := [name for name, value in fields.items() if seen.get(name) != value]:
                crossed.append((quoting, text, missing, sorted(seen)))

    assert crossed == []
    figure("quoted client texts tried / learned by others", f"{len(QUOTING) * len(TEXTS)} / 0", "0 learned")


def test_what_an_upstream_says_of_a_field_is_learned_by_who_asked_and_then_by_all(
    client: Client, upstream: FakeUpstream
) -> None:
    error = {"error": {"message": "Unrecognized request argument supplied: metadata", "param": "metadata"}}

    def teach(key: str) -> None:
        for _ in range(3):
            upstream.script(json_reply(error, 400), json_reply(ANSWER))
            assert ask(client, key, metadata={"a": "b"}).status_code == 200

    def sends(key: str) -> bool:
        upstream.script(json_reply(ANSWER))
        ask(client, key, metadata={"a": "b"})
        return "metadata" in json.loads(upstream.seen[-1].body)

    teach(ANNA)
    assert (sends(ANNA), sends(BERT)) == (False, True)
    teach(BERT)
    assert not sends(CARL)


def test_a_pause_that_one_client_was_told_is_not_the_others(client: Client, upstream: FakeUpstream) -> None:
    facts = client.application.runtime.services.gateway.facts
    upstream.script(json_reply({"error": {"message": "slow down"}}, 429, {"retry-after": "600"}))

    assert ask(client, ANNA).status_code == 429

    names = {(fact.name, fact.tenant is not None) for fact in facts.known()}
    assert names == {("cool_down", True)}


@pytest.fixture
def fallback() -> Iterator[FakeUpstream]:
    with FakeUpstream(json_reply(ANSWER)) as fake:
        yield fake


PAUSE = {"retry-after": "86400"}
# What an upstream may do because of one client's request: too large, too long, or the death of it.
OK = b"HTTP/1.1 200 OK\r\ncontent-length: "
BOOM = {"error": {"message": "boom", "code": 500}}
CAUSED = {
    "a cut before the head": raw(CUT),
    "an end before the head": raw(CLOSE),
    "an end within the head": raw(b"HTTP/1.1 2", CLOSE),
    "a cut of the body": raw(OK + b"99\r\n\r\n{", CUT),
    "no HTTP": raw(b"nothing\r\n\r\n", CLOSE),
    "no JSON": raw(OK + b"1\r\n\r\n{"),
    "an empty body": raw(OK + b"0\r\n\r\n"),
    "no answer": json_reply({}),
    "an error of 200": json_reply(BOOM),
    **{f"{status}": json_reply(BOOM, status) for status in (400, 404, 413, 422, 500, 502, 504, 529)},
    **{f"{status} with a pause": json_reply(BOOM, status, PAUSE) for status in (429, 503, 529)},
}


@pytest.mark.parametrize("name", CAUSED)
def test_what_one_clients_requests_make_an_upstream_do_sends_no_other_elsewhere(
    name: str, upstream: FakeUpstream, fallback: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    tables = {
        label: ProviderSettings(kind="openai", base_url=f"{fake.url}/v1", api_key="sk-upstream-1")
        for label, fake in (("up", upstream), ("other", fallback))
    }
    client = Client(
        create_app(
            Settings(
                server=ServerSettings(api_keys=(ANNA, BERT), max_attempts=1),
                providers=tables,
                models=ModelsSettings(routes={"best": RouteSettings(targets=("up/m", "other/m"))}),
            )
        )
    )
    upstream.script(CAUSED[name])
    for number in range(8):
        ask(client, ANNA, messages=[{"role": "user", "content": f"boom {number}"}])
    upstream.script(json_reply(ANSWER))

    answer = ask(client, BERT, model="best")

    close(client)
    assert (answer.status_code, answer.headers["x-dragoman-upstream"]) == (200, "up/m")


LIMIT_WORDS = {"error": {"message": "slow down"}}
REVOKED = {"error": {"message": "revoked", "type": "invalid_api_key"}}
SPENT = {"error": {"message": "no credit", "code": "insufficient_quota"}}
# What a client's text may make an upstream, or a filter before it, say; and what only an account's state says.
OF_A_REQUEST = {
    "a limit": (429, LIMIT_WORDS, PAUSE),
    "a limit with something left": (429, LIMIT_WORDS, PAUSE | {"x-ratelimit-remaining-tokens": "7"}),
    "a limit whose headers quote": (429, LIMIT_WORDS, PAUSE | {"x-request-id": "x-ratelimit-remaining-tokens: 0"}),
    "a window that is not used up": (429, LIMIT_WORDS, PAUSE | {
        "anthropic-ratelimit-unified-status": "rejected", "anthropic-ratelimit-unified-5h-utilization": "0.99",
    }),
    "a quota": (429, SPENT, {}),
    "a key": (401, REVOKED, {}),
    "a bill": (402, SPENT, {}),
    "overload": (529, LIMIT_WORDS, PAUSE),
}  # fmt: skip
OF_THE_ACCOUNT = {
    "no requests left": {"x-ratelimit-remaining-requests": "0"},
    "no tokens left": {"anthropic-ratelimit-tokens-remaining": "0"},
    "a window that is used up": {
        "anthropic-ratelimit-unified-status": "rejected", "anthropic-ratelimit-unified-5h-utilization": "1.0",
        "anthropic-ratelimit-unified-5h-reset": "4000000000",
    },
}  # fmt: skip


@pytest.fixture
def pooled(upstream: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    accounts = (
        CredentialSettings(name="one", api_key="sk-account-1", priority=1),
        CredentialSettings(name="two", api_key="sk-account-2"),
    )
    provider = ProviderSettings(kind="openai", base_url=f"{upstream.url}/v1", credentials=accounts)
    server = ServerSettings(api_keys=(ANNA, BERT, CARL), max_attempts=2)
    client = Client(create_app(Settings(server=server, providers={"up": provider})))
    yield client
    close(client)


def used(client: Client, upstream: FakeUpstream, key: str) -> str:
    """The account that a request of this key is answered with."""
    upstream.script(json_reply(ANSWER))
    assert ask(client, key).status_code == 200
    return upstream.seen[-1].headers["authorization"].removeprefix("Bearer sk-account-")


@pytest.mark.parametrize("name", OF_A_REQUEST)
def test_a_refusal_that_one_client_drew_takes_no_account_from_another(
    name: str, pooled: Client, upstream: FakeUpstream
) -> None:
    status, body, headers = OF_A_REQUEST[name]

    upstream.script(json_reply(body, status, headers), json_reply(ANSWER))
    assert ask(pooled, ANNA).status_code == 200
    assert (used(pooled, upstream, ANNA), used(pooled, upstream, BERT)) == ("2", "1")

    upstream.script(json_reply(body, status, headers), json_reply(ANSWER))
    assert ask(pooled, BERT).status_code == 200
    assert used(pooled, upstream, CARL) == "2", "tenants apart have met it"


@pytest.mark.parametrize("name", OF_THE_ACCOUNT)
def test_an_account_with_nothing_left_rests_for_all(name: str, pooled: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply(LIMIT_WORDS, 429, PAUSE | OF_THE_ACCOUNT[name]), json_reply(ANSWER))

    assert ask(pooled, ANNA).status_code == 200

    assert used(pooled, upstream, BERT) == "2"


class Renewing:
    """A source that counts renewals; none gives another secret."""

    def __init__(self) -> None:
        self.renewals = 0

    def snapshot(self) -> Credential:
        return Credential(access_token="token-0123456789")

    def refresh(self, failed: Credential) -> Credential:
        self.renewals += 1
        return self.snapshot()

    def poll(self) -> None: ...


def test_a_403_that_one_client_drew_keeps_no_other_from_a_renewal() -> None:
    source = Renewing()
    provider = Provider("up", ProviderSettings(kind="openai"), source, Transport(TransportSettings()))  # type: ignore[arg-type]
    failed = provider.credential()
    counts = []

    for tenant in ("anna", "anna", "anna", "bert", "bert", "carl", "dora"):
        provider.renew(failed, tenant, forbidden=True)
        counts.append(source.renewals)

    provider.transport.close()
    assert counts == [1, 1, 1, 2, 2, 2, 2], "a token is spent for two tenants an hour at most"


def test_no_id_can_be_guessed_and_none_opens_anything_for_another(client: Client, figure: Figure) -> None:
    ids = [new_id() for _ in range(1000)]
    assert all(len(each) == 32 for each in ids)
    digits = list(zip(*ids, strict=True))
    assert max(len(set(column)) for column in digits) == 16
    assert min(len(set(column)) for column in digits[8:]) == 16  # behind the time, no digit that stays
    assert len({each[8:] for each in ids}) == len(ids)

    made = ask(client, ANNA, "/v1/responses", model="up/m", input="my secret plan").get_json()["id"]
    talk = ask(client, ANNA, "/v1/conversations", items=[{"type": "message", "role": "user", "content": "x"}])
    place = talk.get_json()["id"]
    tried = [
        ("GET", f"/v1/responses/{made}"), ("GET", f"/v1/responses/{made}/input_items"),
        ("DELETE", f"/v1/responses/{made}"), ("POST", f"/v1/responses/{made}/cancel"),
        ("GET", f"/v1/conversations/{place}"), ("GET", f"/v1/conversations/{place}/items"),
        ("DELETE", f"/v1/conversations/{place}"), ("POST", f"/v1/conversations/{place}/items"),
    ]  # fmt: skip
    for method, path in tried:
        more = {"items": []} if path.endswith("items") and method == "POST" else {}
        assert ask(client, BERT, path, method, **more).status_code in (400, 404), path
    continued = ask(client, BERT, "/v1/responses", model="up/m", input="go on", previous_response_id=made)
    assert continued.status_code in (400, 404)
    joined = ask(client, BERT, "/v1/responses", model="up/m", input="go on", conversation=place)
    assert joined.status_code in (400, 404)

    assert ask(client, ANNA, f"/v1/responses/{made}", "GET").status_code == 200
    figure("tenant crossings tried / succeeded", f"{len(tried) + 2} / 0", "0 succeeded")


def test_jobs_in_the_background_of_one_client_leave_room_for_others(client: Client, upstream: FakeUpstream) -> None:
    services = client.application.runtime.services
    mark = services.access.check_key({"x-api-key": ANNA}).tenant
    services.background._jobs.update({(mark, f"resp_{number}"): None for number in range(MAX_JOBS_PER_TENANT)})  # type: ignore[misc]

    refused = ask(client, ANNA, "/v1/responses", model="up/m", input="hi", background=True)
    taken = ask(client, BERT, "/v1/responses", model="up/m", input="hi", background=True)

    assert (refused.status_code, taken.status_code) == (429, 200)


ACCOUNT_HEADERS = {
    "openai-organization": "org-theirs", "openai-project": "proj-theirs", "idempotency-key": "same-for-two",
    "anthropic-organization-id": "theirs", "anthropic-workspace": "theirs", "x-stainless-lang": "py",
    "cookie": "session=1", "x-forwarded-for": "1.2.3.4", "forwarded": "for=1.2.3.4", "x-real-ip": "1.2.3.4",
    "x-forwarded-host": "evil", "proxy-authorization": "Basic eA==", "via": "1.1 x", "te": "trailers",
}  # fmt: skip


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_headers_of_a_clients_account_do_not_go_up_under_our_key(
    kind: str, upstream: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    provider = ProviderSettings(kind=kind, base_url=upstream.url, api_key="sk-upstream-1")
    client = Client(create_app(Settings(providers={"up": provider})))
    path = "/v1/messages" if kind == "anthropic" else "/v1/chat/completions"
    body = {"model": "up/m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}

    client.post(path, json=body, headers=ACCOUNT_HEADERS)

    close(client)
    sent = {name.lower() for name in upstream.seen[-1].headers}
    assert sent & ACCOUNT_HEADERS.keys() == set()


@pytest.mark.parametrize(("auth", "shown"), [(None, False), ("configured", False), ("passthrough", True)])
def test_a_clients_own_login_goes_to_another_host_only_if_the_table_says_so(
    auth: Any, shown: bool, upstream: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    provider = ProviderSettings(kind="anthropic", base_url=upstream.url, auth=auth)
    client = Client(create_app(Settings(providers={"up": provider})))
    body = {"model": "up/m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}

    client.post("/v1/messages", json=body, headers={"authorization": "Bearer sk-ant-oat-of-the-client"})

    close(client)
    told = [seen for seen in upstream.seen if "sk-ant-oat-of-the-client" in str(seen.headers)]
    assert bool(told) == shown


def test_what_was_learned_shows_in_the_health_and_in_explain(client: Client) -> None:
    facts = client.application.runtime.services.gateway.facts
    for _ in range(3):
        facts.report("up/m", "0123456789abcdef", "metadata")

    learned = client.get("/health", headers={"x-api-key": BERT}).get_json()["providers"]["up"]["learned"]

    assert [(each["model"], each["fact"], each["tenant"]) for each in learned] == [("m", "metadata", "01234567")]
    assert list(list_learned({"learned": learned}, "m")) == ["metadata, for the client 01234567…, forgotten in 59 min"]
    assert "learned" not in client.get("/health").get_json()["providers"]["up"]


def test_a_limit_of_thousands_of_digits_is_no_fault_of_the_gateway(client: Client) -> None:
    place = ask(client, ANNA, "/v1/conversations", items=[{"role": "user", "content": "q"}]).get_json()["id"]

    models = ask(client, ANNA, f"/v1/models?limit={'9' * 5000}", "GET")
    items = ask(client, ANNA, f"/v1/conversations/{place}/items?limit={'9' * 5000}", "GET")

    assert (models.status_code, items.status_code) == (200, 400)
