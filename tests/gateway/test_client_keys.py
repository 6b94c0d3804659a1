"""Keys with names: what each may ask for, until when, and what the others see of it."""

from __future__ import annotations

import datetime
import hashlib
import threading
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from app import create_app
from app.errors import Unauthorized, UpstreamUnreachable
from app.gateway.client_access.access import Access
from app.gateway.client_access.client_keys import ClientKey
from app.headers import HeaderFields
from app.settings import KeySettings, ModelsSettings, ProviderSettings, RouteSettings, ServerSettings, Settings
from app.settings.checks.keys import hash_key
from tests.gateway.conftest import Client
from tests.support.answers import chat_answer, chat_stream
from tests.support.fake_upstream import FakeUpstream, json_reply

CI, ANNA, OLD = "dm-ci-0123456789", "dm-anna-0123456789", "dm-old-0123456789"
YESTERDAY = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


@pytest.fixture
def client(upstream: FakeUpstream) -> Iterator[Client]:
    upstream.script(json_reply(chat_answer()))
    provider = ProviderSettings(kind="openai", base_url=f"{upstream.url}/v1", api_key="sk-up", models=("m", "big"))
    settings = Settings(
        server=ServerSettings(api_keys=("dm-plain-0123456789",)),
        providers={"one": provider, "two": provider},
        models=ModelsSettings(routes={"fast": RouteSettings(targets=("two/m", "one/m"))}),
        keys={
            "ci": KeySettings(key=CI, models=("one/m", "fast"), providers=("one",)),
            "anna": KeySettings(key="sha256:" + hashlib.sha256(ANNA.encode()).hexdigest(), role="admin"),
            "old": KeySettings(key=OLD, expires=YESTERDAY),
        },
    )
    made = Client(create_app(settings))
    yield made
    made.app.runtime.services.transport.close()


def ask(client: Client, key: str, model: str, path: str = "/v1/chat/completions", **more: Any) -> Any:
    body = {"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], **more}
    return client.ask(path, body, x_api_key=key)


def test_a_key_uses_its_models_at_its_providers(client: Client, upstream: FakeUpstream) -> None:
    assert ask(client, CI, "one/m").status_code == 200


def test_targets_of_other_providers_are_left_out_of_a_route(client: Client) -> None:
    answer = ask(client, CI, "fast")

    assert answer.status_code == 200
    assert client.app.runtime.services.providers["two"].health.last_success is None


@pytest.mark.parametrize(
    ("patterns", "asked", "status"),
    [
        (("*mini*",), "some-mini-or-other", 404),
        (("claude-*",), "claude-via/one/big", 404),
        (("claude-*",), "claude-via/big", 404),
        (("one/m",), "claude-via/one/m", 200),
        (("one/m",), "one/m[1m]", 200),
        (("big",), "some-mini-or-other", 200),
        (("claude-*",), "claude-haiku-4-5", 200),
        (("fast*",), "fast", 200),
        (("anthropic/*",), "anthropic/big", 404),
        (("anthropic*",), "us.anthropic.big", 404),
        (("openai/*",), "openai/fast", 404),
        (("openai/*",), "openai/gpt-big", 200),
        (("openai/*",), "claude-via/openai/gpt-big", 200),
        (("big", "fast"), "anthropic/big", 200),
        (("mistral/*",), "mistral/own", 200),
        (("google/*",), "google/gem", 200),
        (("*",), "some-mini-or-other", 200),
    ],
)
def test_no_spelling_of_a_name_gives_a_key_another_model(
    upstream: FakeUpstream, patterns: tuple[str, ...], asked: str, status: int
) -> None:
    upstream.script(json_reply(chat_answer()))
    names = ("m", "big", "gpt-big", "google/gem")
    provider = ProviderSettings(kind="openai", base_url=f"{upstream.url}/v1", api_key="sk-up", models=names)
    client = Client(
        create_app(
            Settings(
                providers={"one": provider, "two": provider},
                models=ModelsSettings(
                    default="one/big",
                    routes={name: RouteSettings(targets=("two/m",)) for name in ("fast", "mistral/own")},
                ),
                keys={"ci": KeySettings(key=CI, models=patterns)},
            )
        )
    )

    assert ask(client, CI, asked).status_code == status
    client.app.runtime.services.transport.close()


REFUSED = {
    "a model by its name": ("one/big", "/v1/chat/completions", 404, "model_not_found"),
    "a model in messages": ("one/big", "/v1/messages", 404, "not_found_error"),
    "the count of its tokens": ("one/big", "/v1/messages/count_tokens", 404, "not_found_error"),
    "a model on a path of its provider": ("big", "/one/v1/chat/completions", 404, "model_not_found"),
    "legacy completions": ("one/big", "/v1/completions", 404, "model_not_found"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_key_is_refused_what_is_not_its_own_in_the_words_of_its_dialect(
    client: Client, upstream: FakeUpstream, case: str
) -> None:
    model, path, status, word = REFUSED[case]

    answer = ask(client, CI, model, path, prompt="hi")

    assert answer.status_code == status
    assert word in answer.text
    assert "'ci' may not use" in answer.text
    assert not upstream.seen


def test_a_provider_that_is_not_its_own_is_forbidden(client: Client, upstream: FakeUpstream) -> None:
    services = client.app.runtime.services
    only_provider = Access(ServerSettings(), keys={"ci": KeySettings(key=CI, providers=("two",))})
    client.app.runtime.services = msgspec.structs.replace(services, access=only_provider)

    chat, message = ask(client, CI, "one/m"), ask(client, CI, "one/m", "/v1/messages")

    assert (chat.status_code, message.status_code) == (403, 403)
    assert message.json["error"]["type"] == "permission_error"
    assert not upstream.seen


def test_the_list_of_models_shows_a_key_its_own(client: Client) -> None:
    mine = client.http.get("/v1/models", headers={"x-api-key": CI}).json
    all_of_them = client.http.get("/v1/models", headers={"x-api-key": ANNA}).json

    assert [entry["id"] for entry in mine["data"]] == ["fast", "one/m"]
    assert mine["data"][0]["resolved"] == "one/m"
    assert {entry["id"] for entry in all_of_them["data"]} == {"fast", "one/m", "one/big", "two/m", "two/big"}
    assert client.http.get("/v1/models/one/big", headers={"x-api-key": CI}).status_code == 404


def test_a_key_hears_nothing_of_providers_that_are_not_its_own(client: Client, upstream: FakeUpstream) -> None:
    providers = client.app.runtime.services.providers
    for name in ("one", "two"):
        providers[name].health.list_models(UpstreamUnreachable(f"{name} is in trouble"))
    listing = client.app.runtime.services.listing
    key = ClientKey(name="ci", providers=("one",))

    assert set(listing.problems(key)) == {"one"}
    assert set(listing.problems()) == {"one", "two"}


def test_a_list_that_has_not_come_yet_is_said_to_be_missing(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    services, slow = client.app.runtime.services, threading.Event()
    provider = services.providers["two"]
    monkeypatch.setattr(provider, "fetch_models", lambda: slow.wait() and [])
    provider.catalogue.begin_reading()

    missing = services.listing.problems()
    slow.set()
    provider.catalogue.wait(10)

    assert missing == {"two": "its model list is still loading"}
    assert services.listing.problems() == {}


def test_a_key_whose_time_is_over_is_told_so(client: Client) -> None:
    answer = ask(client, OLD, "one/m", "/v1/messages")

    assert answer.status_code == 401
    assert "'old' expired on 2026-01-01" in answer.text
    assert OLD not in answer.text


def test_the_log_names_the_key(client: Client, log_lines: Any) -> None:
    ask(client, ANNA, "one/m")
    ask(client, "dm-plain-0123456789", "one/m")

    assert [line["key"] for line in log_lines()] == ["anna", "api_keys[0]"]


def test_another_key_of_the_same_name_keeps_what_the_first_one_stored() -> None:
    before = Access(ServerSettings(), keys={"a": KeySettings(key=CI)}).check_key({"x-api-key": CI})
    after = Access(ServerSettings(), keys={"a": KeySettings(key=ANNA)}).check_key({"x-api-key": ANNA})

    assert before.tenant == after.tenant != ""


def test_a_second_header_with_a_valid_key_counts_where_the_first_one_is_over() -> None:
    access = Access(ServerSettings(), keys={"old": KeySettings(key=OLD, expires=YESTERDAY), "a": KeySettings(key=CI)})

    assert access.check_key({"x-api-key": OLD, "authorization": f"Bearer {CI}"}).name == "a"


def test_a_kept_connection_is_asked_again_when_keys_or_the_time_change() -> None:
    now = [YESTERDAY.timestamp() - 1]
    access = Access(ServerSettings(), keys={"old": KeySettings(key=OLD, expires=YESTERDAY)}, clock=lambda: now[0])
    ending, made = HeaderFields({"x-api-key": OLD}), HeaderFields({"x-api-key": CI})
    for headers in (ending, made):
        headers["host"] = "localhost"
    access.set_made_keys({hash_key(CI): ClientKey(name="made", tenant="t", named=True)})
    assert (access.admit(ending).key.name, access.admit(made).key.name) == ("old", "made")

    now[0] += 2
    access.set_made_keys({hash_key(CI): ClientKey(name="made", tenant="t", named=True, disabled=True)})

    for headers in (ending, made):
        with pytest.raises(Unauthorized):
            access.admit(headers)


def test_the_hash_of_a_key_is_no_key() -> None:
    hashed = "sha256:" + hashlib.sha256(CI.encode()).hexdigest()
    access = Access(ServerSettings(), keys={"a": KeySettings(key=hashed)})

    for guess in (hashed, hashed.removeprefix("sha256:")):
        with pytest.raises(Unauthorized):
            access.check_key({"x-api-key": guess})


def test_a_look_up_among_ten_thousand_keys_reads_one_entry() -> None:
    keys = {f"k{number}": KeySettings(key=f"dm-{number:032}") for number in range(10_000)}
    access = Access(ServerSettings(), keys=keys)

    assert access.check_key({"x-api-key": f"dm-{9_999:032}"}).name == "k9999"


def test_a_stream_of_a_named_key_is_answered(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(chat_stream("hi"))

    assert "hi" in ask(client, CI, "one/m", stream=True).text
