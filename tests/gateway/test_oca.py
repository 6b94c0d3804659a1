"""Oracle Code Assist through the gateway: embeddings, and reasoning as its catalogue offers it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.gateway.conftest import Client, MakeClient
from tests.support.answers import chat_stream
from tests.support.fake_upstream import FakeUpstream, Reply, json_reply

CATALOGUE = json_reply(
    {
        "data": [
            {
                "litellm_params": {"model": "oca/thinker"},
                "model_info": {"is_reasoning_model": True, "reasoning_effort_options": ["low", "high"]},
            },
            {"litellm_params": {"model": "oca/gpt-4.1"}, "model_info": {"reasoning_effort_options": ["low", "medium"]}},
            {"litellm_params": {"model": "oca/plain"}, "model_info": {"is_reasoning_model": False}},
            {"litellm_params": {"model": "oca/bare"}, "model_info": {"reasoning_effort_options": []}},
            {"litellm_params": {"model": "oca/silent"}, "model_info": {}},
        ]
    }
)
VECTORS = {
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.5, -1.0]}],
    "model": "e",
    "usage": {"prompt_tokens": 2, "total_tokens": 2},
}


@pytest.fixture
def oca(make_client: MakeClient, upstream: FakeUpstream) -> Client:
    return make_client(oca={"kind": "oca", "base_url": f"{upstream.url}/litellm", "access_token": "token"})


def sent(upstream: FakeUpstream, path: str) -> dict[str, Any]:
    body = next(json.loads(seen.body) for seen in upstream.seen if seen.path == path)
    assert isinstance(body, dict)
    return body


# What is asked for, and what goes up: never a word that the catalogue does not offer.
EFFORTS = {
    "offered": ("oca/thinker", "high", "high"),
    "between two that are offered": ("oca/thinker", "medium", "low"),
    "above all that are offered": ("oca/gpt-4.1", "high", "medium"),
    "a model that does not reason": ("oca/plain", "high", None),
    "a model offered without": ("oca/bare", "high", None),
    "a catalogue that does not say": ("oca/silent", "high", "high"),
}


@pytest.mark.parametrize(("model", "asked", "goes"), EFFORTS.values(), ids=EFFORTS)
def test_an_effort_is_sent_as_the_catalogue_offers_it(
    oca: Client, upstream: FakeUpstream, model: str, asked: str, goes: str | None
) -> None:
    upstream.script(CATALOGUE, chat_stream("hello"))

    answer = oca.message(model, thinking={"type": "adaptive"}, output_config={"effort": asked})

    assert answer.status_code == 200, answer.text
    assert sent(upstream, "/litellm/chat/completions").get("reasoning_effort") == goes


def test_embeddings_go_up_as_they_are(oca: Client, upstream: FakeUpstream) -> None:
    upstream.script(CATALOGUE, json_reply(VECTORS))

    answer = oca.ask("/v1/embeddings", {"model": "oca/embedder", "input": ["hi"], "dimensions": 2})

    assert answer.status_code == 200, answer.text
    assert answer.get_json()["data"][0]["embedding"] == [0.5, -1.0]
    body = sent(upstream, "/litellm/embeddings")
    assert (body["model"], body["input"], body["dimensions"]) == ("oca/embedder", ["hi"], 2)
    asked = next(seen for seen in upstream.seen if seen.path == "/litellm/embeddings")
    assert asked.headers["authorization"] == "Bearer token"
    assert asked.headers["accept"] == "application/json"


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (json_reply({"data": []}), "its list of models is empty: the account has no access; ask whether"),
        (json_reply({"code": "NotAuthorizedOrNotFound"}, 403), "HTTP 403 (the account has no access; ask whether"),
        (json_reply({}, 502), "Oracle error: 502: it answered the request for its list of models with HTTP 502"),
    ],
)
def test_a_catalogue_without_models_says_why(oca: Client, upstream: FakeUpstream, reply: Reply, said: str) -> None:
    upstream.script(reply)

    oca.http.get("/v1/models")

    assert said in oca.app.runtime.services.listing.problems()["oca"]
