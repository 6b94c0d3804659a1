"""Refusals of a field in the words of many validators, and errors in odd bodies.

Each case names where it was reported: the repository and the number of the issue or the pull request.
"""

# ruff: noqa: E501 - one case a line
from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from tests.field.asking import every_client
from tests.field.pairs import GOOD, ask, whole_reply
from tests.gateway.conftest import Client
from tests.support.fake_upstream import FakeUpstream, Reply, json_reply


def plain(message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, **more}}


EXTRA = {
    "type": "extra_forbidden",
    "loc": ["body", "temperature"],
    "msg": "Extra inputs are not permitted",
    "input": 0.2,
}
# What the server says of `temperature`, with its status.
WORDS: dict[str, tuple[int, Any]] = {
    "editor-code-assistant/eca#231 details within the message": (422, {"object": "error", "message": {"detail": [EXTRA]}, "type": "invalid_request_error", "param": None, "code": None}),
    "mistralai/platform-docs-public#7 as a text": (422, {"object": "error", "message": json.dumps({"detail": [EXTRA]}), "type": "internal_error_proxy", "param": None, "code": "1000"}),
    "partITech/php-mistral#76 twice": (422, {"object": "Error", "detail": [EXTRA], "message": [EXTRA], "type": "invalid_request_error", "code": 3001}),
    "Gitlawb/openclaude#739": (422, {"detail": [EXTRA, {**EXTRA, "loc": ["body", "store"]}]}),
    "ai-dynamo/dynamo#4021": (400, {"message": "Unsupported parameter(s): `temperature`, `documents`", "type": "Bad Request", "code": 400}),
    "embabel/embabel-agent#1724": (400, plain("Unsupported value: 'temperature' does not support 0.2 with this model. Only the default (1) value is supported.")),
    "Yi-luo-hua/BilibiliCrawler#38 a param alone": (400, plain("Unsupported parameter: 'temperature' is not supported with this model.", param="temperature", code=None)),
    "browser-use/jev-ultrafast#37": (400, plain("Unknown parameter: 'temperature'.", code="unknown_parameter")),
    "Gemini": (400, [plain('Invalid JSON payload received. Unknown name "temperature": Cannot find field.', code=400, status="INVALID_ARGUMENT")]),
    "Bedrock": (400, {"message": "Malformed input request: #: extraneous key [temperature] is not permitted, please reformat your input and try again."}),
    "LiteLLM": (400, plain("litellm.UnsupportedParamsError: groq does not support parameters: {'temperature': 0.2}, for model=x.")),
    "watsonx": (400, {"errors": [{"code": "invalid_request_entity", "message": "Json document validation error: 'temperature' is not allowed"}], "trace": "t", "status_code": 400}),
    "Go": (400, plain('json: unknown field "temperature"')),
    "Rust": (422, plain("Failed to deserialize the JSON body into the target type: unknown field `temperature`, expected one of `model`, `messages` at line 1 column 20")),
    "Zod": (400, {"success": False, "error": {"issues": [{"code": "unrecognized_keys", "keys": ["temperature"], "path": [], "message": "Unrecognized key(s) in object: 'temperature'"}], "name": "ZodError"}}),
    "Java": (400, plain('Unrecognized field "temperature" (class Foo), not marked as ignorable')),
    "Pydantic's text": (400, plain("1 validation error for ChatRequest\ntemperature\n  Extra inputs are not permitted [type=extra_forbidden, input_value=0.2]")),
    "a call in Python": (400, plain("Completions.create() got an unexpected keyword argument 'temperature'")),
    "the same as a fault": (500, plain("Completions.create() got an unexpected keyword argument 'temperature'")),
    "Chinese": (400, plain("参数 temperature 不支持")),
    "Chinese the other way": (400, plain("不支持的参数: temperature")),
    "GLM": (400, plain("API 调用参数有误, 请检查文档。temperature 取值范围 (0,1)", code="1210")),
    "a range": (400, plain("temperature must be in (0, 1]")),
    "above": (422, plain("`temperature` must be strictly positive")),
    "between": (400, plain("Invalid value for temperature: must be between 0.5 and 1")),
}  # fmt: skip


@every_client
def test_a_refusal_is_understood_in_the_words_of_any_validator(
    client: Client, upstream: FakeUpstream, dialect: str
) -> None:
    wrong = {}
    for number, (name, (status, body)) in enumerate(WORDS.items()):
        upstream.seen.clear()
        upstream.script(json_reply(body, status), GOOD)

        told = ask(client, dialect, f"chat/m-{number}", temperature=0.2)

        if told.text != "t" or ["temperature" in seen.json() for seen in upstream.seen] != [True, False]:
            wrong[name] = told

    assert wrong == {}


@every_client
def test_thinking_of_the_model_s_own_measure_is_asked_for_with_one(
    every: Client, upstream: FakeUpstream, dialect: str
) -> None:
    for said in (
        "thinking.type: Input should be 'enabled' or 'disabled'",
        "adaptive thinking is not supported on this model",
    ):
        upstream.seen.clear()
        upstream.script(json_reply(plain(said, type="invalid_request_error"), 400), json_reply(whole_reply("A", "t")))
        wish: dict[str, Any] = {
            "A": {"thinking": {"type": "adaptive"}, "max_tokens": 9000},
            "C": {"reasoning_effort": "high"},
            "R": {"reasoning": {"effort": "high"}},
        }[dialect]

        told = ask(every, dialect, "messages/claude-opus-4-8", **wish)

        assert told.text == "t", said
        assert [seen.json()["thinking"]["type"] for seen in upstream.seen] == ["adaptive", "enabled"]


@every_client
@pytest.mark.parametrize("to", ["C", "A"])
def test_stop_sequences_are_as_many_as_a_refusal_says(
    every: Client, upstream: FakeUpstream, dialect: str, to: str
) -> None:
    if dialect == "R":
        return
    upstream.script(json_reply(plain("Too many stop sequences: at most 2"), 400), json_reply(whole_reply(to, "t")))
    stops = {"A": {"stop_sequences": ["a", "b", "c"]}, "C": {"stop": ["a", "b", "c"]}}[dialect]

    told = ask(every, dialect, {"C": "chat/m", "A": "messages/m"}[to], **stops)

    assert told.text == "t"
    name = {"A": "stop_sequences", "C": "stop"}[to]
    assert [len(seen.json()[name]) for seen in upstream.seen] == [3, 2]


BODY = json.dumps(plain("odd trouble", code="context_length_exceeded")).encode()
BODIES = {
    "compressed, and nobody says so": gzip.compress(BODY),
    "an event": b"event: error\ndata: %b\n\n" % BODY,
    "an event without a name": b"data: %b\n\ndata: [DONE]\n\n" % BODY,
    "twice": BODY * 2,
    "with a mark of the byte order": b"\xef\xbb\xbf" + BODY,
    "in Latin 1": BODY.replace(b"odd trouble", "odd trouble caf\xe9".encode("latin-1")),
    "with a line within a text": BODY.replace(b"odd trouble", b"odd trouble\nof two lines"),
}


@every_client
@pytest.mark.parametrize("name", BODIES)
def test_an_error_is_read_in_any_body(client: Client, upstream: FakeUpstream, dialect: str, name: str) -> None:
    upstream.script(Reply((BODIES[name],), 400, {"content-type": "application/json"}))

    told = ask(client, dialect, "chat/m")

    assert "odd trouble" in told.error
    assert "{" not in told.error
    assert "prompt is too long" in told.error if dialect == "A" else told.code == "context_length_exceeded"


@every_client
@pytest.mark.parametrize("mark", [True, 1, "yes"])
def test_an_error_that_is_a_mere_mark_is_explained_beside_it(
    client: Client, upstream: FakeUpstream, dialect: str, mark: Any
) -> None:
    upstream.script(json_reply({"error": mark, "message": "odd trouble"}))

    assert "odd trouble" in ask(client, dialect, "chat/m").error
