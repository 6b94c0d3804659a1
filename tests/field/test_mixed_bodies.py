"""Bodies in the shape of another dialect than that of their path: agents keep one history and send it everywhere."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.field.asking import CLIENTS, UPSTREAMS, every_client, every_upstream
from tests.field.pairs import ask, asked_of, whole_reply
from tests.gateway.conftest import Client
from tests.support.fake_upstream import FakeUpstream, json_reply

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SCHEMA = {"type": "object", "properties": {"town": {"type": "string"}}, "required": ["town"],
          "additionalProperties": False}  # fmt: skip
NESTED = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA, "strict": True}}
FLAT = {"type": "json_schema", "name": "place", "schema": SCHEMA, "strict": True}

CHAT_TURNS = [
    {"role": "user", "content": "q"},
    {"role": "assistant", "content": None, "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x":41}'}},
        {"id": "c2", "type": "function", "function": {"name": "f", "arguments": '{"x":42}'}}]},
    {"role": "tool", "tool_call_id": "c2", "content": "second result"},
    {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "first result"}]},
]  # fmt: skip
MESSAGES_TURNS = [
    {"role": "user", "content": [{"type": "text", "text": "q"}, {"type": "image", "source": {
        "type": "base64", "media_type": "image/png", "data": PNG}}]},
    {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "s"},
                                      {"type": "text", "text": "I look."},
                                      {"type": "tool_use", "id": "c1", "name": "f", "input": {"x": 41}},
                                      {"type": "tool_use", "id": "c2", "name": "f", "input": {"x": 42}}]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c2", "content": "second result"},
                                 {"type": "tool_result", "tool_use_id": "c1", "content": [
                                     {"type": "text", "text": "first result"},
                                     {"type": "image", "source": {"type": "url", "url": "https://x.test/i.png"}}]},
                                 {"type": "text", "text": "and now?"}]},
]  # fmt: skip
ITEMS = [
    {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "q"}]},
    {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"x":41}'},
    {"type": "function_call", "call_id": "c2", "name": "f", "arguments": {"x": 42}},
    {"type": "function_call_output", "call_id": "c2", "output": "second result"},
    {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "first result"}]},
]
SDK_TURNS = [
    {"role": "user", "content": "q"},
    {"role": "assistant", "content": [
        {"type": "tool-call", "toolCallId": "c1", "toolName": "f", "input": {"x": 41}},
        {"type": "tool-call", "toolCallId": "c2", "toolName": "f", "args": {"x": 42}}]},
    {"role": "tool", "content": [
        {"type": "tool-result", "toolCallId": "c1", "output": {"type": "text", "value": "first result"}},
        {"type": "tool-result", "toolCallId": "c2", "toolName": "f", "result": "second result"}]},
]  # fmt: skip
LANGCHAIN_TURNS = [
    {"role": "human", "content": "q"},
    {"role": "ai", "content": "", "tool_calls": [{"name": "f", "args": {"x": 41}, "id": "c1", "type": "tool_call"},
                                                 {"name": "f", "args": {"x": 42}, "id": "c2", "type": "tool_call"}]},
    {"role": "tool", "tool_call_id": "c1", "content": "first result"},
    {"role": "tool", "tool_call_id": "c2", "content": "second result"},
]  # fmt: skip

# openai/openai-python#2677, Chevey339/kelivo#281, theopenco/llmgateway#1645, tinyhumansai/openhuman#3624,
# NyarchLinux/NyarchAssistant#157, liquidos-ai/AutoAgents#72, crewAIInc/crewAI#6657
HISTORIES: dict[str, list[Any]] = {
    "of Chat": CHAT_TURNS,
    "of Messages": MESSAGES_TURNS,
    "of the AI SDK": SDK_TURNS,
    "of LangChain": LANGCHAIN_TURNS,
}


def history_field(dialect: str, turns: list[Any]) -> dict[str, Any]:
    return {"input": turns} if dialect == "R" else {"messages": turns}


def calls_and_results(to: str, body: dict[str, Any]) -> tuple[list[tuple[str, Any]], dict[str, str]]:
    """The calls of a request by their ids, and the words of their results."""
    calls: list[tuple[str, Any]] = []
    results: dict[str, str] = {}
    for turn in body.get("messages") or body["input"]:
        for call in turn.get("tool_calls") or ():
            calls.append((call["id"], json.loads(call["function"]["arguments"])))
        if turn.get("role") == "tool":
            results[turn["tool_call_id"]] = json.dumps(turn["content"])
        if turn.get("type") == "function_call":
            calls.append((turn["call_id"], json.loads(turn["arguments"])))
        if turn.get("type") == "function_call_output":
            results[turn["call_id"]] = json.dumps(turn["output"])
        for block in turn["content"] if to == "A" and isinstance(turn["content"], list) else ():
            if block.get("type") == "tool_use":
                calls.append((block["id"], block["input"]))
            elif block.get("type") == "tool_result":
                results[block["tool_use_id"]] = json.dumps(block["content"])
    return calls, results


@pytest.mark.parametrize("shape", HISTORIES)
@every_client
def test_a_history_is_read_whatever_its_shape(every: Client, upstream: FakeUpstream, dialect: str, shape: str) -> None:
    for to in CLIENTS:
        body = asked_of(every, upstream, dialect, to, **history_field(dialect, HISTORIES[shape]))

        calls, results = calls_and_results(to, body)
        assert calls == [("c1", {"x": 41}), ("c2", {"x": 42})]
        assert ("first result" in results["c1"], "second result" in results["c2"]) == (True, True)
        assert (PNG in json.dumps(body)) == (shape == "of Messages")


@every_upstream
def test_items_on_the_chat_path_may_be_of_any_type(every: Client, upstream: FakeUpstream, to: str) -> None:
    """cursor/cursor#1289: calls with objects for arguments, searches between a call and its result, shells."""
    more = [
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "rain"}},
        {"type": "local_shell_call", "call_id": "c3", "action": {"type": "exec", "command": ["ls"], "env": {}}},
        {"type": "local_shell_call_output", "id": "c3", "output": "a.txt"},
        {"type": "message", "content": "go on"},
    ]

    body = asked_of(every, upstream, "C", to, messages=None, input=[*ITEMS[:3], more[0], *ITEMS[3:], *more[1:]])

    calls, _ = calls_and_results(to, body)
    shells = [item["call_id"] for item in body.get("input", ()) if item.get("type") == "local_shell_call"]
    assert [call for call, _ in calls] + shells == ["c1", "c2", "c3"]
    assert all(words in json.dumps(body) for words in ("a.txt", "rain", "go on"))


def test_an_item_that_refers_to_another_is_the_clients_to_mend(every: Client, upstream: FakeUpstream) -> None:
    told = ask(every, "C", "chat/m", messages=None, input=[{"type": "item_reference", "id": "msg_1"}])

    assert (told.status, "item_reference" in told.error, upstream.seen) == (400, True, [])


@every_upstream
@pytest.mark.parametrize("name", [None, "g"])
def test_a_result_without_an_id_belongs_to_the_call_of_its_name(
    every: Client, upstream: FakeUpstream, to: str, name: str | None
) -> None:
    calls = [
        {"id": i, "type": "function", "function": {"name": n, "arguments": "{}"}} for i, n in (("a", "f"), ("b", "g"))
    ]
    answers = [{"role": "tool", "name": name, "content": "one"}, {"role": "tool", "content": "two"}]
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": None, "tool_calls": calls}, *answers]

    _, results = calls_and_results(to, asked_of(every, upstream, "C", to, messages=turns))

    assert results == ({"a": '"one"', "b": '"two"'} if name is None else {"b": '"one"', "a": '"two"'})


FORMATS: dict[str, dict[str, Any]] = {
    "of Chat": {"response_format": NESTED},
    "of Chat, flat": {"response_format": FLAT},
    "of Responses": {"text": {"format": FLAT}},
    "of Responses, nested": {"text": {"format": NESTED}},
    "of Messages": {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
    "of Messages, once": {"output_format": {"type": "json_schema", "schema": SCHEMA}},
}


@pytest.mark.parametrize("shape", FORMATS)
def test_a_format_is_asked_for_whatever_its_place(every: Client, upstream: FakeUpstream, shape: str) -> None:
    """BerriAI/litellm#37096, NVIDIA-NeMo/Switchyard#377, unslothai/unsloth#8846, NousResearch/hermes-agent#33885."""
    for to in CLIENTS:
        for dialect in CLIENTS:
            if dialect == to == "A" and shape == "of Messages, once":
                continue

            body = asked_of(every, upstream, dialect, to, **FORMATS[shape])

            assert json.dumps(SCHEMA["properties"]) in json.dumps(body)


EFFORTS: dict[str, dict[str, Any]] = {
    "of Chat": {"reasoning_effort": "low"},
    "of Responses": {"reasoning": {"effort": "low"}},
    "of Messages": {"output_config": {"effort": "low"}},
}


@pytest.mark.parametrize("shape", EFFORTS)
def test_an_effort_is_asked_for_whatever_its_place(every: Client, upstream: FakeUpstream, shape: str) -> None:
    for to in ("C", "R"):
        for dialect in CLIENTS:
            body = asked_of(every, upstream, dialect, to, **EFFORTS[shape])

            found = (body.get("reasoning_effort"), (body.get("reasoning") or {}).get("effort"))
            assert "low" in found, body


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "max_output_tokens"])
@pytest.mark.parametrize("number", [77, 77.0])
def test_a_limit_holds_under_every_name(every: Client, upstream: FakeUpstream, name: str, number: float) -> None:
    for to in CLIENTS:
        for dialect in CLIENTS:
            limits = {"max_tokens": None, name: number} if dialect == "A" else {name: number}

            body = asked_of(every, upstream, dialect, to, **limits)

            assert [
                body.get(field)
                for field in ("max_tokens", "max_completion_tokens", "max_output_tokens")
                if body.get(field)
            ] == [77]


@pytest.mark.parametrize("name", ["stop", "stop_sequences"])
@pytest.mark.parametrize("value", ["END", ["END"]])
@every_client
def test_a_stop_sequence_ends_the_answer_under_every_name(
    every: Client, upstream: FakeUpstream, dialect: str, name: str, value: Any
) -> None:
    for to in CLIENTS:
        upstream.seen.clear()
        upstream.script(json_reply(whole_reply(to, "so far END and on")))

        told = ask(every, dialect, UPSTREAMS[to], **{name: value})

        asked_for = upstream.seen[0].json()
        watched = asked_for.get("stop") or asked_for.get("stop_sequences")
        assert watched in ("END", ["END"]) or told.text == "so far ", (to, asked_for, told)


@every_upstream
def test_messages_on_the_responses_path_are_its_input(every: Client, upstream: FakeUpstream, to: str) -> None:
    """microsoft/agent-framework#3795. What is stored of them is the same."""
    upstream.script(json_reply(whole_reply(to, "t")))
    body = {"model": UPSTREAMS[to], "messages": [{"role": "system", "content": "be brief"}, *CHAT_TURNS]}

    response = every.ask("/v1/responses", body)

    calls, _ = calls_and_results(to, upstream.seen[0].json())
    assert (response.status_code, len(calls)) == (200, 2)
    if to != "R":
        kept: Any = response.json
        items: Any = every.http.get(f"/v1/responses/{kept['id']}/input_items").json
        assert len(items["data"]) == 6


@every_upstream
@pytest.mark.parametrize("output", [{"rain": True}, 4211, ["wet", "cold"], [{"rain": True}]])
def test_the_output_of_a_tool_may_be_any_json(every: Client, upstream: FakeUpstream, to: str, output: Any) -> None:
    """langchain-ai/deepagents#202, anomalyco/opencode#21815, BYK/loreai#1289."""
    word = {"rain": "rain", "4211": "4211", "wet": "cold"}[next(iter(output)) if isinstance(output, dict) else
                                                         "4211" if output == 4211 else
                                                         "wet" if output == ["wet", "cold"] else "rain"]  # fmt: skip
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    if to != "R":
        turns = [call, {"type": "function_call_output", "call_id": "c", "output": output}]
        assert word in calls_and_results(to, asked_of(every, upstream, "R", to, input=turns))[1]["c"]
    for dialect, result in (
        ("A", {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": output}]}),
        ("C", {"role": "tool", "tool_call_id": "c", "content": output}),
    ):
        if dialect != to:
            called = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
            used = {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {}}]}
            calling = used if dialect == "A" else {"role": "assistant", "content": None, "tool_calls": [called]}
            turns = [{"role": "user", "content": "q"}, calling, result]
            assert word in calls_and_results(to, asked_of(every, upstream, dialect, to, messages=turns))[1]["c"]


IMAGES: dict[str, dict[str, Any]] = {
    "of MCP": {"type": "image", "data": PNG, "mimeType": "image/png"},
    "of Messages": {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
    "of Chat": {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
    "of Responses": {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"},
    "of the AI SDK": {"type": "image", "image": f"data:image/png;base64,{PNG}"},
}


@pytest.mark.parametrize("shape", IMAGES)
@pytest.mark.parametrize("place", ["said", "result"])
def test_an_image_is_seen_whatever_its_shape(every: Client, upstream: FakeUpstream, shape: str, place: str) -> None:
    """vercel/ai#6073, openai/openai-agents-js#1070, langgenius/dify-docs#439, github/copilot-cli#4536."""
    for to in CLIENTS:
        for dialect in CLIENTS:
            if dialect == to:
                continue
            image, text = IMAGES[shape], {"type": "text", "text": "see"}
            turns: list[Any] = [{"role": "user", "content": [text, image]}]
            if place == "result":
                turns = {
                    "A": [{"role": "user", "content": "q"}, MESSAGES_TURNS[1], {"role": "user", "content": [
                        {"type": "tool_result", "tool_use_id": "c1", "content": [text, image]}]}],
                    "C": [*CHAT_TURNS[:2], {"role": "tool", "tool_call_id": "c1", "content": [text, image]}],
                    "R": [*ITEMS[:2], {"type": "function_call_output", "call_id": "c1", "output": [text, image]}],
                }[dialect]  # fmt: skip

            body = asked_of(every, upstream, dialect, to, **history_field(dialect, turns))

            wanted = {
                "A": {"type": "base64", "media_type": "image/png", "data": PNG},
                "C": {"url": f"data:image/png;base64,{PNG}"},
                "R": f"data:image/png;base64,{PNG}",
            }[to]
            assert json.dumps(wanted) in json.dumps(body)
            assert json.dumps(body).count(PNG) == 1


@every_upstream
def test_instructions_are_read_whatever_their_shape(every: Client, upstream: FakeUpstream, to: str) -> None:
    for given in (
        {"instructions": [{"role": "system", "content": "be brief"}, {"role": "developer", "content": "and kind"}]},
        {"instructions": [{"type": "input_text", "text": "be brief"}, {"type": "text", "text": "and kind"}]},
        {"system": "be brief and kind"},
        {"system": [{"type": "text", "text": "be brief"}, {"type": "text", "text": "and kind"}]},
    ):
        said = json.dumps(asked_of(every, upstream, "R", to, **given))

        assert ("be brief" in said, "and kind" in said) == (True, True)


@pytest.mark.parametrize("dialect", ["C", "R"])
def test_empty_names_are_none(every: Client, upstream: FakeUpstream, dialect: str) -> None:
    more = {"previous_response_id": ""} if dialect == "R" else {"user": 12, "seed": 5.0}
    for to in CLIENTS:
        assert asked_of(every, upstream, dialect, to, tool_choice="", **more)


WRONG: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "a limit in words": ("A", {"max_tokens": "many"}, "max_tokens", "expected an integer, but got a string"),
    "a decimal limit": ("A", {"max_tokens": 7.5}, "max_tokens", "expected an integer, but got a decimal number"),
    "a budget in words": ("A", {"thinking": {"type": "enabled", "budget_tokens": "2048"}}, "thinking.budget_tokens",
                          "expected an integer, but got a string"),
    "a content of a number": ("A", {"messages": [{"role": "user", "content": 5}]}, "messages[0].content",
                              "expected an array, but got an integer"),
    "a block without a type": ("A", {"messages": [{"role": "user", "content": [{"words": "x"}]}]},
                               "messages[0].content[0]", "the field 'type' is required"),
    "an image without a source": ("A", {"messages": [{"role": "user", "content": [{"type": "image"}]}]},
                                  "messages[0].content[0].source", "field required"),
    "a tool described by a number": ("A", {"tools": [{"name": "f", "description": 5, "input_schema": {}}]},
                                     "tools[0].description", "expected a string, but got an integer"),
    "a limit in words, of Responses": ("R", {"max_output_tokens": "many"}, "max_output_tokens",
                                       "expected an integer, but got a string"),
    "a limit of nothing": ("R", {"max_output_tokens": 0}, "max_output_tokens", "expected an integer of at least 1"),
    "too hot": ("R", {"temperature": 3}, "temperature", "expected a number of at most 2"),
    "an input of a number": ("R", {"input": 5}, "input", "expected a string or an array, but got an integer"),
    "a list for a switch": ("C", {"store": []}, "store", "expected a boolean, but got an array"),
    "a text for tools": ("C", {"tools": "f"}, "tools", "expected an array, but got a string"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_value_is_told_by_field_expectation_and_what_came(
    every: Client, upstream: FakeUpstream, name: str
) -> None:
    dialect, more, field, sentence = WRONG[name]
    to = "C" if dialect != "C" else "R"

    told = ask(every, dialect, UPSTREAMS[to], **more)

    assert (told.status, told.error, upstream.seen) == (400, f"{field}: {sentence}", [])


CHOICES: dict[str, tuple[Any, Any]] = {
    "a word of Messages": ("any", {"A": {"type": "any"}, "C": "required", "R": "required"}),
    "a type of OpenAI's": ({"type": "required"}, {"A": {"type": "any"}, "C": "required", "R": "required"}),
    "a tool of Messages": ({"type": "tool", "name": "f"}, None),
    "a function of Chat": ({"type": "function", "function": {"name": "f"}}, None),
    "a function without its type": ({"function": {"name": "f"}}, None),
}


@pytest.mark.parametrize("name", CHOICES)
def test_a_choice_of_a_responses_client_is_read_whatever_its_shape(
    every: Client, upstream: FakeUpstream, name: str
) -> None:
    choice, wanted = CHOICES[name]
    named = {"A": {"type": "tool", "name": "f"}, "C": {"type": "function", "function": {"name": "f"}}}

    for to in ("A", "C"):
        assert asked_of(every, upstream, "R", to, tool_choice=choice)["tool_choice"] == (wanted or named)[to]


def test_allowed_tools_of_chat_limit_a_responses_client_too(every: Client, upstream: FakeUpstream) -> None:
    tools = [{"type": "function", "name": name, "parameters": SCHEMA} for name in ("f", "g")]
    allowed = {"mode": "auto", "tools": [{"type": "function", "function": {"name": "g"}}]}
    choice = {"type": "allowed_tools", "allowed_tools": allowed}

    body = asked_of(every, upstream, "R", "A", tools=tools, tool_choice=choice)

    assert [tool["name"] for tool in body["tools"]] == ["g"]


@every_client
@pytest.mark.parametrize("choice", ["auto", {"name": "old"}])
def test_functions_of_the_first_days_are_tools_on_every_path(
    every: Client, upstream: FakeUpstream, dialect: str, choice: Any
) -> None:
    functions = [{"name": "old", "description": "d", "parameters": SCHEMA}]
    more = {"tools": None, "functions": functions, "function_call": choice}

    for to in CLIENTS:
        if dialect == to == "C":
            continue
        body = asked_of(every, upstream, dialect, to, **more)

        assert [(tool.get("function") or tool)["name"] for tool in body["tools"]] == ["old"]
        assert ("old" in json.dumps(body["tool_choice"])) == isinstance(choice, dict)


@pytest.mark.parametrize("to", ["A", "C"])
def test_parts_without_a_message_around_them_are_the_users(every: Client, upstream: FakeUpstream, to: str) -> None:
    items = [{"type": "input_text", "text": "see"}, {"type": "input_image", "image_url": "https://x.test/i.png"}]

    body = asked_of(every, upstream, "R", to, input=items)

    said = json.dumps(body["messages"])
    assert ("https://x.test/i.png" in said, "see" in said, "[input" in said) == (True, True, False)


@every_upstream
def test_results_in_the_turn_that_made_the_calls_follow_it(every: Client, upstream: FakeUpstream, to: str) -> None:
    """tghamm/Anthropic.SDK#128."""
    turns = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": [
            {"type": "tool_use", "id": "c1", "name": "f", "input": {"x": 41}},
            {"type": "tool_result", "tool_use_id": "c1", "content": "first result"},
            {"type": "text", "text": "then"},
            {"type": "tool_use", "id": "c2", "name": "f", "input": {"x": 42}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c2", "content": "second result"}]},
    ]  # fmt: skip

    calls, results = calls_and_results(to, asked_of(every, upstream, "A", to, messages=turns))

    assert calls == [("c1", {"x": 41}), ("c2", {"x": 42})]
    assert ("first result" in results["c1"], "second result" in results["c2"]) == (True, True)


@every_upstream
def test_each_speaker_s_parts_are_of_the_type_that_the_vendor_takes(
    every: Client, upstream: FakeUpstream, to: str
) -> None:
    """jamesrochabrun/SwiftOpenAI#136, epam/ai-dial-adapter-openai#511, lmstudio-ai/docs#141."""
    image = {"type": "image_url", "image_url": "https://x.test/i.png"}
    turns = [
        {"role": "user", "content": [{"type": "text", "text": "one"}, image]},
        {"role": "assistant", "content": [{"type": "input_text", "text": "two"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "three"}]},
        {"role": "user", "content": "four"},
    ]

    body = asked_of(every, upstream, "R", to, input=turns)

    said = json.dumps(body.get("input") or body["messages"])
    assert all(word in said for word in ("one", "two", "three", "four", "https://x.test/i.png"))
    if to == "R":
        parts = [(item["role"], part["type"]) for item in body["input"] for part in item["content"]]
        assert {kind for role, kind in parts if role == "assistant"} == {"output_text"}
        assert {kind for role, kind in parts if role == "user"} == {"input_text", "input_image"}
