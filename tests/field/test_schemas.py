"""Tools and formats that servers refuse, and that they come through all the same: in the keywords, the names and the
number that the server takes.

Each case names where it was reported: the repository and the number of the issue or the pull request.
"""

# ruff: noqa: E501 - one case a line
from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from app.conversation.blocks import DialectName
from tests.field.asking import called, every_client, forced, saying, tool
from tests.field.pairs import GOOD, ask, chat_reply
from tests.field.translating import CHAT, LETTERS, MESSAGES, RESPONSES, send, texts, upstream
from tests.gateway.conftest import Client, MakeClient
from tests.support.fake_upstream import FakeUpstream, json_reply

Schema = dict[str, Any]


def tools(dialect: str, schema: Schema, *names: str) -> list[Any]:
    return [tool(dialect, name, schema) for name in names]


def in_format(dialect: str, schema: Schema) -> dict[str, Any]:
    match dialect:
        case "A":
            return {"output_config": {"format": {"type": "json_schema", "schema": schema}}}
        case "C":
            return {"response_format": {"type": "json_schema", "json_schema": {"name": "out", "schema": schema}}}
        case _:
            return {"text": {"format": {"type": "json_schema", "name": "out", "schema": schema}}}


def object_of(**properties: Any) -> Schema:
    return {"type": "object", "properties": properties}


def parts_of(schema: Any, path: str = "root") -> Iterator[tuple[str, Schema]]:
    """The schema and all schemas within it, with where they stand."""
    if not isinstance(schema, dict):
        return
    yield path, schema
    for word in ("properties", "$defs", "definitions", "patternProperties"):
        for name, part in (schema.get(word) or {}).items():
            yield from parts_of(part, f"{path}.{word}.{name}")
    for word in ("anyOf", "oneOf", "allOf", "prefixItems"):
        for number, part in enumerate(schema.get(word) or []):
            yield from parts_of(part, f"{path}.{word}.{number}")
    for word in ("items", "additionalProperties", "not"):
        yield from parts_of(schema.get(word), f"{path}.{word}")


def moonshot(schema: Schema) -> list[str]:
    """What Moonshot complains of, in the words of the reports."""
    wrong = [] if schema.get("type") == "object" else ["type is required and must be object"]
    for path, part in parts_of(schema):
        if "anyOf" in part and "type" in part:
            wrong.append(
                f"At path '{path}': when using anyOf, type should be defined in anyOf items instead of the parent schema"
            )
        if "$ref" in part:
            wrong.append(f"At path '{path}.$ref': references must start with #/$defs/")
        if isinstance(part.get("items"), list):
            wrong.append(f"At path '{path}': items must be an object")
        if any(word in part for word in ("oneOf", "allOf", "prefixItems", "nullable", "const")):
            wrong.append(f"At path '{path}': unknown keyword")
        kinds = {type(value) for value in part.get("enum", [])}
        if len(kinds) > 1 or kinds - {str, int, float}:
            wrong.append(f"At path '{path}': enum values must be of one type")
        if isinstance(part.get("type"), list):
            wrong.append(f"At path '{path}': type must be a string")
        if "properties" in part and set(part.get("required", [])) - set(part["properties"]):
            wrong.append(f"At path '{path}': required property is not defined")
    return wrong


PARAMS = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
MOONSHOT = {
    "anomalyco/opencode#39995 a reference": {**object_of(a={"$ref": "#/components/schemas/Foo"}), "components": {"schemas": {"Foo": PARAMS}}},
    "anomalyco/opencode#39995 a list of items": object_of(a={"type": "array", "items": [{"type": "string"}, {"type": "number"}]}),
    "MoonshotAI/kimi-cli#2061 words beside a reference": {**object_of(a={"$ref": "#/$defs/P", "description": "the asset"}), "$defs": {"P": {**PARAMS, "description": "P"}}},
    "CommandCodeAI/command-code#566 definitions": {**object_of(external={"$ref": "#/$defs/P", "description": "External actor"}), "$defs": {"P": PARAMS}},
    "CommandCodeAI/command-code#594 another root": {**object_of(a={"$ref": "#/definitions/P"}), "definitions": {"P": PARAMS}},
    "router-for-me/CLIProxyAPI#5316 a type beside a reference": {**object_of(a={"$ref": "#/$defs/v", "type": "object"}), "$defs": {"v": PARAMS}},
    "FTShare-Lab/FTShare-MCP#7 a union at the root": {**object_of(code={"type": "string"}, year={"type": "integer"}), "anyOf": [{"required": ["code"]}, {"required": ["year"]}]},
    "openJiuwen-ai/jiuwenswarm#3942 a type beside a union": object_of(options={"type": "array", "anyOf": [{"items": {"type": "string"}}, {"items": {"type": "number"}}]}),
    "yilewang/llm-for-zotero#416": object_of(target={"type": "object", "anyOf": [{"properties": {"id": {"type": "string"}}}, {"properties": {"n": {"type": "integer"}}}]}),
    "NousResearch/hermes-agent#18271 null in a list of values": object_of(db={"anyOf": [{"enum": ["mysql", None]}, {"type": "null"}], "nullable": True}),
    "NousResearch/hermes-agent#28772 several types": object_of(a={"type": ["number", "string"]}, b={"type": ["string", "null"], "enum": ["x", None]}),
    "NousResearch/hermes-agent#68273 variants at the root": {"oneOf": [object_of(a={"type": "string"}), object_of(b={"type": "string"})]},
    "vercel/ai#18921 what is required and not there": {**object_of(a={"type": "string"}), "required": ["a", "gone"]},
    "14790897/MiqroForge-Desktop#1165 no type at the root": {"properties": {"a": {"type": "string"}}},
    "MoonshotAI/kimi-code#830 values of two types": object_of(a={"enum": ["auto", 1, True]}, b={"const": "x"}, c={"prefixItems": [{"type": "string"}], "type": "array"}),
    "a schema that contains itself": {**object_of(a={"$ref": "#/$defs/N"}), "$defs": {"N": object_of(next={"$ref": "#/$defs/N"})}},
}  # fmt: skip


@every_client
@pytest.mark.parametrize("to", [{"profile": "kimi"}, {}], ids=["kimi", "a name of it"])
def test_moonshot_takes_the_schemas_of_tools(make_client: MakeClient, upstream: FakeUpstream, dialect: str, to: dict[str, Any]) -> None:  # fmt: skip
    client = make_client(chat=to)
    upstream.script(GOOD)
    wrong = {}
    for name, schema in MOONSHOT.items():
        told = ask(client, dialect, "chat/kimi-k3", tools=tools(dialect, schema, "f"))
        sent = upstream.seen[-1].json()["tools"][0]["function"]["parameters"]
        assert told.text == "t", name
        if complaints := moonshot(sent):
            wrong[name] = complaints

    assert wrong == {}


SERVERS_SAY = {
    "ogx-ai/ogx#3004": ({"error": {"message": "Invalid schema for function 'f': In context=('properties', 'a'), array schema missing items.", "type": "invalid_request_error", "param": "tools[0].function.parameters", "code": "invalid_function_parameters"}},
                        object_of(a={"type": "array"}), lambda part: part.get("type") != "array" or "items" in part),
    "github/copilot-cli#2223": ({"error": {"message": "Invalid schema for function 'f': In context=('properties', 'a'), object schema missing properties.", "code": "invalid_request_body"}},
                                object_of(a={"type": "object"}), lambda part: part.get("type") != "object" or "properties" in part),
    "openclaw/openclaw#32080": ({"error": {"message": "Invalid arguments passed to the model: tools[0].function.parameters: minLength is not supported"}},
                                object_of(a={"type": "string", "minLength": 1}), lambda part: "minLength" not in part),
    "cyanheads/git-mcp-server#47": ({"error": {"message": "tools.0.function.parameters: unknown keyword '$ref'"}},
                                    {**object_of(a={"$ref": "#/$defs/P"}), "$defs": {"P": PARAMS}}, lambda part: "$ref" not in part),
    "kaitranntt/ccs": ({"error": {"code": 400, "message": "* GenerateContentRequest.tools[0].function_declarations[0].parameters.properties[a].any_of: schema didn't specify the schema type field", "status": "INVALID_ARGUMENT"}},
                       object_of(a={"oneOf": [{"type": "string"}, {"type": "number"}]}), lambda part: "oneOf" not in part),
    "router-for-me/CLIProxyAPI#5316 unnamed": ({"error": {"message": "tools.function.parameters is not a valid moonshot flavored json schema, details: <At path '$defs.v': when using $ref, type should be defined in the referenced schema>"}},
                                               {**object_of(a={"$ref": "#/$defs/P", "type": "object"}), "$defs": {"P": PARAMS}}, lambda part: "$ref" not in part),
}  # fmt: skip


@every_client
def test_a_schema_that_a_server_complains_of_is_said_in_plain_keywords(client: Client, upstream: FakeUpstream, dialect: str) -> None:  # fmt: skip
    for number, (name, (refusal, schema, is_right)) in enumerate(SERVERS_SAY.items()):
        upstream.seen.clear()
        upstream.script(json_reply(refusal, 400), GOOD)

        told = ask(client, dialect, f"chat/m{number}", tools=tools(dialect, schema, "f"))

        assert (told.status, told.text) == (200, "t"), (name, told)
        sent = upstream.seen[-1].json()["tools"][0]["function"]["parameters"]
        assert all(is_right(part) for _, part in parts_of(sent)), (name, sent)


XAI_REFUSES = ("minLength", "maxLength", "minItems", "maxItems", "minContains", "maxContains")


@every_client
def test_lengths_are_told_to_grok_in_words(make_client: MakeClient, upstream: FakeUpstream, dialect: str) -> None:
    """openclaw/openclaw#32080."""
    client = make_client(chat={"profile": "xai"})
    upstream.script(GOOD)
    schema = object_of(
        a={"type": "string", "minLength": 1, "maxLength": 40},
        b={"type": "array", "items": {"type": "string"}, "maxItems": 3},
    )

    ask(client, dialect, "chat/grok-4.6", tools=tools(dialect, schema, "f"))

    sent = upstream.seen[-1].json()["tools"][0]["function"]["parameters"]
    assert not [path for path, part in parts_of(sent) for word in XAI_REFUSES if word in part]
    assert "maxLength: 40" in json.dumps(sent)


@every_client
@pytest.mark.parametrize(
    ("profile", "model", "maximum"),
    [("groq", "m", 128), ("copilot", "gpt-5-1", 128), ("openai", "gpt-4.1", 128), ("xai", "grok-4.6", 200)],
)
def test_no_more_tools_are_sent_than_the_server_takes(make_client: MakeClient, upstream: FakeUpstream, dialect: str, profile: str, model: str, maximum: int) -> None:  # fmt: skip
    """HunorLaczko/ha-groq-cloud-api#25, anomalyco/opencode#4909, musistudio/claude-code-router#686,
    router-for-me/CLIProxyAPI#5214: those that were called stay."""
    client = make_client(chat={"profile": profile})
    upstream.script(GOOD)
    names = [f"t{number}" for number in range(maximum + 40)]
    past = called(dialect, name=names[-1])

    told = ask(client, dialect, f"chat/{model}", tools=tools(dialect, PARAMS, *names), **saying(dialect, past))

    assert told.text == "t"
    sent = [tool["function"]["name"] for tool in upstream.seen[-1].json()["tools"]]
    assert sent == [*names[: maximum - 1], names[-1]]


TOO_MANY = {
    "HybridAIOne/hybridclaw#1534": "Invalid 'tools': array too long. Expected an array with maximum length 3, but got an array with length 5 instead.",
    "gsd-build/gsd-2#4376": "'tools' : maximum number of items is 3",
}


@every_client
@pytest.mark.parametrize("said", TOO_MANY.values(), ids=TOO_MANY)
def test_a_server_that_says_how_many_tools_it_takes_gets_so_many(client: Client, upstream: FakeUpstream, dialect: str, said: str) -> None:  # fmt: skip
    upstream.script(json_reply({"error": {"message": said, "param": "tools"}}, 400), GOOD)

    told = ask(client, dialect, "chat/m", tools=tools(dialect, PARAMS, "a", "b", "c", "d", "e"))

    assert told.text == "t"
    assert len(upstream.seen[-1].json()["tools"]) == 3


@every_client
@pytest.mark.parametrize(
    "name", ["1tool", "-x", "get.weather", "tool/with/slashes", "mcp__srv__" + "x" * 70, "werkzeug_ü"]
)
def test_names_of_tools_begin_with_a_letter(make_client: MakeClient, upstream: FakeUpstream, dialect: str, name: str) -> None:  # fmt: skip
    """kaitranntt/ccs#25, cline/cline#7339: Gemini; the client's name comes back with the call."""
    client = make_client(chat={"profile": "gemini"})
    upstream.script(GOOD)
    ask(client, dialect, "chat/gemini-3-pro", tools=tools(dialect, PARAMS, name))
    sent = upstream.seen[-1].json()["tools"][0]["function"]["name"]
    upstream.script(
        json_reply(
            chat_reply(
                {"tool_calls": [{"id": "c", "type": "function", "function": {"name": sent, "arguments": "{}"}}]},
                "tool_calls",
            )
        )
    )

    told = ask(client, dialect, "chat/gemini-3-pro", tools=tools(dialect, PARAMS, name))

    assert re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_-]{0,63}", sent)
    assert told.calls == [(name, {})]


@every_client
def test_gemini_gets_arrays_of_something_and_values_that_are_texts(make_client: MakeClient, upstream: FakeUpstream, dialect: str) -> None:  # fmt: skip
    """cline/cline#7339: `items: missing field`; numbers and empty texts as values, and what is required and not there."""
    client = make_client(chat={"profile": "gemini"})
    upstream.script(GOOD)
    schema = {
        **object_of(
            a={"type": "array"}, b={"type": "integer", "enum": [1, 2]}, c={"type": "string", "enum": ["", "x"]}
        ),
        "required": ["a", "gone"],
    }

    ask(client, dialect, "chat/gemini-3-pro", tools=tools(dialect, schema, "f"))

    sent = upstream.seen[-1].json()["tools"][0]["function"]["parameters"]
    assert sent["properties"]["a"]["items"] == {"type": "string"}
    assert sent["properties"]["b"] == {"type": "integer"}
    assert sent["properties"]["c"]["enum"] == ["x"]
    assert sent["required"] == ["a"]


@every_client
@pytest.mark.parametrize("profile", ["cerebras", "groq"])
def test_formats_are_closed_and_plain_where_the_server_wants_it(make_client: MakeClient, upstream: FakeUpstream, dialect: str, profile: str) -> None:  # fmt: skip
    """agno-agi/agno#6014 (Cerebras: "'additionalProperties' is required to be supplied and set to false"),
    i-am-bee/beeai-framework#1215 (Groq: "minItems is not supported")."""
    client = make_client(chat={"profile": profile})
    upstream.script(json_reply(chat_reply({"content": '{"a":[]}'})))
    schema = object_of(a={"type": "array", "items": PARAMS, "minItems": 1})

    told = ask(client, dialect, "chat/m", **in_format(dialect, schema))

    assert told.text == '{"a":[]}'
    sent = upstream.seen[-1].json()["response_format"]["json_schema"]
    assert sent["name"]
    assert all(
        part.get("additionalProperties") is False
        for _, part in parts_of(sent["schema"])
        if part.get("type") == "object"
    )
    assert not [path for path, part in parts_of(sent["schema"]) if "minItems" in part]


@every_client
def test_a_format_that_a_server_complains_of_is_said_in_plain_keywords(client: Client, upstream: FakeUpstream, dialect: str) -> None:  # fmt: skip
    """i-am-bee/beeai-framework#1215 and agno-agi/agno#6013, from a server that nobody knows."""
    for number, message in enumerate(("invalid schema for response format: response_format/json_schema/a: minItems is not supported",
                                      "'additionalProperties' is required to be supplied and set to false.")):  # fmt: skip
        upstream.seen.clear()
        refusal = {"error": {"message": message, "type": "invalid_request_error", "param": "response_format"}}
        upstream.script(json_reply(refusal, 400), json_reply(chat_reply({"content": '{"a":[]}'})))

        told = ask(
            client,
            dialect,
            f"chat/m{number}",
            **in_format(dialect, object_of(a={"type": "array", "items": PARAMS, "minItems": 1})),
        )

        assert told.text == '{"a":[]}', told
        sent = upstream.seen[-1].json()["response_format"]["json_schema"]["schema"]
        assert not [path for path, part in parts_of(sent) if "minItems" in part]
        assert sent["additionalProperties"] is False


@every_client
@pytest.mark.parametrize("choice", ["required", "named"])
def test_zai_is_asked_for_a_call_in_words(make_client: MakeClient, upstream: FakeUpstream, dialect: str, choice: str) -> None:  # fmt: skip
    """vectorize-io/hindsight#4246: "Tool choice must be auto"."""
    client = make_client(chat={"profile": "glm"})
    upstream.script(GOOD)
    required = {"type": "any"} if dialect == "A" else "required"

    ask(client, dialect, "chat/glm-5.2", tool_choice=required if choice == "required" else forced(dialect))

    assert upstream.seen[-1].json().get("tool_choice", "auto") == "auto"


@pytest.mark.parametrize("client", [MESSAGES, CHAT, RESPONSES])
@pytest.mark.parametrize("to", [MESSAGES, CHAT, RESPONSES])
def test_keywords_of_formats_that_are_null_are_left_out(client: DialectName, to: DialectName) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "enum": None, "description": None}},
              "required": ["a"], "title": None, "additionalProperties": False}  # fmt: skip
    question = {"role": "user", "content": "q"}
    body = {"input": [question]} if client == RESPONSES else {"messages": [question]}

    asked, _ = send(client, {**body, **in_format(LETTERS[client], schema)}, upstream(to))

    assert "null" not in texts(asked.get("text") or asked.get("response_format") or asked.get("output_config"))
