"""The state of Responses clients: who names the last response is understood on every upstream."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from tests.gateway.conftest import Client, MakeClient, events_of
from tests.support.answers import chat_answer, chat_stream, named, response, response_events, unnamed
from tests.support.fake_upstream import FakeUpstream, Reply, json_reply, sse

CALLS = [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
TOOLS = [{"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}]


def ask(client: Client, given: Any, model: str = "chat/m", key: str | None = None, **more: Any) -> TestResponse:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    return client.ask("/v1/responses", {"model": model, "input": given, **more}, **headers)


def answer_of(response: TestResponse) -> Any:
    """The response object of a whole answer or of a stream."""
    if response.headers["content-type"].startswith("text/event-stream"):
        return next(event["response"] for event in events_of(response) if event != "[DONE]" and is_end(event))
    assert response.status_code == 200, response.text
    return response.get_json()


def is_end(event: Any) -> bool:
    return event["type"] in ("response.completed", "response.incomplete", "response.failed")


def calling() -> dict[str, Any]:
    """An answer of Chat that calls the tool `f`."""
    answer = chat_answer("")
    answer["choices"][0] |= {
        "message": {"role": "assistant", "content": None, "tool_calls": CALLS},
        "finish_reason": "tool_calls",
    }
    return answer


def said_to(upstream: FakeUpstream, number: int = -1) -> list[Any]:
    """The messages of a Chat request, as (role, what was said)."""
    messages = upstream.seen[number].json()["messages"]
    return [(m["role"], m.get("content") or [c["function"]["name"] for c in m["tool_calls"]]) for m in messages]


def native_answer(response_id: str = "resp_native", text: str = "hello") -> dict[str, Any]:
    return response(text, id=response_id)


def native_stream(response_id: str = "resp_native") -> Reply:
    answer = native_answer(response_id)
    return sse(*named(*response_events(answer), numbered=True), *unnamed("[DONE]"))


@pytest.fixture
def with_native(make_client: MakeClient, upstream: FakeUpstream) -> Any:
    """with_native(server={…}): a client of a gateway that also has an upstream which keeps its own responses."""
    table = {
        "kind": "openai",
        "dialect": "openai_responses",
        "base_url": f"{upstream.url}/v1",
        "api_key": "sk-upstream-1",
    }
    return lambda **more: make_client(native=table, **more)


@pytest.mark.parametrize("stream", [False, True])
def test_a_turn_that_names_the_last_response_has_its_whole_history(
    client: Client, upstream: FakeUpstream, stream: bool
) -> None:
    upstream.script(json_reply(calling()), json_reply(chat_answer("done")))
    first = answer_of(ask(client, "q1", tools=TOOLS, stream=stream))
    result = {"type": "function_call_output", "call_id": first["output"][0]["call_id"], "output": "r"}

    second = answer_of(ask(client, [result], previous_response_id=first["id"], stream=stream))

    assert said_to(upstream) == [("user", "q1"), ("assistant", ["f"]), ("tool", "r")]
    assert "tools" not in upstream.seen[1].json()
    assert second["previous_response_id"] == first["id"]
    assert second["id"] != first["id"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_chain_grows_and_can_branch(client: Client, upstream: FakeUpstream, stream: bool) -> None:
    upstream.script(json_reply(chat_answer("a1")), json_reply(chat_answer("a2")), json_reply(chat_answer("a3")))
    first = answer_of(ask(client, "q1", stream=stream))["id"]
    second = answer_of(ask(client, "q2", previous_response_id=first, stream=stream))["id"]

    ask(client, "q3", previous_response_id=second)
    ask(client, "other", previous_response_id=first)

    start = [("user", "q1"), ("assistant", "a1")]
    assert said_to(upstream, 2) == [*start, ("user", "q2"), ("assistant", "a2"), ("user", "q3")]
    assert said_to(upstream, 3) == [*start, ("user", "other")]


def test_a_stream_is_kept_before_its_end_goes_out(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(chat_stream("one ", "two"), json_reply(chat_answer()))
    response = client.http.post(
        "/v1/responses", json={"model": "chat/m", "input": "q1", "stream": True}, buffered=False
    )
    ended = next(part for part in response.iter_encoded() if b"response.completed" in part)
    payload = ended[ended.index(b"data: {", ended.index(b"event: response.completed")) + 6 :].partition(b"\n")[0]
    response_id = json.loads(payload)["response"]["id"]

    ask(client, "q2", previous_response_id=response_id)

    assert said_to(upstream) == [("user", "q1"), ("assistant", "one two"), ("user", "q2")]
    response.close()


def test_all_events_of_a_stream_have_the_id_that_is_kept(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(chat_stream("one"))

    events = events_of(ask(client, "q1", stream=True))

    ids = {event["response"]["id"] for event in events if event != "[DONE]" and "response" in event}
    assert len(ids) == 1
    assert client.http.get(f"/v1/responses/{ids.pop()}").status_code == 200


def test_instructions_are_not_inherited(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply(chat_answer("a1")))
    first = answer_of(ask(client, "q1", instructions="OLD"))["id"]

    ask(client, "q2", previous_response_id=first, instructions="NEW")

    assert said_to(upstream) == [("system", "NEW"), ("user", "q1"), ("assistant", "a1"), ("user", "q2")]


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/responses/input_tokens"])
def test_an_unknown_id_is_refused_with_the_code_that_clients_look_for(
    client: Client, upstream: FakeUpstream, path: str
) -> None:
    response = client.ask(path, {"model": "chat/m", "input": "q", "previous_response_id": "resp_nosuch"})

    assert response.status_code == 400
    error = response.get_json()["error"]
    assert (error["code"], error["param"]) == ("previous_response_not_found", "previous_response_id")
    assert upstream.seen == []


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_not_to_be_stored_is_not_there(
    client: Client, upstream: FakeUpstream, data_folder: Path, stream: bool
) -> None:
    upstream.script(json_reply(chat_answer()))

    first = answer_of(ask(client, "q1", store=False, stream=stream))["id"]

    assert not data_folder.exists()
    assert ask(client, "q2", previous_response_id=first).status_code == 400


def test_a_stream_that_broke_is_not_kept(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(chat_stream("one ", "two", tail=()))

    failed = answer_of(ask(client, "q1", stream=True))

    assert failed["status"] == "failed"
    assert client.http.get(f"/v1/responses/{failed['id']}").status_code == 404


def test_a_client_that_sends_the_id_and_the_history_says_nothing_twice(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply(chat_answer("a1")))
    plain = {"role": "user", "content": "q0"}
    named = {"id": "msg_client", "type": "message", "role": "user", "content": "q1"}
    first = answer_of(ask(client, [plain, named]))
    again = {"role": "user", "content": "q0"}

    ask(client, [plain, named, *first["output"], again], previous_response_id=first["id"])

    assert said_to(upstream) == [("user", "q0"), ("user", "q1"), ("assistant", "a1"), ("user", "q0")]


def test_calls_that_a_client_sends_back_without_their_ids_are_not_sent_twice(
    client: Client, upstream: FakeUpstream
) -> None:
    upstream.script(json_reply(calling()))
    question = {"role": "user", "content": "q"}
    first = answer_of(ask(client, [question], tools=TOOLS))
    call = {name: value for name, value in first["output"][-1].items() if name not in ("id", "status")}
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "r"}

    ask(client, [question, call, result], tools=TOOLS, previous_response_id=first["id"])

    assert said_to(upstream) == [("user", "q"), ("assistant", ["f"]), ("tool", "r")]


@pytest.mark.parametrize("model", ["chat/m", "messages/m"])
def test_a_reference_to_an_item_of_ours_is_the_item(client: Client, upstream: FakeUpstream, model: str) -> None:
    """The AI SDK sends references for all that it was answered, unless it is told that nothing is stored."""
    upstream.script(json_reply(calling()))
    output = answer_of(ask(client, "q", tools=TOOLS))["output"]
    upstream.seen.clear()
    result = {"type": "function_call_output", "call_id": output[-1]["call_id"], "output": "r"}
    references = [{"type": "item_reference", "id": item["id"]} for item in output]

    ask(client, [{"role": "user", "content": "q"}, *references, result], model, tools=TOOLS)

    sent = upstream.seen[0].body
    assert [word in sent for word in (b"orphan", b"no result", b"call_1")] == [False, False, True]


def test_no_item_is_sent_more_often_than_it_was_answered(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply(chat_answer("x" * 1000)))
    item = answer_of(ask(client, "q"))["output"][0]
    upstream.seen.clear()

    ask(client, [{"role": "user", "content": "q"}, *[{"type": "item_reference", "id": item["id"]}] * 1000])

    assert sum(len(sent.body) for sent in upstream.seen) < 100_000


@pytest.mark.parametrize("continued", [True, False])
def test_what_a_request_continues_counts_like_its_body(
    make_client: MakeClient, upstream: FakeUpstream, continued: bool
) -> None:
    upstream.script(json_reply(chat_answer("a")))
    client = make_client(server={"bodies_mb": 1})
    first = answer_of(ask(client, "x" * 900_000))
    budget = client.app.runtime.bodies
    budget.hold("another").take(200_000)

    told = ask(client, "q", previous_response_id=first["id"] if continued else None)

    assert told.status_code == (503 if continued else 200)
    assert budget.taken == 200_000


def test_items_of_too_many_responses_are_refused(client: Client, upstream: FakeUpstream) -> None:
    references = [{"type": "item_reference", "id": f"msg_{number:032x}_0"} for number in range(1001)]

    told = ask(client, references)

    assert (told.status_code, upstream.seen) == (400, [])
    assert "1,000 responses" in told.get_data(as_text=True)


@pytest.mark.parametrize("item_id", ["fc_" + "0" * 32 + "_0", "msg_1", 5])
def test_a_reference_to_an_item_that_nobody_has_stays_what_it_was(
    client: Client, upstream: FakeUpstream, item_id: Any
) -> None:
    upstream.script(json_reply(chat_answer("a")))

    told = ask(client, [{"role": "user", "content": "q"}, {"type": "item_reference", "id": item_id}])

    assert told.status_code in (200, 400)
    assert b"item_reference" not in (upstream.seen[0].body if upstream.seen else b"")


@pytest.mark.parametrize("given", [[1], [None], ["a"], [[1]], [{"type": 5}], [{"id": {}}], [{"id": []}]])
def test_an_input_that_is_none_is_refused_before_anything_is_asked(
    client: Client, upstream: FakeUpstream, given: list[Any]
) -> None:
    upstream.script(json_reply(chat_answer("a1")))
    first = answer_of(ask(client, "q1"))["id"]

    for path in ("/v1/responses", "/v1/responses/input_tokens", "/v1/responses/compact"):
        body = {"model": "chat/m", "input": given, "previous_response_id": first}
        assert client.ask(path, body).status_code == 400

    assert len(upstream.seen) == 1


def test_an_input_of_nothing_that_can_be_said_is_no_fault_of_ours(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply({"type": "error", "error": {"type": "invalid_request_error", "message": "no"}}, 400))

    assert ask(client, [{}], "messages/m").status_code == 400


def test_the_same_words_said_again_are_not_taken_for_the_history(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply(chat_answer("a1")))
    first = answer_of(ask(client, "go on"))["id"]

    ask(client, "go on", previous_response_id=first)

    assert said_to(upstream) == [("user", "go on"), ("assistant", "a1"), ("user", "go on")]


def test_a_restart_between_two_turns_changes_nothing(make_client: MakeClient, upstream: FakeUpstream) -> None:
    upstream.script(json_reply(chat_answer("a1")))
    before, after = make_client(), make_client()
    first = answer_of(ask(before, "q1"))["id"]

    ask(after, "q2", previous_response_id=first)

    assert said_to(upstream) == [("user", "q1"), ("assistant", "a1"), ("user", "q2")]


def test_a_history_goes_on_at_another_upstream(with_native: Any, upstream: FakeUpstream) -> None:
    client = with_native()
    upstream.script(json_reply(chat_answer("a1")), json_reply(native_answer()))
    first = answer_of(ask(client, "q1"))

    second = answer_of(ask(client, "q2", model="native/m", previous_response_id=first["id"]))

    sent = upstream.seen[1].json()
    assert "previous_response_id" not in sent
    said = [(item["role"], item["content"][0]["text"]) for item in sent["input"]]
    assert said == [("user", "q1"), ("assistant", "a1"), ("user", "q2")]
    assert second["previous_response_id"] == first["id"]


def test_an_upstream_that_keeps_nothing_gets_the_history_in_its_own_dialect(
    make_client: MakeClient, upstream: FakeUpstream
) -> None:
    client = make_client(backend={"kind": "codex", "base_url": upstream.url, "api_key": "sk-upstream-1"})
    upstream.script(native_stream("resp_1"), native_stream("resp_2"))
    first = answer_of(ask(client, "q1", model="backend/m"))["id"]

    second = ask(client, "q2", model="backend/m", previous_response_id=first)

    assert second.status_code == 200
    sent = upstream.seen[1].json()
    assert "previous_response_id" not in sent
    assert [item["role"] for item in sent["input"]] == ["user", "assistant", "user"]


def test_a_response_can_be_seen_again_and_deleted(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply(chat_answer("a1")))
    first = answer_of(ask(client, "q1"))
    place = f"/v1/responses/{first['id']}"

    seen = client.http.get(place)
    deleted = client.http.delete(f"/responses/{first['id']}")

    assert seen.get_json() == first
    assert deleted.get_json() == {"id": first["id"], "object": "response", "deleted": True}
    gone = client.http.get(place)
    assert gone.status_code == 404
    assert gone.get_json()["error"]["type"] == "invalid_request_error"
    assert client.http.delete(place).status_code == 404
    assert ask(client, "q2", previous_response_id=first["id"]).status_code == 400


def test_only_background_responses_can_be_cancelled(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply(chat_answer("a1")))
    first = answer_of(ask(client, "q1"))["id"]

    assert client.http.post(f"/v1/responses/{first}/cancel").status_code == 400
    assert client.http.post("/v1/responses/resp_nosuch/cancel").status_code == 404


def test_input_items_come_in_pages(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply(chat_answer("a1")))
    items = [{"role": "user", "content": f"q{number}"} for number in range(5)]
    place = f"/v1/responses/{answer_of(ask(client, items))['id']}/input_items"

    newest = client.http.get(place, query_string={"limit": 2}).get_json()
    next_page = client.http.get(place, query_string={"limit": 2, "after": newest["last_id"]}).get_json()
    whole = client.http.get(place, query_string={"order": "asc"}).get_json()

    assert [item["content"][0]["text"] for item in newest["data"]] == ["q4", "q3"]
    assert (newest["object"], newest["has_more"]) == ("list", True)
    assert [item["content"][0]["text"] for item in next_page["data"]] == ["q2", "q1"]
    assert [item["content"][0]["text"] for item in whole["data"]] == ["q0", "q1", "q2", "q3", "q4"]
    assert whole["has_more"] is False
    assert len({item["id"] for item in whole["data"]}) == 5
    assert whole["data"][0] | {"id": ""} == {
        "id": "",
        "type": "message",
        "role": "user",
        "content": [{"type": "input_text", "text": "q0"}],
    }


@pytest.mark.parametrize("query", [{"limit": "0"}, {"limit": "x"}, {"order": "up"}, {"after": "msg_nosuch"}])
def test_a_page_that_cannot_be_is_refused(client: Client, upstream: FakeUpstream, query: dict[str, str]) -> None:
    upstream.script(json_reply(chat_answer("a1")))
    first = answer_of(ask(client, "q1"))["id"]

    response = client.http.get(f"/v1/responses/{first}/input_items", query_string=query)

    assert response.status_code == 400
    assert response.get_json()["error"]["param"] in query


@pytest.mark.parametrize("stream", [False, True])
def test_a_key_never_sees_what_another_has_said(make_client: MakeClient, upstream: FakeUpstream, stream: bool) -> None:
    client = make_client(server={"api_keys": ("key-a", "key-b")})
    upstream.script(json_reply(chat_answer("a1")))
    first = answer_of(ask(client, "q1", key="key-a", stream=stream))["id"]
    own, other = ({"authorization": f"Bearer {key}"} for key in ("key-a", "key-b"))

    for path in ("", "/input_items"):
        assert client.http.get(f"/v1/responses/{first}{path}", headers=other).status_code == 404
    assert client.http.delete(f"/v1/responses/{first}", headers=other).status_code == 404
    assert ask(client, "q2", key="key-b", previous_response_id=first).status_code == 400
    assert client.http.get(f"/v1/responses/{first}").status_code == 401
    assert client.http.get(f"/v1/responses/{first}", headers=own).status_code == 200
    assert len(upstream.seen) == 1


def test_an_upstream_that_keeps_responses_gets_the_id_untouched(
    with_native: Any, upstream: FakeUpstream, data_folder: Path
) -> None:
    client = with_native()
    upstream.script(json_reply(native_answer()))
    body = b'{ "model":"native/m", "input":"q2","previous_response_id": "resp_before" }'

    response = client.ask("/v1/responses", body)

    assert response.get_json()["id"] == "resp_native"
    assert upstream.seen[0].body == body.replace(b"native/m", b"m")


def test_nothing_is_looked_up_for_a_first_turn_at_an_upstream_that_keeps_responses(
    with_native: Any, upstream: FakeUpstream, data_folder: Path
) -> None:
    client = with_native()
    upstream.script(json_reply(native_answer()), native_stream())

    ask(client, "q1", model="native/m")
    ask(client, "q1", model="native/m", stream=True).get_data()

    assert not data_folder.exists()


def test_what_a_server_of_responses_tells_is_no_page(with_native: Any, upstream: FakeUpstream) -> None:
    client = with_native()
    upstream.script(Reply((b"<script>1</script>",), headers={"content-type": "text/html"}))

    response = client.http.get("/v1/responses/resp_native")

    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("method", "path", "sent"),
    [
        ("GET", "?include%5B%5D=x", ("GET", "/v1/responses/resp_native?include%5B%5D=x")),
        ("DELETE", "", ("DELETE", "/v1/responses/resp_native")),
        ("POST", "/cancel", ("POST", "/v1/responses/resp_native/cancel")),
        ("GET", "/input_items?limit=3", ("GET", "/v1/responses/resp_native/input_items?limit=3")),
    ],
)
def test_what_is_asked_of_a_response_goes_where_it_is_kept(
    with_native: Any, upstream: FakeUpstream, method: str, path: str, sent: tuple[str, str]
) -> None:
    client = with_native()
    upstream.script(json_reply(native_answer()))

    response = client.http.open(f"/v1/responses/resp_native{path}", method=method)

    assert response.get_json() == native_answer()
    assert (upstream.seen[0].method, upstream.seen[0].path) == sent
    assert upstream.seen[0].headers["authorization"] == "Bearer sk-upstream-1"


def test_a_response_that_no_upstream_knows_is_not_found(with_native: Any, upstream: FakeUpstream) -> None:
    client = with_native(other={"kind": "openai", "dialect": "openai_responses", "base_url": upstream.url})
    upstream.script(json_reply({"error": {"message": "no", "type": "invalid_request_error"}}, 404))

    response = client.http.get("/v1/responses/resp_nosuch")

    assert response.status_code == 404
    assert len(upstream.seen) == 2


def test_what_the_upstream_refuses_of_a_response_is_said(with_native: Any, upstream: FakeUpstream) -> None:
    client = with_native()
    upstream.script(
        json_reply({"error": {"message": "no sk-upstream-1", "type": "invalid_request_error", "code": "c"}}, 400)
    )

    response = client.http.post("/v1/responses/resp_native/cancel")

    assert response.status_code == 400
    assert response.get_json()["error"]["code"] == "c"
    assert "sk-upstream-1" not in response.text


@pytest.mark.parametrize("stream", [False, True])
def test_a_key_reaches_only_its_own_responses_at_the_upstream(
    with_native: Any, upstream: FakeUpstream, stream: bool
) -> None:
    client = with_native(server={"api_keys": ("key-a", "key-b")})
    upstream.script(native_stream() if stream else json_reply(native_answer()), json_reply(native_answer()))
    ask(client, "q1", model="native/m", key="key-a", stream=stream).get_data()
    own, other = ({"authorization": f"Bearer {key}"} for key in ("key-a", "key-b"))

    assert client.http.get("/v1/responses/resp_native", headers=other).status_code == 404
    assert ask(client, "q2", "native/m", "key-b", previous_response_id="resp_native").status_code == 400
    assert len(upstream.seen) == 1
    assert client.http.get("/v1/responses/resp_native", headers=own).status_code == 200
    assert ask(client, "q2", "native/m", "key-a", previous_response_id="resp_native").status_code == 200


def test_a_database_that_fails_costs_no_answer_and_says_so_to_who_needs_it(
    client: Client, upstream: FakeUpstream, data_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data_folder.write_text("in the way")
    upstream.script(json_reply(chat_answer()))

    answered = [ask(client, "q1").status_code for _ in range(3)]
    refused = ask(client, "q2", previous_response_id="resp_1")

    assert answered == [200, 200, 200]
    assert refused.status_code == 503
    assert "ledger" in refused.get_json()["error"]["message"]
    assert sum(record.name == "dragoman.ledger" for record in caplog.records) == 1


def test_tokens_are_counted_with_the_history(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply(chat_answer("a1")))
    first = answer_of(ask(client, "many words " * 50))["id"]

    def count(**more: Any) -> Any:
        return client.ask("/v1/responses/input_tokens", {"model": "chat/m", "input": "q", **more}).get_json()

    alone, together = count(), count(previous_response_id=first)

    assert alone["object"] == "response.input_tokens"
    assert 0 < alone["input_tokens"] < together["input_tokens"] - 90


def test_tokens_are_counted_by_an_upstream_that_can(with_native: Any, upstream: FakeUpstream) -> None:
    client = with_native()
    upstream.script(json_reply({"object": "response.input_tokens", "input_tokens": 42}))

    counted = client.ask("/responses/input_tokens", {"model": "native/m", "input": "q"})

    assert counted.get_json() == {"object": "response.input_tokens", "input_tokens": 42}
    assert upstream.seen[0].path == "/v1/responses/input_tokens"
