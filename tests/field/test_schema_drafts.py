"""Tools whose schemas are of an older draft, or name types as programming languages do, are declared in the current
one; a vendor that has refused such a request is asked once more with them."""

# ruff: noqa: E501 - one case a line

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from tests.field.asked import read_asked
from tests.field.asking import CLIENTS, UPSTREAMS, every_client, every_upstream, tool
from tests.field.pairs import ask, whole_reply
from tests.gateway.conftest import Client
from tests.support.fake_upstream import FakeUpstream, json_reply

NUMBER = {"type": "number"}
# The schema of the argument `x` as it is given, and as the draft of 2020-12 has it.
ARGUMENTS: dict[str, tuple[Any, Any]] = {
    # Dokploy/mcp#74, invopop/jsonschema#99
    "draft 4: exclusiveMinimum": ({**NUMBER, "minimum": 0, "exclusiveMinimum": True}, {**NUMBER, "exclusiveMinimum": 0}),
    "draft 4: the limit counts": ({**NUMBER, "maximum": 9, "exclusiveMaximum": False}, {**NUMBER, "maximum": 9}),
    "draft 7: items by place": (
        {"type": "array", "items": [NUMBER, {"type": "string"}]},
        {"type": "array", "prefixItems": [NUMBER, {"type": "string"}]},
    ),
    # the words of Gemini, Python and function-calling benchmarks: danny-avila/LibreChat#6971, oracle/langchain-oracle#45
    "Gemini's types": ({"type": "OBJECT", "properties": {"y": {"type": "STRING"}}},
                       {"type": "object", "properties": {"y": {"type": "string"}}}),
    "Python's types": ({"type": "dict", "properties": {"y": {"type": "float"}, "z": {"type": "list", "items": {"type": "str"}}}},
                       {"type": "object", "properties": {"y": NUMBER, "z": {"type": "array", "items": {"type": "string"}}}}),
    "any type": ({"type": "any", "description": "d"}, {"description": "d"}),
    "PHP's empty object": ({"type": "object", "properties": []}, {"type": "object", "properties": {}}),
}  # fmt: skip


@every_client
@every_upstream
@pytest.mark.parametrize("case", ARGUMENTS)
def test_words_of_older_drafts_become_those_of_the_current_one(
    every: Client, upstream: FakeUpstream, dialect: str, to: str, case: str
) -> None:
    given, meant = ARGUMENTS[case]
    refused = json_reply({"error": {"message": "tools.0.custom.input_schema: JSON schema is invalid. It must match JSON "
                                    "Schema draft 2020-12", "type": "invalid_request_error"}}, 400)  # fmt: skip
    good = json_reply(whole_reply(to, "t"))
    upstream.script(*((refused, good) if dialect == to else (good,)))

    told = ask(
        every, dialect, UPSTREAMS[to], tools=[tool(dialect, schema={"type": "object", "properties": {"x": given}})]
    )

    assert told.text == "t", told.error
    schema = read_asked(upstream.seen[-1].json()).tools["f"]
    if dialect != to:
        assert schema["properties"]["x"] == meant
    else:
        assert schema["properties"]["x"] != given


@pytest.mark.parametrize(("dialect", "to"), [*permutations(CLIENTS, 2)])
@pytest.mark.parametrize(
    ("given", "required"),
    [
        ({"properties": {"x": {"type": "integer", "required": True}, "y": {"required": False}}}, ["x"]),
        ({"properties": {"x": {}}, "required": "x"}, ["x"]),
        ({"properties": {"x": {"type": "INTEGER"}}, "required": ["x", "x"]}, ["x"]),
    ],
)
def test_what_is_required_is_a_list_of_names(
    every: Client, upstream: FakeUpstream, dialect: str, to: str, given: Any, required: list[str]
) -> None:
    upstream.script(json_reply(whole_reply(to, "t")))

    ask(every, dialect, UPSTREAMS[to], tools=[tool(dialect, schema={"type": "object", **given})])

    schema = read_asked(upstream.seen[0].json()).tools["f"]
    assert schema["required"] == required
    assert all("required" not in part for part in schema["properties"].values())
