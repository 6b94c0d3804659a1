"""Requests whose parts have the shape of another dialect: clients that speak several mix them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.settings import RouteSettings
from tests.field.asking import CLIENTS, UPSTREAMS, every_client, every_upstream, forced
from tests.field.pairs import ask, asked_of, whole_reply
from tests.gateway.conftest import Client, MakeClient
from tests.support.fake_upstream import FakeUpstream, json_reply

SCHEMA = {"type": "object", "properties": {"p": {"type": "string"}}}
FUNCTIONS: dict[str, dict[str, Any]] = {
    "of Messages": {"name": "edit", "description": "d", "input_schema": SCHEMA},
    "of Messages, with its type": {"type": "custom", "name": "edit", "description": "d", "input_schema": SCHEMA},
    "of Chat": {"type": "function", "function": {"name": "edit", "description": "d", "parameters": SCHEMA}},
    "of Responses": {"type": "function", "name": "edit", "description": "d", "parameters": SCHEMA},
    "without a type": {"name": "edit", "description": "d", "parameters": SCHEMA},
    "of MCP": {"name": "edit", "description": "d", "inputSchema": SCHEMA},
    "of MCP, with a type": {"type": "function", "name": "edit", "description": "d", "inputSchema": SCHEMA},
    "of MCP within Chat's": {"type": "function", "function": {"name": "edit", "description": "d",
                                                              "inputSchema": SCHEMA}},
    "of Messages within Chat's": {"type": "function", "function": {"name": "edit", "description": "d",
                                                                   "input_schema": SCHEMA}},
    "of Gemini": {"name": "edit", "description": "d", "parametersJsonSchema": SCHEMA},
}  # fmt: skip


def functions_in(to: str, body: dict[str, Any]) -> list[tuple[str, str, list[str]]]:
    tools = [tool["function"] if to == "C" else tool for tool in body["tools"]]
    schema = "input_schema" if to == "A" else "parameters"
    return [(tool["name"], tool["description"], list(tool[schema]["properties"])) for tool in tools]


@every_client
@every_upstream
@pytest.mark.parametrize("shape", FUNCTIONS)
def test_a_function_is_read_whatever_its_shape(
    every: Client, upstream: FakeUpstream, dialect: str, to: str, shape: str
) -> None:
    """cursor/cursor#1289, danny-avila/LibreChat#13925, open-mercato/open-mercato#6241, architectds/modeldock#30."""
    body = asked_of(every, upstream, dialect, to, tools=[FUNCTIONS[shape]])

    assert functions_in(to, body) == [("edit", "d", ["p"])]


@pytest.mark.parametrize("to", ["A", "C"])
@pytest.mark.parametrize("name", ["parameters", "input_schema", "inputSchema", "parametersJsonSchema"])
def test_a_function_in_a_namespace_has_its_schema_under_any_name(
    every: Client, upstream: FakeUpstream, to: str, name: str
) -> None:
    """architectds/modeldock#30: servers of MCP under Codex."""
    member = {"type": "function", "name": "edit", "description": "d", name: SCHEMA}
    group = {"type": "namespace", "name": "files", "description": "files", "tools": [member]}

    body = asked_of(every, upstream, "R", to, tools=[group])

    assert [properties for _, _, properties in functions_in(to, body)] == [["p"]]


@every_upstream
@pytest.mark.parametrize("choice", [{"type": "tool", "name": "f"}, {"type": "function", "function": {"name": "f"}}])
def test_a_choice_is_read_whatever_its_shape(every: Client, upstream: FakeUpstream, to: str, choice: Any) -> None:
    for dialect in CLIENTS:
        assert asked_of(every, upstream, dialect, to, tool_choice=choice)["tool_choice"] == forced(to)


# What a choice of OpenAI's means, in the words of each upstream.
_MODES: dict[str, dict[str, Any]] = {
    "auto": {"A": {"type": "auto"}, "C": "auto", "R": "auto"},
    "none": {"A": {"type": "none"}, "C": "none", "R": "none"},
    "required": {"A": {"type": "any"}, "C": "required", "R": "required"},
}


@every_upstream
@pytest.mark.parametrize("mode", _MODES)
def test_a_mode_of_choice_is_read_whatever_its_shape(every: Client, upstream: FakeUpstream, to: str, mode: str) -> None:
    for choice in (mode, {"type": mode}):
        assert asked_of(every, upstream, "A", to, tool_choice=choice)["tool_choice"] == _MODES[mode][to]


@every_upstream
@pytest.mark.parametrize("nested", [False, True])
def test_allowed_tools_stay_those_of_a_messages_client(
    every: Client, upstream: FakeUpstream, to: str, nested: bool
) -> None:
    allowed = {"mode": "required", "tools": [{"type": "function", "name": "f"}]}
    tools = [{"name": name, "input_schema": SCHEMA} for name in ("f", "g")]
    choice = {"type": "allowed_tools", **({"allowed_tools": allowed} if nested else allowed)}

    body = asked_of(every, upstream, "A", to, tools=tools, tool_choice=choice)

    names = [tool["function"]["name"] if "function" in tool else tool["name"] for tool in body["tools"]]
    limited = names == ["f"] or [(tool.get("function") or tool)["name"] for tool in _allowed(body)] == ["f"]
    assert limited, body


def _allowed(body: dict[str, Any]) -> list[Any]:
    choice = body["tool_choice"]
    tools: list[Any] = (choice.get("allowed_tools") or choice).get("tools") or []
    return tools


@pytest.mark.parametrize("choice", ["any tool", {"type": "web_search", "name": "f"}, {"type": "function"}, 5, ["f"]])
def test_a_choice_that_nobody_knows_is_refused(every: Client, upstream: FakeUpstream, choice: Any) -> None:
    told = ask(every, "A", "chat/m", tool_choice=choice)

    assert (told.status, "tool_choice" in told.error, upstream.seen) == (400, True, [])


@pytest.mark.parametrize("dialect", ["C", "R"])
def test_a_search_of_messages_is_one_for_other_clients_too(every: Client, upstream: FakeUpstream, dialect: str) -> None:
    """danny-avila/LibreChat#13925: its custom endpoints send the tools of Messages to /v1/responses."""
    search = {"type": "web_search_20250305", "name": "web_search", "blocked_domains": ["a.example"]}

    to_messages = asked_of(every, upstream, dialect, "A", tools=[search])
    to_responses = asked_of(every, upstream, dialect, "R", tools=[search])

    assert to_messages["tools"] == [search]
    assert [tool["type"] for tool in to_responses["tools"]] == ["web_search"]
    assert to_responses["tools"][0]["filters"] == {"blocked_domains": ["a.example"]}


@every_upstream
def test_a_body_of_messages_on_the_chat_path_loses_no_system_text(
    every: Client, upstream: FakeUpstream, to: str
) -> None:
    system = [{"type": "text", "text": "be brief"}]

    body = asked_of(every, upstream, "C", to, system=system, stop_sequences=["END"])

    assert "be brief" in json.dumps({"A": body.get("system"), "C": body.get("messages", [{}])[0]}.get(to, body))
    assert {"A": body.get("stop_sequences"), "C": body.get("stop")}.get(to, ["END"]) == ["END"]


@every_upstream
def test_a_call_that_stands_in_the_content_and_beside_it_is_one(every: Client, upstream: FakeUpstream, to: str) -> None:
    """BerriAI/litellm#23510."""
    call = {"type": "tool_use", "id": "c1", "name": "f", "input": {"x": 1}}
    history = [
        {"role": "user", "content": "q"},
        {
            "role": "assistant",
            "content": [{"type": "text", "text": "b"}, call],
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "r"},
    ]

    body = json.dumps(asked_of(every, upstream, "C", to, messages=history))

    key = {"A": '"type": "tool_use"', "C": '"arguments"', "R": '"type": "function_call"'}[to]
    assert body.count(key) == 1


@every_upstream
@pytest.mark.parametrize(
    "part",
    [
        {"type": "reasoning", "reasoning": "the plan"},
        {"type": "reasoning", "text": "the plan"},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "the plan"}]},
    ],
)
def test_a_thought_among_the_parts_of_an_answer_is_no_part_for_the_upstream(
    every: Client, upstream: FakeUpstream, to: str, part: dict[str, Any]
) -> None:
    """langchain-ai/openwiki#231: DeepSeek refuses the variant."""
    said = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": [part, {"type": "text", "text": "a"}]},
        {"role": "user", "content": "r"},
    ]

    body = asked_of(every, upstream, "C", to, messages=said)

    assert '"type": "reasoning"' not in json.dumps(body.get("messages", []))


@every_upstream
def test_ids_that_are_empty_are_given_anew(every: Client, upstream: FakeUpstream, to: str) -> None:
    """anomalyco/opencode#1279."""
    function = {"name": "f", "arguments": "{}"}
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "", "type": "function", "function": function}]}
    chat = [{"role": "user", "content": "q"}, *[call, {"role": "tool", "tool_call_id": "", "content": "r"}] * 2]
    made = [
        {"type": "function_call", "call_id": "", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "", "output": "r"},
    ]

    for dialect, history in (
        ("C", {"messages": chat}),
        ("R", {"input": [{"role": "user", "content": "q"}, *made * 2]}),
    ):
        body = asked_of(every, upstream, dialect, to, **history)
        ids = {
            "A": lambda body: [b["id"] for m in body["messages"][1:] for b in m["content"] if b["type"] == "tool_use"],
            "C": lambda body: [c["id"] for m in body["messages"] for c in m.get("tool_calls") or ()],
            "R": lambda body: [item["call_id"] for item in body["input"] if item.get("type") == "function_call"],
        }[to](body)
        assert len(set(ids)) == 2
        assert all(ids)


@pytest.mark.parametrize("to", ["C", "R"])
@pytest.mark.parametrize("given", ["git status", [1], 5])
def test_the_input_of_a_past_call_is_an_object_for_every_server(
    every: Client, upstream: FakeUpstream, to: str, given: Any
) -> None:
    """anthropics/claude-code#6749."""
    said = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "f", "input": given}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "r"}]},
    ]

    body = asked_of(every, upstream, "A", to, messages=said)

    arguments = (
        body["input"][1]["arguments"] if to == "R" else body["messages"][1]["tool_calls"][0]["function"]["arguments"]
    )
    assert isinstance(json.loads(arguments), dict)


@pytest.mark.parametrize("blank", [" ", "\n\n", "\t"])
def test_texts_of_nothing_but_space_reach_no_messages_upstream(
    every: Client, upstream: FakeUpstream, blank: str
) -> None:
    """stdapi-ai/stdapi.ai#24: "text content blocks must contain non-whitespace text"."""
    text = {"type": "text", "text": blank}
    said = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": [text, {"type": "tool_use", "id": "c1", "name": "f", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "r"}, text]},
    ]

    body = asked_of(every, upstream, "A", "A", messages=said)

    assert [[block["type"] for block in turn["content"]] for turn in body["messages"][1:]] == [
        ["tool_use"],
        ["tool_result"],
    ]


@every_upstream
def test_a_shell_call_that_was_interrupted_gets_a_result(every: Client, upstream: FakeUpstream, to: str) -> None:
    """Soju06/codex-lb#1168, farion1231/cc-switch#7504."""
    action = {"type": "exec", "command": ["ls"], "env": {}}
    call = {"type": "local_shell_call", "id": "l1", "call_id": "v:24", "status": "completed", "action": action}
    history = [{"role": "user", "content": "q"}, call, {"role": "user", "content": "go on"}]

    body = asked_of(every, upstream, "R", to, input=history, tools=[{"type": "local_shell"}])

    assert "no result" in json.dumps(body)


def test_a_legacy_completion_keeps_to_the_limit_of_its_route(make_client: MakeClient, upstream: FakeUpstream) -> None:
    client = make_client(models={"routes": {"small": RouteSettings(targets=("chat/m",), max_output=50)}})
    done = {"choices": [{"index": 0, "text": "ok", "finish_reason": "stop"}]}
    upstream.script(json_reply(done))

    responses = [client.ask("/v1/completions", {"model": "small", "prompt": "p", "max_tokens": n}) for n in (20, 900)]
    answers = [response.json for response in responses]

    assert [response.headers.get("x-dragoman-lowered") for response in responses] == [None, "max_tokens 900->50"]
    assert [seen.json()["max_tokens"] for seen in upstream.seen] == [20, 50]
    assert [(answer["object"], answer["model"], bool(answer["id"])) for answer in answers] == [
        ("text_completion", "small", True)
    ] * 2


def test_a_completion_is_asked_without_what_its_server_cannot(client: Client, upstream: FakeUpstream) -> None:
    """arbs-io/github-copilot-llm-gateway#51: vLLM completes without a suffix."""
    refusal = {"error": {"message": "suffix is not currently supported", "type": "BadRequestError", "code": 400}}
    upstream.script(
        json_reply(refusal, 400), json_reply({"id": "x", "choices": [{"text": "ok", "finish_reason": "stop"}]})
    )

    response = client.ask("/v1/completions", {"model": "chat/m", "prompt": "p", "suffix": "s"})

    assert response.json["choices"][0]["text"] == "ok"
    assert response.headers["x-dragoman-dropped"] == "suffix"


def test_the_user_of_a_responses_client_is_told_as_that_of_a_chat_client(
    make_client: MakeClient, upstream: FakeUpstream
) -> None:
    """Whoever looks into abuse needs to tell the users of one account apart; another vendor learns no name."""
    client = make_client(chat={"quirks": {"user_field": "user"}}, messages={"quirks": {"user_field": "metadata"}})
    named: dict[str, list[str]] = {"A": [], "C": []}

    for to, names in named.items():
        upstream.script(json_reply(whole_reply(to, "t")))
        for dialect in ("C", "R"):
            ask(client, dialect, UPSTREAMS[to], user="someone@example.com", temperature=0.5)
            body = upstream.seen[-1].json()
            names.append(body["metadata"]["user_id"] if to == "A" else body["user"])

    assert named["C"] == ["someone@example.com"] * 2
    assert named["A"][0] == named["A"][1]
    assert "someone" not in named["A"][0]


@pytest.mark.parametrize("empty", ["", [], " "])
def test_a_turn_that_says_nothing_reaches_no_messages_upstream(
    every: Client, upstream: FakeUpstream, empty: Any
) -> None:
    """Anthropic: "all messages must have non-empty content except for the optional final assistant message"."""
    said = [{"role": "user", "content": "q"}, {"role": "assistant", "content": empty}, {"role": "user", "content": "r"}]

    body = asked_of(every, upstream, "A", "A", messages=said)

    assert all(turn["content"] and turn["content"] != " " for turn in body["messages"])


def test_a_schema_that_says_nothing_is_one_of_an_object(every: Client, upstream: FakeUpstream) -> None:
    body = asked_of(every, upstream, "A", "A", tools=[{"name": "f", "input_schema": {}}])

    assert body["tools"][0]["input_schema"]["type"] == "object"
