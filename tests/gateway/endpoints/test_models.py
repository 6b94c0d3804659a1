"""The list of models: its pages, where it comes from, and what the catalogue of OCA decides."""

from __future__ import annotations

from typing import Any

import pytest

from app.settings import RouteSettings
from tests.gateway.conftest import Client, MakeClient
from tests.support.answers import chat_answer, chat_stream, unnamed
from tests.support.fake_upstream import FakeUpstream, Reply, json_reply, sse

NAMES = ("a", "b", "c", "d", "e")


@pytest.fixture
def five(make_client: MakeClient) -> Client:
    return make_client(chat={"models": NAMES})


@pytest.mark.parametrize(
    ("asked", "page", "more"),
    [
        ("", NAMES, False),
        ("?limit=2", ("a", "b"), True),
        ("?limit=5", NAMES, False),
        ("?limit=2&after_id=b", ("c", "d"), True),
        ("?limit=2&after_id=d", ("e",), False),
        ("?after_id=nobody", (), False),
        ("?limit=2&before_id=d", ("b", "c"), True),
        ("?limit=3&before_id=d", ("a", "b", "c"), False),
        ("?limit=0", NAMES, False),
        ("?limit=-1", NAMES, False),
        ("?limit=many", NAMES, False),
        ("?limit=1000000", NAMES, False),
    ],
)
def test_a_page_begins_and_ends_where_it_is_asked_to(
    five: Client, asked: str, page: tuple[str, ...], more: bool
) -> None:
    listed = five.http.get(f"/chat/v1/models{asked}").get_json()

    assert tuple(entry["id"] for entry in listed["data"]) == page
    assert listed["has_more"] is more
    assert (listed["first_id"], listed["last_id"]) == ((page[0], page[-1]) if page else (None, None))


def test_a_date_in_milliseconds_is_a_date(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply({"data": [{"id": "m", "created": 1_700_000_000_000}]}))

    (entry,) = client.http.get("/chat/v1/models").get_json()["data"]

    assert (entry["created"], entry["created_at"]) == (1_700_000_000, "2023-11-14T22:13:20Z")


def test_the_last_good_list_stays_while_the_upstream_is_in_trouble(
    client: Client, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.providers.catalogue.LIFETIME", 0.0)
    upstream.script(json_reply({"data": [{"id": "m"}]}), json_reply({"error": "down"}, 503))
    client.http.get("/chat/v1/models")

    listed = client.http.get("/chat/v1/models").get_json()

    assert [entry["id"] for entry in listed["data"]] == ["m"]


def responses_stream(text: str) -> tuple[bytes, ...]:
    message = {"type": "message", "id": "i", "role": "assistant", "content": []}
    part = {"type": "output_text", "text": text, "annotations": []}
    place = {"item_id": "i", "output_index": 0}
    response = {"id": "r", "model": "openai.m.1", "output": []}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": response | {"status": "in_progress"}},
        {"type": "response.output_item.added", "output_index": 0, "item": message},
        {"type": "response.output_text.delta", "content_index": 0, "delta": text, **place},
        {"type": "response.output_item.done", "output_index": 0, "item": message | {"content": [part]}},
        {"type": "response.completed", "response": response | {"status": "completed"}},
    ]
    return unnamed(*events)


def entry(name: str, **info: Any) -> dict[str, Any]:
    return {"litellm_params": {"model": name, "max_tokens": info.pop("limit", None)}, "model_info": info}


@pytest.fixture
def oca(make_client: MakeClient, upstream: FakeUpstream) -> Client:
    return make_client(oca={"kind": "oca", "base_url": upstream.url, "access_token": "t"})


def ask_oca(oca: Client, upstream: FakeUpstream, model: str, answer: Reply, *entries: dict[str, Any]) -> Any:
    """What OCA is sent for a Messages request of 100 000 tokens to `model`, its catalogue being `entries`."""
    upstream.script(json_reply({"data": list(entries)}), answer)
    response = oca.message(f"oca/{model}", max_tokens=100_000)
    assert response.status_code == 200, response.text
    return upstream.seen[-1]


@pytest.mark.parametrize(
    ("info", "sent"),
    [
        ({"max_output_tokens": 4096}, 4096),
        ({"max_output_tokens": "4096"}, 4096),
        ({"max_output_tokens": 0, "limit": 8192}, 8192),
        ({"max_output_tokens": -1, "limit": -1, "max_tokens": 2048}, 2048),
        ({"max_output_tokens": 0, "limit": -1, "context_window": "lots"}, 100_000),
    ],
)
def test_the_catalogue_limits_the_answer(oca: Client, upstream: FakeUpstream, info: dict[str, Any], sent: int) -> None:
    seen = ask_oca(oca, upstream, "m", chat_stream("hello"), entry("oca/m", **info))

    assert seen.json()["max_tokens"] == sent


@pytest.mark.parametrize(("listed", "asked"), [("oca/m", "m"), ("oca/m", "oca/m"), ("m", "m"), ("m", "oca/m")])
def test_a_model_is_sent_as_the_catalogue_spells_it(
    oca: Client, upstream: FakeUpstream, listed: str, asked: str
) -> None:
    seen = ask_oca(oca, upstream, asked, chat_stream("hello"), entry(listed))

    assert seen.json()["model"] == listed


def test_a_model_that_is_only_listed_with_responses_is_asked_there(oca: Client, upstream: FakeUpstream) -> None:
    answer = sse(*responses_stream("hello"))

    seen = ask_oca(oca, upstream, "m", answer, entry("oca/m", supported_api_list=["RESPONSES"]))

    assert seen.path == "/responses"
    body = seen.json()
    assert (body["stream"], body["store"], body["model"]) == (True, False, "oca/m")
    assert "stream_options" not in body


def test_a_model_that_is_only_listed_with_messages_is_asked_there(oca: Client, upstream: FakeUpstream) -> None:
    answer = json_reply({"id": "m", "type": "message", "role": "assistant", "content": [], "stop_reason": "end_turn"})

    seen = ask_oca(oca, upstream, "m", answer, entry("oca/m", supported_api_list=["MESSAGES"]))

    assert seen.path == "/v1/messages"
    assert (seen.headers["authorization"], seen.headers["anthropic-version"]) == ("Bearer t", "2023-06-01")


def test_chat_is_preferred_and_what_a_model_without_a_list_speaks(oca: Client, upstream: FakeUpstream) -> None:
    every = entry("oca/m", supported_api_list=["MESSAGES", "RESPONSES", "CHAT_COMPLETIONS"])

    assert ask_oca(oca, upstream, "m", chat_stream("hello"), every, entry("oca/n")).path == "/chat/completions"
    upstream.script(chat_stream("hello"))
    assert oca.message("oca/n").status_code == 200
    assert upstream.seen[-1].path == "/chat/completions"


def test_a_catalogue_that_could_not_be_had_is_asked_for_again(
    oca: Client, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.providers.catalogue.RETRY", 0.0)
    down = json_reply({"message": "starting"}, 503)
    upstream.script(down)
    oca.message("oca/m")
    limited = json_reply({"data": [entry("oca/m", max_output_tokens=4096)]})

    upstream.script(limited, chat_stream("hello"))
    oca.message("oca/m", max_tokens=100_000)

    assert upstream.seen[-1].json()["max_tokens"] == 4096


def test_a_name_with_everything_in_it_reaches_the_upstream_whole(client: Client, upstream: FakeUpstream) -> None:
    for name in ("Org/Model-7B:free", "ft:gpt-4o:org::id", "two words", "models/gemini-2.5-pro", "UPPER"):
        upstream.script(json_reply(chat_answer()))

        response = client.chat(f"chat/{name}")

        assert upstream.seen[-1].json()["model"] == name
        assert response.get_json()["model"] == f"chat/{name}"


# ---- names that servers list


def local(upstream: FakeUpstream) -> dict[str, Any]:
    """One server without a key, and nothing else."""
    return {"local": {"kind": "openai", "base_url": f"{upstream.url}/v1"}, "chat": None, "messages": None}


def models_reply(*names: str) -> Reply:
    return json_reply({"object": "list", "data": [{"id": name, "context_length": 4096} for name in names]})


def test_the_name_of_a_listed_model_leads_to_it_from_the_first_request_on(
    make_client: MakeClient, upstream: FakeUpstream
) -> None:
    client = make_client(models={"default": "local/qwen3"}, **local(upstream))
    upstream.script(models_reply("qwen3:8b", "llama3.2:latest"), json_reply(chat_answer("hello")))

    assert client.chat("qwen3:8b").status_code == 200
    assert upstream.seen[-1].json()["model"] == "qwen3:8b"


def test_a_model_that_is_not_there_is_named_with_those_that_are(
    make_client: MakeClient, upstream: FakeUpstream
) -> None:
    client = make_client(models={"default": "local/qwen3"}, **local(upstream))
    refusal = json_reply({"error": {"message": "model 'qwen3' not found", "type": "not_found_error"}}, 404)
    upstream.script(models_reply("qwen3:8b", "llama3.2:latest"), refusal)

    said = client.message("claude-sonnet-4-6").get_json()["error"]["message"]

    assert "local has no model qwen3 (asked for as claude-sonnet-4-6, by models.default)" in said
    assert "it has qwen3:8b, llama3.2:latest" in said


def test_an_empty_list_says_why(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply({"error": {"message": "no"}}, 401))

    listed = client.http.get("/chat/v1/models").get_json()

    assert listed["data"] == []
    assert "refused" in listed["problems"]["chat"]


def test_the_names_for_claude_codes_picker_are_for_claude_code_alone(make_client: MakeClient) -> None:
    client = make_client(chat={"models": ("a",)})

    def names(**headers: str) -> list[str]:
        answer = client.http.get("/v1/models", headers={n.replace("_", "-"): v for n, v in headers.items()})
        return [entry["id"] for entry in answer.get_json()["data"] if entry["id"].startswith("claude-via/")]

    assert names() == names(user_agent="OpenAI/Python 2.0") == []
    assert names(anthropic_version="2023-06-01") == names(user_agent="claude-cli/2.1.332 (external)") != []


def test_a_catalogue_that_writes_oca_before_its_names_does_not_double_it(oca: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply({"data": [entry("oca/gpt-4.1", context_window=128_000), entry("plain")]}))

    listed = {each["id"]: each for each in oca.http.get("/v1/models").get_json()["data"]}

    assert {"oca/gpt-4.1", "oca/plain"} <= set(listed)
    assert not [name for name in listed if "oca/oca" in name]
    assert listed["oca/gpt-4.1"]["context_window"] == 128_000


ASKED = {
    "a listed name": ("oca/gpt-4.1", "oca/gpt-4.1", None),
    "the catalogue's own name": ("gpt-4.1", "gpt-4.1", "oca/gpt-4.1"),
    "a route": ("mine", "mine", "oca/gpt-4.1"),
    "a tier": ("claude-haiku-5-5", "claude-haiku-5-5", "oca/small"),
    "an alias of a preset": ("gpt-4-turbo", "gpt-4.1", "oca/gpt-4.1"),
    "a claude name for the default": ("claude-sonnet-4-6[1m]", "claude-sonnet-4-6[1m]", "oca/gpt-4.1"),
    "a vendor's name for the default": ("gpt-4o", "gpt-4o", "oca/gpt-4.1"),
    "the picker's name": ("claude-via/oca/gpt-4.1", "claude-via/oca/gpt-4.1", "oca/gpt-4.1"),
}


@pytest.mark.parametrize(("name", "shown", "target"), ASKED.values(), ids=ASKED)
def test_every_name_that_a_request_may_use_can_be_looked_up(
    make_client: MakeClient, upstream: FakeUpstream, name: str, shown: str, target: str | None
) -> None:
    client = make_client(
        models={
            "default": "oca/gpt-4.1",
            "small": "oca/small",
            "routes": {"mine": RouteSettings(targets=("oca/gpt-4.1",))},
            "presets": ("oca",) if "preset" in name or name == "gpt-4-turbo" else (),
        },
        oca={"kind": "oca", "base_url": upstream.url, "access_token": "t"},
        chat=None,
        messages=None,
    )
    upstream.script(json_reply({"data": [entry("oca/gpt-4.1")]}))

    found = client.http.get(f"/v1/models/{name}")

    assert found.status_code == 200
    assert (found.get_json()["id"], found.get_json().get("resolved")) == (shown, target)


@pytest.mark.parametrize("name", ["nosuch-model-xyz", "nobody/gpt-5", "openai/gpt-5"])
def test_a_name_that_nothing_knows_is_not_found(make_client: MakeClient, name: str) -> None:
    client = make_client(models={"default": "chat/m"}, chat={"models": ("m",)})

    found = client.http.get(f"/v1/models/{name}")

    assert found.status_code == 404
    assert found.get_json()["error"]["code"] == "model_not_found"


def test_a_vendors_name_is_not_found_where_unknown_names_are_refused(make_client: MakeClient) -> None:
    client = make_client(models={"default": "chat/m", "unknown": "refuse"}, chat={"models": ("m",)})

    assert client.http.get("/v1/models/gpt-4o").status_code == 404
    assert client.chat("gpt-4o").status_code == 404


@pytest.mark.parametrize("preset", ["openai-to-cli", "openai-to-claude"])
def test_the_aliases_of_a_preset_are_listed_and_each_shows_its_model(make_client: MakeClient, preset: str) -> None:
    client = make_client(
        models={"default": "messages/m", "presets": (preset,), "sonnet": "messages/s"}, messages={"models": ("m", "s")}
    )
    aliases = ["gpt-4o", "gpt-4o-mini", "gpt-4-turbo", "gpt-4", "gpt-3.5-turbo", "o1", "o1-mini", "o1-preview"]

    listed = {each["id"] for each in client.http.get("/v1/models").get_json()["data"]}
    found = {alias: client.http.get(f"/v1/models/{alias}") for alias in aliases}

    assert set(aliases) <= listed
    assert {answer.status_code for answer in found.values()} == {200}
    assert (found["gpt-4o"].get_json()["id"], found["gpt-4o"].get_json()["resolved"]) == ("s", "messages/s")
