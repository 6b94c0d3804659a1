"""Conversations: a Responses client names one instead of sending again what was said."""

from __future__ import annotations

import json
from typing import Any

import pytest
from werkzeug.test import TestResponse

from tests.gateway.conftest import Client, MakeClient, events_of
from tests.gateway.responses_api.test_response_store import answer_of, ask, native_answer, said_to
from tests.support.answers import chat_answer, chat_stream
from tests.support.fake_upstream import FakeUpstream, json_reply

PLACE = "/v1/conversations"


def create(client: Client, body: dict[str, Any] | None = None, key: str | None = None) -> Any:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    made = client.ask(PLACE, body if body is not None else {}, **headers)
    assert made.status_code == 200, made.text
    return made.get_json()


def texts_of(listed: TestResponse) -> list[str]:
    return [item["content"][0]["text"] for item in listed.get_json()["data"]]


@pytest.mark.parametrize("stream", [False, True])
def test_a_turn_in_a_conversation_has_what_was_said_and_adds_to_it(
    client: Client, upstream: FakeUpstream, stream: bool
) -> None:
    answers = [chat_stream("a1"), chat_stream("a2")] if stream else [json_reply(chat_answer(t)) for t in ("a1", "a2")]
    upstream.script(*answers)
    place = create(client)["id"]

    first = answer_of(ask(client, "q1", conversation=place, stream=stream))
    answer_of(ask(client, "q2", conversation={"id": place}, stream=stream))

    assert said_to(upstream) == [("user", "q1"), ("assistant", "a1"), ("user", "q2")]
    assert first["conversation"] == {"id": place}
    listed = client.http.get(f"{PLACE}/{place}/items", query_string={"order": "asc"})
    assert texts_of(listed) == ["q1", "a1", "q2", "a2"]


def test_a_conversation_begins_with_the_items_it_was_given(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply(chat_answer("a1")))
    items = [{"role": "developer", "content": "be brief"}, {"role": "user", "content": "q0"}]
    made = create(client, {"items": items, "metadata": {"topic": "t"}})

    answer_of(ask(client, "q1", conversation=made["id"]))

    assert made["metadata"] == {"topic": "t"}
    assert made["object"] == "conversation"
    assert said_to(upstream)[0] == ("system", "be brief")
    assert said_to(upstream)[-1] == ("user", "q1")


def test_a_conversation_goes_on_with_another_upstream(make_client: MakeClient, upstream: FakeUpstream) -> None:
    native = {"kind": "openai", "dialect": "openai_responses", "base_url": f"{upstream.url}/v1", "api_key": "sk-up"}
    client = make_client(native=native)
    upstream.script(json_reply(chat_answer("a1")), json_reply(native_answer(text="a2")))
    place = create(client)["id"]
    answer_of(ask(client, "q1", conversation=place))

    second = answer_of(ask(client, "q2", model="native/m", conversation=place))

    sent = upstream.seen[1].json()
    assert "conversation" not in sent
    assert [json.dumps(item) for item in sent["input"] if "a1" in json.dumps(item)]
    assert second["conversation"] == {"id": place}
    assert len(client.http.get(f"{PLACE}/{place}/items").get_json()["data"]) == 4


def test_a_conversation_of_an_upstream_passes_by_its_id(make_client: MakeClient, upstream: FakeUpstream) -> None:
    native = {"kind": "openai", "dialect": "openai_responses", "base_url": f"{upstream.url}/v1", "api_key": "sk-up"}
    client = make_client(native=native)
    upstream.script(json_reply(native_answer()))

    answer_of(ask(client, "q1", model="native/m", conversation="conv_theirs"))

    assert upstream.seen[0].json()["conversation"] == "conv_theirs"


@pytest.mark.parametrize("stored", [{"store": False}, {}])
def test_what_is_not_to_be_stored_does_not_become_part_of_a_conversation(
    client: Client, upstream: FakeUpstream, stored: dict[str, Any]
) -> None:
    upstream.script(json_reply(chat_answer("a1")))
    place = create(client)["id"]

    answer_of(ask(client, "q1", conversation=place, **stored))

    kept = client.http.get(f"{PLACE}/{place}/items").get_json()["data"]
    assert len(kept) == (0 if stored else 2)


def test_a_conversation_has_metadata_and_items_that_can_be_changed(client: Client) -> None:
    place = f"{PLACE}/{create(client)['id']}"

    described = client.ask(place, {"metadata": {"a": "b"}}).get_json()
    added = client.ask(f"{place}/items", {"items": [{"role": "user", "content": c} for c in "xyz"]}).get_json()
    one = client.http.get(f"{place}/items/{added['first_id']}").get_json()
    without = client.http.delete(f"{place}/items/{added['first_id']}").get_json()
    page = client.http.get(f"{place}/items", query_string={"limit": 1})

    assert described["metadata"] == without["metadata"] == {"a": "b"}
    assert one == added["data"][0]
    assert texts_of(page) == ["z"]
    assert page.get_json()["has_more"] is True
    assert client.http.get(f"{place}/items/{added['first_id']}").status_code == 404
    assert client.http.delete(f"{place}/items/{added['first_id']}").status_code == 404


def test_a_deleted_conversation_is_gone(client: Client, upstream: FakeUpstream) -> None:
    made = create(client)["id"]

    deleted = client.http.delete(f"{PLACE}/{made}")

    assert deleted.get_json() == {"id": made, "object": "conversation.deleted", "deleted": True}
    for answer in (
        client.http.get(f"{PLACE}/{made}"),
        client.http.delete(f"{PLACE}/{made}"),
        client.http.get(f"{PLACE}/{made}/items"),
        client.ask(f"{PLACE}/{made}/items", {"items": [{"role": "user", "content": "x"}]}),
        ask(client, "q", conversation=made),
    ):
        assert answer.status_code == 404
        assert answer.get_json()["error"]["type"] == "invalid_request_error"
    assert upstream.seen == []


def test_a_conversation_is_seen_with_the_key_it_was_made_with_alone(
    make_client: MakeClient, upstream: FakeUpstream
) -> None:
    client = make_client(server={"api_keys": ["key-a", "key-b"]})
    upstream.script(json_reply(chat_answer("a")))
    place = create(client, key="key-a")["id"]

    def see(key: str) -> int:
        return client.http.get(f"{PLACE}/{place}", headers={"authorization": f"Bearer {key}"}).status_code

    assert (see("key-a"), see("key-b")) == (200, 404)
    assert ask(client, "q", key="key-b", conversation=place).status_code == 404
    assert ask(client, "q", key="key-a", conversation=place).status_code == 200


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"items": ["x"]}, "items[0]"),
        ({"items": [{"role": "user", "content": "x"}, {"role": 5, "content": "x"}]}, "items[1]"),
        ({"items": "x"}, "items"),
        ({"metadata": {"a": 1}}, "metadata"),
        ([], None),
    ],
)
def test_a_malformed_conversation_is_refused_by_its_field(client: Client, body: Any, param: str | None) -> None:
    refused = client.ask(PLACE, json.dumps(body).encode())

    assert refused.status_code == 400
    said = refused.get_json()["error"]
    assert said["param"] == param or said["param"].startswith(param)


@pytest.mark.parametrize("named", [5, {}, {"id": 5}, []])
def test_a_conversation_that_is_no_id_is_refused(client: Client, upstream: FakeUpstream, named: Any) -> None:
    refused = ask(client, "q", conversation=named)

    assert refused.status_code == 400
    assert "conversation" in refused.get_json()["error"]["param"]
    assert upstream.seen == []


def test_a_failed_answer_adds_nothing(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply({"error": {"message": "no"}}, status=400))
    place = create(client)["id"]

    assert ask(client, "q", conversation=place).status_code == 400

    assert client.http.get(f"{PLACE}/{place}/items").get_json()["data"] == []


def test_events_of_a_conversation_name_it(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(chat_stream("a1"))
    place = create(client)["id"]

    created = events_of(ask(client, "q1", conversation=place, stream=True))[0]

    assert created["response"]["conversation"] == {"id": place}


def test_input_tokens_count_the_whole_conversation(client: Client) -> None:
    long = create(client, {"items": [{"role": "user", "content": "word " * 400}]})["id"]
    short = create(client)["id"]

    counts = [
        client.ask("/v1/responses/input_tokens", {"model": "chat/m", "input": "q", "conversation": place}).get_json()
        for place in (long, short)
    ]

    assert counts[0]["input_tokens"] > counts[1]["input_tokens"] + 300
