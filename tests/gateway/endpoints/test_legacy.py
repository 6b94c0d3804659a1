"""The older endpoints of the OpenAI family, compaction, and several answers to one request."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest

from tests.gateway.conftest import Client, MakeClient, events_of
from tests.support.answers import chat_answer, message, message_events, named, unnamed
from tests.support.fake_upstream import FakeUpstream, Reply, json_reply, sse


def completion(*texts: str) -> dict[str, Any]:
    choices = [{"index": n, "text": t, "logprobs": None, "finish_reason": "stop"} for n, t in enumerate(texts)]
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    return {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m", "choices": choices, "usage": usage}


def complete(client: Client, model: str = "messages/m", **more: Any) -> Any:
    return client.ask("/v1/completions", {"model": model, "prompt": "Once", **more})


@pytest.fixture
def message_stream() -> Reply:
    thought = {"type": "thinking", "thinking": "SECRET", "signature": ""}
    return sse(*named(*message_events(message(thought, "upon ", "a time", stop_reason="max_tokens"))))


def test_a_completion_passes_to_an_upstream_that_has_them(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply(completion("a", "b")))
    body = b'{"model": "chat/m", "prompt": [[1, 2], [3]], "suffix": "x", "logprobs":2, "best_of": 3}'

    response = client.ask("/v1/completions", body)

    assert upstream.seen[0].path == "/v1/completions"
    assert upstream.seen[0].body == body.replace(b"chat/m", b"m")
    assert response.get_json() == {**completion("a", "b"), "model": "chat/m"}


def test_a_stream_of_completions_passes(client: Client, upstream: FakeUpstream) -> None:
    first = {**completion(), "choices": [{"index": 0, "text": "a", "logprobs": None, "finish_reason": None}]}
    upstream.script(sse(*unnamed(first, completion("b"), "[DONE]")))

    events = events_of(complete(client, "chat/m", stream=True))

    assert events == [{**first, "model": "chat/m"}, {**completion("b"), "model": "chat/m"}, "[DONE]"]


def test_a_stream_of_completions_that_is_cut_ends_with_an_error(client: Client, upstream: FakeUpstream) -> None:
    first = {**completion(), "choices": [{"index": 0, "text": "a", "logprobs": None, "finish_reason": None}]}
    upstream.script(sse(*unnamed(first)))

    events = events_of(complete(client, "chat/m", stream=True))

    assert "error" in events[-1]


def test_a_model_that_only_chats_is_asked_in_a_chat(client: Client, upstream: FakeUpstream) -> None:
    refused = {"error": {"message": "This is a chat model", "type": "invalid_request_error", "param": "model"}}
    upstream.script(json_reply(refused, 404), json_reply(chat_answer("upon a time")))

    response = complete(client, "chat/m")

    assert [seen.path for seen in upstream.seen] == ["/v1/completions", "/v1/chat/completions"]
    assert response.get_json()["choices"][0]["text"] == "upon a time"


def test_a_model_that_only_chats_is_soon_asked_in_a_chat_at_once(client: Client, upstream: FakeUpstream) -> None:
    refused = json_reply({"error": {"message": "This is a chat model", "type": "invalid_request_error"}}, 404)
    upstream.script(*[refused, json_reply(chat_answer("upon a time"))] * 3)
    for _ in range(3):
        complete(client, "chat/m")
    upstream.seen.clear()

    response = complete(client, "chat/m", prompt=["Once", "Twice"])

    assert [seen.path for seen in upstream.seen] == ["/v1/chat/completions"] * 2
    assert len(response.get_json()["choices"]) == 2


def test_a_prompt_is_a_users_message_where_nothing_completes_text(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply(message("upon a time", stop_reason="max_tokens")))

    answer = complete(client, temperature=0.5, stop="END", user="u").get_json()

    sent = upstream.seen[0].json()
    assert sent["messages"] == [{"role": "user", "content": "Once"}]
    assert (sent["max_tokens"], sent["stop_sequences"]) == (16, ["END"])
    assert "system" not in sent
    assert answer.pop("id").startswith("cmpl-")
    assert answer.pop("created") > 0
    usage = answer.pop("usage")
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (11, 7, 18)
    assert answer == {
        "object": "text_completion",
        "model": "messages/m",
        "choices": [{"index": 0, "text": "upon a time", "logprobs": None, "finish_reason": "length"}],
    }


def test_a_bridged_stream_says_what_is_said_and_nothing_else(
    client: Client, upstream: FakeUpstream, message_stream: Reply
) -> None:
    upstream.script(message_stream)

    response = complete(client, stream=True, echo=True, stream_options={"include_usage": True})

    events = events_of(response)
    assert events[-1] == "[DONE]"
    chunks = events[:-1]
    assert [c["choices"][0]["text"] for c in chunks[:-1]] == ["Once", "upon ", "a time", ""]
    assert [c["choices"][0]["finish_reason"] for c in chunks[:-1]] == [None, None, None, "length"]
    assert (chunks[-1]["choices"], chunks[-1]["usage"]["total_tokens"]) == ([], 18)
    assert len({c["id"] for c in chunks}) == 1
    assert "SECRET" not in response.text


def test_several_prompts_and_several_answers_are_asked_one_by_one(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(*(json_reply(message(text)) for text in "abcd"))

    answer = complete(client, prompt=["one", "two"], n=2).get_json()

    prompts = sorted(seen.json()["messages"][0]["content"] for seen in upstream.seen)
    assert prompts == ["one", "one", "two", "two"]
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
    assert sorted(choice["text"] for choice in answer["choices"]) == ["a", "b", "c", "d"]
    assert answer["usage"]["total_tokens"] == 4 * 18


def test_several_prompts_can_be_streamed(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply(message("a")))

    events = events_of(complete(client, prompt=["one", "two"], stream=True))

    told = [(c["choices"][0]["index"], c["choices"][0]["text"], c["choices"][0]["finish_reason"]) for c in events[:-1]]
    assert told == [(0, "a", None), (0, "", "stop"), (1, "a", None), (1, "", "stop")]
    assert events[-1] == "[DONE]"


def test_a_prompt_that_fails_is_the_whole_answer(client: Client, upstream: FakeUpstream) -> None:
    refused = {"type": "error", "error": {"type": "invalid_request_error", "message": "no"}}
    upstream.script(json_reply(refused, 400))

    response = complete(client, prompt=["one", "two", "three"])

    assert response.status_code == 400
    assert response.get_json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": [[1], [2]]}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"prompt": ["x"] * 17}, "prompt"),
        ({"suffix": "x"}, "suffix"),
        ({"logprobs": 1}, "logprobs"),
        ({"best_of": 2}, "best_of"),
        ({"n": 0}, "n"),
        ({"temperature": "hot"}, "temperature"),
    ],
)
def test_what_cannot_be_asked_of_a_chat_is_refused(
    client: Client, upstream: FakeUpstream, more: dict[str, Any], param: str
) -> None:
    response = complete(client, **more)

    assert response.status_code == 400, response.text
    assert response.get_json()["error"]["param"] == param
    assert upstream.seen == []


def embed(client: Client, model: str = "chat/m", **more: Any) -> Any:
    return client.ask("/v1/embeddings", {"model": model, "input": ["a", "b"], **more})


def embeddings(*values: Any) -> dict[str, Any]:
    data = [{"object": "embedding", "index": n, "embedding": value} for n, value in enumerate(values)]
    return {"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": 2, "total_tokens": 2}}


def pack(*values: float) -> str:
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()


def test_embeddings_pass_with_the_name_of_the_model_changed(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply(embeddings([0.1, 1e-9], [0.25, -1.5])))
    body = b'{"input": [[1, 2], [3]], "model": "chat/m", "dimensions": 2, "input_type": "query"}'

    response = client.ask("/embeddings", body)

    assert upstream.seen[0].path == "/v1/embeddings"
    assert upstream.seen[0].body == body.replace(b"chat/m", b"m")
    assert response.get_json() == {**embeddings([0.1, 1e-9], [0.25, -1.5]), "model": "chat/m"}


@pytest.mark.parametrize("base_url", ["/v1", "/v1/chat/completions"])
def test_embeddings_are_found_beside_the_chat(make_client: MakeClient, upstream: FakeUpstream, base_url: str) -> None:
    client = make_client(chat={"base_url": upstream.url + base_url})
    upstream.script(json_reply(embeddings([0.5])))

    embed(client)

    assert upstream.seen[0].path == "/v1/embeddings"


@pytest.mark.parametrize(
    ("wanted", "sent", "given"),
    [
        ("base64", [0.25, -1.5], pack(0.25, -1.5)),
        ("base64", pack(0.25), pack(0.25)),
        ("float", pack(0.25, -1.5), [0.25, -1.5]),
        (None, pack(0.25, -1.5), [0.25, -1.5]),
        (None, [0.25], [0.25]),
    ],
)
def test_embeddings_come_in_the_format_that_was_asked_for(
    client: Client, upstream: FakeUpstream, wanted: str | None, sent: Any, given: Any
) -> None:
    upstream.script(json_reply(embeddings(sent)))

    response = embed(client, **({} if wanted is None else {"encoding_format": wanted}))

    assert [entry["embedding"] for entry in response.get_json()["data"]] == [given]


def test_embeddings_come_in_the_order_of_the_input(client: Client, upstream: FakeUpstream) -> None:
    whole = embeddings([0.0], [1.0], [2.0])
    upstream.script(json_reply({**whole, "data": [whole["data"][n] for n in (2, 0, 1)]}))

    assert [entry["index"] for entry in embed(client).get_json()["data"]] == [0, 1, 2]


def test_a_provider_without_embeddings_says_so(client: Client, upstream: FakeUpstream) -> None:
    response = embed(client, "messages/claude")

    assert response.status_code == 404
    assert (response.get_json()["error"]["code"], response.get_json()["error"]["param"]) == ("model_not_found", "model")
    assert upstream.seen == []


@pytest.mark.parametrize(
    ("more", "param"), [({"input": ""}, "input"), ({"input": None}, "input"), ({"stream": True}, "stream")]
)
def test_embeddings_that_cannot_be_are_refused(
    client: Client, upstream: FakeUpstream, more: dict[str, Any], param: str
) -> None:
    response = embed(client, **more)

    assert response.status_code == 400
    assert response.get_json()["error"]["param"] == param


@pytest.mark.parametrize("reply", [b"nothing", b"{}", b'{"data":[{"embedding":{}}]}', b'{"data":[{"embedding":"*"}]}'])
def test_embeddings_that_cannot_be_read_are_the_upstreams_fault(
    client: Client, upstream: FakeUpstream, reply: bytes
) -> None:
    upstream.script(Reply((reply,), headers={"content-type": "application/json"}))

    assert embed(client).status_code >= 500


def test_several_answers_are_asked_for_one_by_one(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(*(json_reply(message(text)) for text in "abc"))

    answer = client.chat("messages/m", n=3).get_json()

    assert sorted(choice["message"]["content"] for choice in answer["choices"]) == ["a", "b", "c"]
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert answer["usage"]["total_tokens"] == 3 * 18
    assert len(upstream.seen) == 3


def test_several_answers_pass_to_an_upstream_that_can(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply(chat_answer()))

    client.chat(n=3)

    assert upstream.seen[0].json()["n"] == 3
    assert len(upstream.seen) == 1


@pytest.mark.parametrize("more", [{"n": 3, "stream": True}, {"n": 9}])
def test_several_answers_that_cannot_be_made_are_refused(
    client: Client, upstream: FakeUpstream, more: dict[str, Any]
) -> None:
    response = client.chat("messages/m", **more)

    assert response.status_code == 400
    assert response.get_json()["error"]["param"] == "n"
    assert upstream.seen == []


HISTORY = [
    {"type": "message", "role": "user", "content": "q1"},
    {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "c1", "output": "r"},
]


def test_a_history_is_compacted_by_a_summary(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply(chat_answer("the summary")), json_reply(chat_answer("go on")))

    compacted = client.ask("/v1/responses/compact", {"model": "chat/m", "input": HISTORY}).get_json()
    items = [*compacted["output"], {"role": "user", "content": "q2"}]
    client.ask("/v1/responses", {"model": "chat/m", "input": items, "store": False})

    assert compacted["object"] == "response.compaction"
    assert [item["type"] for item in compacted["output"]] == ["message", "compaction"]
    assert compacted["usage"]["input_tokens"] == 11
    asked, after = (seen.json()["messages"] for seen in upstream.seen)
    assert [m["role"] for m in asked] == ["user", "assistant", "tool", "user"]
    assert "the summary" in json.dumps(after)
    assert (after[0], after[-1]) == ({"role": "user", "content": "q1"}, {"role": "user", "content": "q2"})


def test_a_compaction_holds_the_history_that_is_kept_here(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply(chat_answer("a1")), json_reply(chat_answer("the summary")))
    first = client.ask("/v1/responses", {"model": "chat/m", "input": "q1"}).get_json()["id"]

    compacted = client.ask("/v1/responses/compact", {"model": "chat/m", "previous_response_id": first})

    assert [m["content"] for m in upstream.seen[1].json()["messages"]][:2] == ["q1", "a1"]
    assert compacted.get_json()["output"][0]["content"] == "q1"


def test_an_upstream_that_compacts_is_left_to_it(make_client: MakeClient, upstream: FakeUpstream) -> None:
    client = make_client(
        native={"kind": "openai", "dialect": "openai_responses", "base_url": upstream.url, "api_key": "k"}
    )
    answer = {"id": "resp_1", "object": "response.compaction", "created_at": 1, "output": [], "usage": None}
    upstream.script(json_reply(answer))

    compacted = client.ask("/v1/responses/compact", {"model": "native/m", "input": HISTORY})

    assert upstream.seen[0].path == "/v1/responses/compact"
    assert upstream.seen[0].json() == {"model": "m", "input": HISTORY}
    assert compacted.get_json() == answer


def test_a_summary_goes_to_an_upstream_that_cannot_read_our_compaction(
    make_client: MakeClient, upstream: FakeUpstream
) -> None:
    client = make_client(
        native={"kind": "openai", "dialect": "openai_responses", "base_url": upstream.url, "api_key": "k"}
    )
    upstream.script(
        json_reply(chat_answer("the summary")), json_reply({"id": "r", "status": "completed", "output": []})
    )
    compacted = client.ask("/v1/responses/compact", {"model": "chat/m", "input": HISTORY}).get_json()

    client.ask("/v1/responses", {"model": "native/m", "input": compacted["output"]})

    assert "the summary" in upstream.seen[1].json()["input"][-1]["content"][0]["text"]


def test_a_compaction_is_not_streamed(client: Client, upstream: FakeUpstream) -> None:
    response = client.ask("/v1/responses/compact", {"model": "chat/m", "input": HISTORY, "stream": True})

    assert response.status_code == 400
    assert response.get_json()["error"]["param"] == "stream"


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/embeddings", "/v1/responses/compact"])
def test_a_key_is_wanted_here_too(make_client: MakeClient, path: str) -> None:
    client = make_client(server={"api_keys": ("key-a",)})

    response = client.ask(path, {"model": "chat/m", "prompt": "x", "input": "x"})

    assert response.status_code == 401
    assert response.get_json()["error"]["code"] == "invalid_api_key"
