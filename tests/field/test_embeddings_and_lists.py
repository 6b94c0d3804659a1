"""Embeddings and lists of models as servers really send them.

Each case names where it was reported: the repository and the number of the issue or the pull request.
"""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest

from tests.gateway.conftest import Client, MakeClient
from tests.support.fake_upstream import FakeUpstream, json_reply

FLOATS = {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.5, 1.0]}], "model": "m"}
PACKED = base64.b64encode(struct.pack("<2f", 0.5, 1.0)).decode()

# stevereiner/flexible-graphrag#17, BerriAI/litellm#38774
REFUSALS = [
    "encoding_format is not supported",
    "litellm.UnsupportedParamsError: bedrock does not support parameters: {'encoding_format': 'base64'}",
    "encoding_format: Input should be 'float'",
    "Invalid encoding_format: base64, only float is supported",
]


@pytest.mark.parametrize("said", REFUSALS)
def test_an_encoding_that_a_server_lacks_is_made_here(client: Client, upstream: FakeUpstream, said: str) -> None:
    upstream.script(json_reply({"error": {"message": said}}, 400), json_reply(FLOATS))

    response = client.ask("/v1/embeddings", {"model": "chat/m", "input": "a", "encoding_format": "base64"})

    assert response.json["data"][0]["embedding"] == PACKED
    assert ["encoding_format" in seen.json() for seen in upstream.seen] == [True, False]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "the field 'model' is required"),
        ({"model": 5, "input": "a"}, "model: expected a string, but got an integer"),
    ],
)
def test_a_fault_of_a_whole_body_is_told_without_an_empty_path(client: Client, body: dict[str, Any], said: str) -> None:
    assert client.ask("/v1/embeddings", body).json["error"]["message"] == said


@pytest.mark.parametrize(("wanted", "embedding"), [("base64", PACKED), ("float", [0.5, 1.0]), (None, [0.5, 1.0])])
@pytest.mark.parametrize("sent", [[0.5, 1.0], PACKED], ids=["floats", "base64"])
def test_an_embedding_has_the_format_that_was_asked_for(
    client: Client, upstream: FakeUpstream, wanted: str | None, embedding: Any, sent: Any
) -> None:
    """lmstudio-ai/lmstudio-bug-tracker#756, api7/aisix#393, agentgateway/agentgateway#1619."""
    upstream.script(json_reply({**FLOATS, "data": [{"index": 0, "embedding": sent}]}))
    more = {} if wanted is None else {"encoding_format": wanted}

    response = client.ask("/v1/embeddings", {"model": "chat/m", "input": "a", **more})

    assert response.json["data"][0]["embedding"] == embedding


@pytest.mark.parametrize("data", [[], [{"index": 0, "embedding": None}], [{"index": 0}]])
def test_no_embedding_is_no_success(client: Client, upstream: FakeUpstream, data: list[Any]) -> None:
    """plastic-labs/honcho#932: OpenRouter has none in base64, and says 200."""
    upstream.script(json_reply({**FLOATS, "data": data}))

    response = client.ask("/v1/embeddings", {"model": "chat/m", "input": "a"})

    assert response.status_code == 502
    assert "no embedding" in response.json["error"]["message"]


def test_a_number_of_dimensions_is_not_left_out(client: Client, upstream: FakeUpstream) -> None:
    said = {"error": {"message": "dimensions is not supported for this model", "param": "dimensions"}}
    upstream.script(json_reply(said, 400), json_reply(FLOATS))

    response = client.ask("/v1/embeddings", {"model": "chat/m", "input": "a", "dimensions": 1})

    assert (response.status_code, len(upstream.seen)) == (400, 1)


# maximhq/bifrost#6711, odysseus-dev/odysseus#2202, abdulmominsakib/localmind#11, jritzi/ocr-extractor#129
LISTS: list[Any] = [
    {"object": "list", "data": [{"id": "a", "object": "model"}, {"id": "b"}]},
    [{"id": "a", "organization": "x", "context_length": 8192}, {"id": "b"}],
    {"models": [{"name": "a"}, {"name": "b"}]},
    {"data": [{"model": "a"}, {"model_name": "b"}]},
    ["a", "b"],
    {"data": ["a", "b"]},
    {"data": {"models": [{"id": "a"}, {"id": "b"}]}},
    {"result": [{"key": "a"}, {"key": "b"}]},
    {"success": True, "data": [None, 7, {}, {"id": "a"}, {"id": ""}, {"id": "b"}]},
]


@pytest.mark.parametrize("listed", LISTS, ids=str)
def test_a_list_of_models_is_read_whatever_its_shape(
    make_client: MakeClient, upstream: FakeUpstream, listed: Any
) -> None:
    upstream.listing = json_reply(listed)
    client = make_client(messages=None)

    models = client.http.get("/v1/models").json["data"]

    assert {"chat/a", "chat/b"} <= {model["id"] for model in models}
