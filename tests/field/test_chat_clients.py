"""Requests as clients of Chat Completions spell them."""

from __future__ import annotations

from typing import Any

import pytest

from app.conversation.blocks import DialectName
from app.settings import RouteSettings
from tests.field.asking import SCHEMA
from tests.field.pairs import chat_reply
from tests.field.translating import CHAT, MESSAGES, RESPONSES, answer, send
from tests.field.translating import upstream as translated
from tests.gateway.conftest import Client, MakeClient
from tests.support.fake_upstream import FakeUpstream, json_reply

ASKED: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}]}
DEPLOYMENT = "/openai/deployments/fast/chat/completions?api-version=2024-10-21"


@pytest.mark.parametrize("named", [{}, {"model": ""}, {"model": None}, {"model": "other"}])
def test_the_path_of_azure_names_the_model_if_the_body_does_not(
    make_client: MakeClient, upstream: FakeUpstream, named: dict[str, Any]
) -> None:
    routes = {"fast": RouteSettings(targets=("chat/quick",)), "other": RouteSettings(targets=("chat/another",))}
    upstream.script(json_reply(chat_reply({"content": "t"})))

    response = make_client(models={"routes": routes}).ask(DEPLOYMENT, ASKED | named)

    assert response.status_code == 200
    assert [seen.json()["model"] for seen in upstream.seen] == ["another" if named.get("model") else "quick"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"model":1}', b'{"messages":[]}'])
def test_a_body_that_is_none_is_refused_on_the_path_of_azure_too(client: Client, body: bytes) -> None:
    assert client.ask(DEPLOYMENT, body).status_code in (400, 404)


@pytest.mark.parametrize("spelling", ["Model", "MODEL", "mOdel", "\\u004dodel"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
def test_a_model_under_another_spelling_never_reaches_a_server_that_reads_it(
    client: Client, upstream: FakeUpstream, path: str, spelling: str
) -> None:
    """Servers in Go read names of fields in any case, and the last one counts."""
    body = b'{"model":"chat/m","messages":[{"role":"user","content":"hi"}],"%b":"dear"}' % spelling.encode()

    response = client.ask(path, body)

    assert response.status_code == 400
    assert "in small letters" in response.json["error"]["message"]
    assert upstream.seen == []


NAMES = ("input_schema", "inputSchema", "parametersJsonSchema", "parameters_json_schema",
         "args_schema", "argsSchema", "json_schema", "jsonSchema", "schema")  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("path", "model"),
    [("/v1/chat/completions", "chat/m"), ("/v1/chat/completions", "messages/m"), ("/v1/messages", "chat/m"),
     ("/v1/responses", "responses/m"), ("/v1/responses", "chat/m")],
)  # fmt: skip
def test_a_tools_schema_is_found_under_any_name(
    every: Client, upstream: FakeUpstream, path: str, model: str, name: str
) -> None:
    function = {"name": "f", "description": "d", name: SCHEMA}
    tool = {"type": "function", "function": function} if "chat" in path else {"type": "function", **function}
    turns = {"input": "hi", "store": False} if "responses" in path else ASKED | {"max_tokens": 9}

    every.ask(path, turns | {"model": model, "tools": [tool]})

    sent = next(seen.json() for seen in upstream.seen if seen.body)["tools"][0]
    sent = sent.get("function", sent)
    assert sent.get("parameters", sent.get("input_schema"))["properties"] == SCHEMA["properties"]


USER = [{"role": "user", "content": "hi"}]
NONE_ASKED: list[dict[str, Any]] = [
    {"frequency_penalty": 0},
    {"presence_penalty": 0.0},
    {"logit_bias": {}},
    {"top_k": -1},
    {"min_p": 0.0, "top_a": 0, "typical_p": 1.0, "repetition_penalty": 1.0},
]


@pytest.mark.parametrize("sliders", NONE_ASKED, ids=str)
@pytest.mark.parametrize("to", [MESSAGES, RESPONSES])
def test_a_setting_that_asks_for_nothing_is_no_loss(sliders: dict[str, Any], to: DialectName) -> None:
    """Programs with a page of sliders send them all; a strict route refused them."""
    asked, losses = send(CHAT, {"messages": USER, **sliders}, translated(to))

    assert [loss for loss in losses if loss.severity != "ignorable"] == []
    assert asked.keys().isdisjoint(sliders)


def test_a_schema_beside_json_object_is_kept() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}

    asked, _ = send(
        CHAT, {"messages": USER, "response_format": {"type": "json_object", "schema": schema}}, translated(RESPONSES)
    )

    assert asked["text"]["format"]["type"] == "json_schema"
    assert asked["text"]["format"]["schema"]["properties"] == schema["properties"]


@pytest.mark.parametrize("said", [{"enable_thinking": True}, {"thinking": True}])
def test_a_template_that_shall_think_means_the_model(said: dict[str, Any]) -> None:
    asked, _ = send(CHAT, {"messages": USER, "chat_template_kwargs": said}, translated(MESSAGES))

    assert asked["thinking"]["type"] == "enabled"


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        ('{"x":"a\nb"}', {"x": "a\nb"}),
        ('{\n\t"x": "a\\"\r\x01"\n}', {"x": 'a"\r\x01'}),
        ('{"x":"a\nb"', {"_raw": '{"x":"a\nb"'}),
        ('{"x":NaN}', {"_raw": '{"x":NaN}'}),
    ],
)
def test_line_breaks_in_arguments_are_read_as_they_are_meant(arguments: str, meant: dict[str, Any]) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    history = [
        *USER,
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "r"},
    ]
    reply = chat_reply({"content": None, "tool_calls": [call]}, "tool_calls")

    asked, _ = send(CHAT, {"messages": history}, translated(MESSAGES))
    told = answer(MESSAGES, {"messages": USER}, translated(CHAT), reply, stream=False)

    assert asked["messages"][1]["content"][0]["input"] == meant
    assert told["content"][0]["input"] == meant
