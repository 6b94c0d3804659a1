"""Servers that refuse a request in their clients' own dialect for as long as it has some shape: it is sent again in
another."""

# ruff: noqa: E501 - one case a line
from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.field.asking import both_modes
from tests.field.pairs import whole_reply
from tests.gateway.conftest import Client
from tests.support.answers import named
from tests.support.fake_upstream import FakeUpstream, Reply, Seen, json_reply, sse

PATHS = {"A": "/v1/messages", "R": "/v1/responses"}
Body = dict[str, Any]
Is = Callable[[Body], bool]

USER = {"role": "user", "content": "q"}
FUNCTION = {"name": "f", "input_schema": {"type": "object", "properties": {}}}
USED = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "r"}
THOUGHT = {"type": "thinking", "thinking": "x", "signature": "sig"}
ASKED = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}}
ADVISED = {
    "type": "advisor_tool_result",
    "tool_use_id": "srvtoolu_1",
    "content": {"type": "advisor_result", "text": "x"},
}
SEARCH = {"type": "web_search_20250305", "name": "web_search"}
EDITS = [{"type": "clear_thinking_20251015", "keep": "all"}, {"type": "clear_tool_uses_20250919"}]


def messages(*turns: Body, **fields: Any) -> Body:
    return {"max_tokens": 2000, "messages": list(turns) or [USER], **fields}


def said(*blocks: Body) -> Body:
    return {"role": "assistant", "content": list(blocks)}


def told(*blocks: Body) -> Body:
    return {"role": "user", "content": list(blocks)}


def has(words: str) -> Is:
    return lambda body: words in json.dumps(body)


def has_block(is_bad: Is) -> Is:
    return lambda body: any(
        is_bad(block) for turn in body["messages"] if isinstance(turn["content"], list) for block in turn["content"]
    )


# What a client sends, what its server cannot take of it, the words in which it says so, and where that was seen.
MESSAGES: dict[str, tuple[Body, Is, str]] = {
    "automazeio/vibeproxy#509, CLIProxyAPI#4784": (messages(context_management={"edits": EDITS}), has("clear_thinking"), "`clear_thinking_20251015` strategy requires `thinking` to be enabled or adaptive"),
    "an edit that a server lacks": (messages(context_management={"edits": [{"type": "compact_20260112"}]}), has('"compact_20260112"'), "context_management.edits.0: Input tag 'compact_20260112' found using 'type' does not match any of the expected tags: 'clear_tool_uses_20250919'"),
    "MoonshotAI/Kimi-K2#141": (messages(thinking={"type": "disabled"}), has('"disabled"'), "invalid thinking: only type=enabled is allowed for this model"),
    "coder/coder#26691": (messages(max_tokens=4000, thinking={"type": "enabled", "budget_tokens": 1024}), has("budget_tokens"), '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive" and "output_config.effort" to control thinking behavior.'),
    "ding113/claude-code-hub#1262": (messages(tools=[SEARCH, FUNCTION]), has("web_search_2025"), "invalid params, function name or parameters is empty (2013)"),
    "anthropics/claude-code#8401": (messages(USER, said(THOUGHT, USED), told(RESULT), tools=[FUNCTION]), has('"sig"'), "messages.1.content.0: When thinking is disabled, an `assistant` message in the final position cannot contain `thinking`. To use thinking blocks, enable `thinking` in your request."),
    "1Panel-dev/MaxKB#6480": (messages(USER, said(USED, {"type": "input_json_delta", "partial_json": "{}"}), told(RESULT), tools=[FUNCTION]), has("input_json_delta"), "messages.1.content.1: Input tag 'input_json_delta' found using 'type' does not match any of the expected tags: 'text', 'tool_use'"),
    "tools of one name": (messages(tools=[FUNCTION, FUNCTION]), lambda body: len(body["tools"]) > 1, "tools: Tool names must be unique."),
    "a name that only others take": (messages(tools=[{**FUNCTION, "name": "a.b:c"}]), has("a.b:c"), "tools.0.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'"),
    "a search without its results": (messages(USER, said({"type": "text", "text": "a"}, ASKED), USER), has("srvtoolu_1"), "messages.1: `web_search` tool use with id `srvtoolu_1` was found without a corresponding `web_search_tool_result` block"),
    "advice without the advisor": (messages(USER, said({**ASKED, "name": "advisor", "input": {}}, ADVISED), USER), has_block(lambda block: block["type"] == "advisor_tool_result"), "messages.1.content.1: `advisor_tool_result` blocks require the advisor tool to be present in `tools`"),
    "advice": (messages(USER, said({**ASKED, "name": "advisor", "input": {}}, ADVISED), USER), has_block(lambda block: block["type"] == "advisor_tool_result"), "messages.1.content.1: Input tag 'advisor_tool_result' found using 'type' does not match any of the expected tags: 'text', 'tool_use'"),
    "an answer that ends with a space": (messages(USER, said({"type": "text", "text": "a "})), has('"a "'), "messages: final assistant content cannot end with trailing whitespace"),
    "an answer that nobody asked for": (messages(said({"type": "text", "text": "a"}), USER), lambda body: body["messages"][0]["role"] != "user", 'messages: first message must use the "user" role'),
    "no choice": (messages(tools=[FUNCTION], tool_choice={"type": "none"}), has('"none"'), "tool_choice: Input tag 'none' found using 'type' does not match any of the expected tags: 'auto', 'any', 'tool'"),
    "no system text": (messages(system=[]), lambda body: body.get("system") == [], "system: List should have at least 1 item after validation"),
}  # fmt: skip

OLDER: dict[str, tuple[Body, Is, Body]] = {
    "GLM": (messages(USER, said(ASKED, {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}, {"type": "text", "text": "a"}), USER), has('"server_tool_use"'), {"type": "error", "error": {"type": "1210", "message": "API 调用参数有误"}}),
    "Z.ai": (messages(tools=[FUNCTION, SEARCH]), has("web_search_2025"), {"type": "error", "error": {"type": "1210", "message": "Invalid API parameter, please check the documentation."}}),
    "Bedrock": (messages(USER, said({"type": "redacted_thinking", "data": "x"}, {"type": "text", "text": "a"}), USER), has('"redacted_thinking"'), {"message": "Malformed input request: #/messages/1/content/0/type: redacted_thinking is not a valid enum value, please reformat your input and try again."}),
    "Ollama": (messages(USER, said(USED), told({**RESULT, "content": [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}]}), tools=[FUNCTION]), has_block(lambda block: isinstance(block.get("content"), list)), {"error": {"message": "json: cannot unmarshal array into Go struct field ContentBlock.content of type string"}}),
    "LM Studio": (messages(USER, said(THOUGHT, USED), told(RESULT), tools=[FUNCTION]), has_block(lambda block: block["type"] == "thinking"), {"type": "error", "error": {"type": "invalid_request_error", "message": "Invalid discriminator value. Expected 'text' | 'image' | 'tool_use' | 'tool_result'", "param": "messages.1.content.0.type"}}),
    "llama.cpp": (messages(USER, said(THOUGHT, USED), told(RESULT), tools=[FUNCTION]), has_block(lambda block: block["type"] == "thinking"), {"error": {"code": 400, "message": "unsupported content[].type: thinking", "type": "invalid_request_error"}}),
    "a long user": (messages(metadata={"user_id": "x" * 300}), has("x" * 300), {"error": {"message": "metadata.user_id: String should have at most 256 characters"}}),
    "many tools": (messages(tools=[{**FUNCTION, "name": f"f{index}"} for index in range(150)]), lambda body: len(body["tools"]) > 128, {"error": {"message": "tools: List should have at most 128 items after validation, not 150"}}),
    "long ids": (messages(USER, said({**USED, "id": "x" * 70}), told({**RESULT, "tool_use_id": "x" * 70}), tools=[FUNCTION]), has("x" * 70), {"error": {"message": "messages.1.content.0.tool_use.id: String should have at most 64 characters"}}),
}  # fmt: skip

NEWER: dict[str, tuple[Body, Is, str]] = {
    "a thought without an answer": (messages(USER, said(THOUGHT), USER, thinking={"type": "enabled", "budget_tokens": 1024}), has_block(lambda block: block["type"] == "thinking"), "messages.1: The final block in an assistant message cannot be `thinking`."),
    "a large budget": (messages(max_tokens=1000, thinking={"type": "enabled", "budget_tokens": 1024}), lambda body: body.get("thinking", {}).get("budget_tokens", 0) >= body["max_tokens"], "`max_tokens` must be greater than `thinking.budget_tokens`. Please consult our documentation"),
    "no search in Copilot": (messages(tools=[SEARCH, FUNCTION]), has("web_search_2025"), "The use of the web search tool is not supported."),
    "no search in this organization": (messages(tools=[SEARCH, FUNCTION]), has("web_search_2025"), "Web search is not enabled for this organization."),
}  # fmt: skip

CLAUDE: dict[str, tuple[Body, Is, str]] = {
    "strict schemas": (messages(tools=[{**FUNCTION, "strict": True, "input_schema": {"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}, "additionalProperties": False}}]), has('"minimum"'), "tools.0.custom: For 'integer' type, property 'minimum' is not supported"),
    "many strict tools": (messages(tools=[{**FUNCTION, "name": f"f{index}", "strict": True} for index in range(25)]), lambda body: sum(bool(tool.get("strict")) for tool in body["tools"]) > 20, "Too many strict tools (25). The maximum number of strict tools supported is 20."),
    "large strict tools": (messages(tools=[{**FUNCTION, "strict": True}]), has('"strict": true'), "The compiled grammar is too large, which would cause performance issues. Simplify your tool schemas or reduce the number of strict tools."),
}  # fmt: skip

TOOL = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}
CALL = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "r"}
REASONING: Body = {"type": "reasoning", "id": "rs_1", "summary": [], "content": None, "encrypted_content": "gAAAAx"}
SAID = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a"}]}
NAMESPACE = {"type": "namespace", "name": "mcp__x__", "description": "d", "tools": [{**TOOL, "name": "g"}]}
SECRET = {"type": "object", "properties": {"message": {"type": "string", "encrypted": True}}, "required": ["message"]}
AGENTS: Body = {
    "type": "namespace",
    "name": "agents",
    "description": "d",
    "tools": [{**TOOL, "name": "spawn_agent", "parameters": SECRET}],
}
OPEN = {"type": "object", "properties": {"a": {"type": "string"}}}


def items(*input_items: Body, **fields: Any) -> Body:
    return {"input": list(input_items) or [USER], "store": False, **fields}


def has_item(is_bad: Is) -> Is:
    return lambda body: any(is_bad(item) for item in body["input"])


def has_tool(is_bad: Is) -> Is:
    return lambda body: any(is_bad(tool) for tool in body.get("tools") or [])


has_null = has_item(lambda item: item.get("content", "") is None)
lacks_head = has_item(lambda item: item.get("role") == "assistant" and not (item.get("id") and item.get("status")))


def refusal(message: str, param: str | None = None, code: str | None = None) -> Body:
    return {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}


def zod(*path: object) -> Body:
    raw = [{"code": "invalid_union", "errors": [[{"code": "invalid_type", "path": ["content"]}]], "path": path}]
    return {
        "error": {"code": "invalid_prompt", "message": "Invalid Responses API request"},
        "metadata": {"raw": json.dumps(raw)},
    }


PYDANTIC = "[{'type': 'literal_error', 'loc': ('body', 'input', 'list[union[EasyInputMessageParam,Message]]', 1, 'content', 0, 'type'), 'msg': \"Input should be 'input_text'\", 'input': 'output_text'}, {'type': 'missing', 'loc': ('body', 'input', 1, 'id'), 'msg': 'Field required'}]"
RESPONSES: dict[str, tuple[Body, Is, Body]] = {
    "Wei-Shaw/sub2api#4237": (items(USER, REASONING, CALL, OUTPUT, tools=[TOOL]), has_null, {"error": "Failed to deserialize the JSON body into the target type: data did not match any variant of untagged enum ModelInput"}),
    "lidge-jun/opencodex#2239": (items(USER, REASONING, CALL, OUTPUT, tools=[TOOL]), has_null, {"code": "invalid-argument", "error": "Could not decode the compaction blob."}),
    "openai/codex#12114": (items(USER, REASONING, CALL, OUTPUT, tools=[TOOL]), has_null, zod("input")),
    "OpenRouterTeam/ai-sdk-provider#482": (items(tools=[TOOL, NAMESPACE]), has_tool(lambda tool: tool["type"] != "function"), zod("tools", 1)),
    "CLIProxyAPI#3043": (items(tools=[{"type": "tool_search", "description": "d", "execution": "server"}, {**TOOL, "defer_loading": True}]), has_tool(lambda tool: tool["type"] == "tool_search" and "description" in tool), refusal("Invalid Value: 'tools.tool_search.description'. Server-executed tool_search does not accept a description.", "tools")),
    "lmstudio-bug-tracker#1576": (items(text={"verbosity": "low"}), lambda body: "format" not in body.get("text", {"format": 1}), refusal("Required", "text.format", "missing_required_parameter")),
    "Wei-Shaw/sub2api#7066": (items({**USER, "internal_chat_message_metadata_passthrough": {"content_item_kinds": ["x"]}}), has("internal_chat"), refusal("Unknown parameter: 'input[0].internal_chat_message_metadata_passthrough.content_item_kinds'.", "input[0].internal_chat_message_metadata_passthrough.content_item_kinds", "unknown_parameter")),
    "openai/codex#7073": (items(USER, {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "other"}}, USER), has('"other"'), refusal("Invalid value: 'other'. Supported values are: 'search', 'open_page', and 'find_in_page'.", "input[1].action.type", "invalid_value")),
    "openai/codex#8829": (items(USER, SAID, USER), lacks_head, refusal(PYDANTIC)),
    "a thought told twice": (items(USER, REASONING, CALL, OUTPUT, {**REASONING}, {**CALL, "call_id": "c2"}, {**OUTPUT, "call_id": "c2"}, tools=[TOOL]), lambda body: json.dumps(body).count("rs_1") > 1, refusal("Duplicate item found with id rs_1. Remove duplicate items from your input and try again.", "input")),
    "another vendor's id": (items(USER, {**CALL, "id": "call_1"}, OUTPUT, tools=[TOOL]), has_item(lambda item: item.get("id") == "call_1"), refusal("Invalid 'input[1].id': 'call_1'. Expected an ID that begins with 'fc'.", "input[1].id", "invalid_value")),
    "a message of nothing": (items({"role": "user", "content": []}, USER), has_item(lambda item: item.get("content") == []), refusal("Invalid 'input[0].content': empty array. Expected an array with minimum length 1, but got an empty array instead.", "input[0].content", "empty_array")),
    "a tool's name": (items(tools=[{**TOOL, "name": "a.b"}]), has("a.b"), refusal("Invalid 'tools[0].name': string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'.", "tools[0].name", "invalid_value")),
    "a past tool's name": (items(USER, {**CALL, "name": "a.b"}, OUTPUT, tools=[TOOL]), has("a.b"), refusal("Invalid 'input[1].name': string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'.", "input[1].name", "invalid_value")),
    "no images from this model": (items(tools=[TOOL, {"type": "image_generation"}]), has("image_generation"), refusal("Tool 'image_generation' is not supported with gpt-5.3-codex-spark.", "tools")),
    "no search with this model": (items(tools=[TOOL, {"type": "web_search"}]), has("web_search"), refusal("Hosted tool 'web_search' is not supported with gpt-5-nano.", "tools")),
    "llama.cpp's tools": (items(tools=[TOOL, {"type": "web_search"}]), has("web_search"), refusal("'type' of tool must be 'function'")),
    "llama.cpp's items": (items(USER, {"type": "custom_tool_call", "call_id": "c1", "name": "c", "input": "x"}, {"type": "custom_tool_call_output", "call_id": "c1", "output": "y"}), has("custom_tool_call"), refusal("Cannot determine type of 'item'")),
    "a role": (items({"role": "developer", "content": "d"}, USER), has("developer"), refusal("Unexpected message role.")),
    "strict of null": (items(tools=[{**TOOL, "strict": None}]), has('"strict": null'), {"detail": [{"type": "bool_type", "loc": ["body", "tools", 0, "function", "strict"], "msg": "Input should be a valid boolean", "input": None}]}),
    "a namespace": (items(USER, {**CALL, "namespace": "mcp__x__"}, OUTPUT, tools=[NAMESPACE]), has('"namespace"'), refusal("Unknown parameter: 'input[1].namespace'.", "input[1].namespace", "unknown_parameter")),
    "thoughts in words": (items(USER, {**REASONING, "content": [{"type": "reasoning_text", "text": "t"}]}, CALL, OUTPUT, tools=[TOOL]), has_item(lambda item: item.get("type") == "reasoning" and bool(item.get("content"))), refusal("Invalid 'input[1].content': array too long. Expected an array with maximum length 0, but got an array with length 1 instead.", "input[1].content", "array_above_max_length")),
    "annotations": (items(USER, {**SAID, "id": "msg_1", "status": "completed"}, USER), has_item(lambda item: item.get("role") == "assistant" and "annotations" not in item["content"][0]), refusal("Missing required parameter: 'input[1].content[0].annotations'.", "input[1].content[0].annotations", "missing_required_parameter")),
    "an open schema that is strict": (items(tools=[{**TOOL, "strict": True, "parameters": OPEN}]), lambda body: body["tools"][0]["strict"] and "additionalProperties" not in json.dumps(body), refusal("Invalid schema for function 'f': In context=(), 'additionalProperties' is required to be supplied and to be false.", "tools[0].parameters", "invalid_function_parameters")),
    "an open format that is strict": (items(text={"format": {"type": "json_schema", "name": "n", "strict": True, "schema": OPEN}}), lambda body: "additionalProperties" not in json.dumps(body), refusal("Invalid schema for response_format 'n': In context=(), 'additionalProperties' is required to be supplied and to be false.", "text.format.schema", "invalid_json_schema")),
    "JSON without its name": (items(text={"format": {"type": "json_object"}}), lambda body: "JSON" not in json.dumps(body["input"]), refusal("Response input messages must contain the word 'json' in some form to use 'text.format' of type 'json_object'.", "input")),
    "a message that nobody stored": (items(USER, {**SAID, "id": "msg_1", "status": "completed"}, USER), has("msg_1"), refusal("Item with id 'msg_1' not found. Items are not persisted when `store` is set to false. Try again with `store` set to true, or remove this item from your input.", "input")),
    "Azure": (items(tools=[TOOL, {"type": "web_search"}]), has("web_search"), {"error": {"code": "OperationNotSupported", "message": "The requested operation is unsupported."}}),
    "xAI's empty answer": (items(USER, {"role": "assistant", "content": ""}, USER), has_item(lambda item: item.get("content") in ("", [])), {"code": "Client specified an invalid argument", "error": "Each message must have at least one content element."}),
    "metadata of null": (items(metadata=None), has('"metadata": null'), {"detail": [{"type": "dict_type", "loc": ["body", "metadata"], "msg": "Input should be a valid dictionary", "input": None}]}),
    "decolua/9router#1758": (items(tools=[AGENTS["tools"][0]]), has('"encrypted"'), refusal("Function 'functions.spawn_agent' declares encrypted parameters, but the selected model is not configured for encrypted tool use.", "tools")),
    "the same in a namespace": (items(tools=[AGENTS]), has('"encrypted"'), refusal("functions.spawn_agent declares encrypted parameters, but the selected model/backend is not configured for encrypted tool use")),
    "a stream to an organization that nobody verified": (items(stream=True), lambda body: bool(body.get("stream")), refusal("Your organization must be verified to stream this model. Please go to: https://platform.openai.com/settings/organization/general", "stream", "unsupported_value")),
}  # fmt: skip


def ask_strict(
    monkeypatch: pytest.MonkeyPatch, client: Client, upstream: FakeUpstream, dialect: str, model: str, body: Body, is_bad: Is, refused: Body
) -> int:  # fmt: skip
    """The status that a client gets of a server that refuses each bad request."""

    def judge(request: Seen) -> Reply:
        return (
            json_reply(refused, 404 if "not persisted" in str(refused) else 400)
            if is_bad(request.json())
            else json_reply(whole_reply(dialect, "t"))
        )

    monkeypatch.setattr(upstream, "_next_reply", judge)
    return client.ask(PATHS[dialect], {**body, "model": model}).status_code


def anthropics(words: str) -> Body:
    return {"type": "error", "error": {"type": "invalid_request_error", "message": words}}


@both_modes
@pytest.mark.parametrize("case", [*MESSAGES, *NEWER])
def test_a_messages_server_is_asked_in_the_shape_that_it_takes(
    every: Client, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch, case: str, stream: bool
) -> None:
    body, is_bad, words = (MESSAGES | NEWER)[case]
    body = {**body, "stream": stream}

    assert ask_strict(monkeypatch, every, upstream, "A", "messages/m", body, is_bad, anthropics(words)) == 200


@pytest.mark.parametrize("case", OLDER)
def test_a_server_that_resembles_anthropics_is_understood(
    every: Client, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    body, is_bad, refused = OLDER[case]

    assert ask_strict(monkeypatch, every, upstream, "A", "messages/m", body, is_bad, refused) == 200


@pytest.mark.parametrize("case", CLAUDE)
def test_claude_is_asked_for_no_more_strictness_than_it_has(
    every: Client, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    body, is_bad, words = CLAUDE[case]

    assert (
        ask_strict(monkeypatch, every, upstream, "A", "messages/claude-opus-4-8", body, is_bad, anthropics(words))
        == 200
    )


@both_modes
@pytest.mark.parametrize("case", RESPONSES)
def test_a_responses_server_is_asked_in_the_shape_that_it_takes(
    every: Client, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch, case: str, stream: bool
) -> None:
    body, is_bad, refused = RESPONSES[case]
    body = {**body, "stream": stream or body.get("stream", False)}

    assert ask_strict(monkeypatch, every, upstream, "R", "responses/m", body, is_bad, refused) == 200


@pytest.mark.parametrize(("status", "words"), [
    (400, "The long context beta is not yet available for this subscription."),
    (429, "Extra usage is required for long context requests."),
])  # fmt: skip
def test_a_long_context_that_an_account_does_not_have_is_done_without(
    every: Client, upstream: FakeUpstream, status: int, words: str
) -> None:
    upstream.script(json_reply(anthropics(words), status), json_reply(whole_reply("A", "t")))

    told = every.ask(PATHS["A"], messages(model="messages/m"), anthropic_beta="context-1m-2025-08-07,effort-2025-11-24")

    assert told.status_code == 200
    assert upstream.seen[-1].headers["anthropic-beta"] == "effort-2025-11-24"


@pytest.mark.parametrize("words", [
    "messages.0.content.0.image.source.base64: image exceeds 5 MB maximum: 5600000 bytes > 5242880 bytes",
    "messages: this text breaks our rules",
])  # fmt: skip
def test_a_request_that_would_stay_as_it_is_is_sent_once(every: Client, upstream: FakeUpstream, words: str) -> None:
    upstream.script(json_reply(anthropics(words), 400))

    assert every.ask(PATHS["A"], messages(model="messages/m", tools=[FUNCTION])).status_code == 400
    assert len(upstream.seen) == 1


def test_the_thoughts_of_another_vendor_go_back_to_it_without_a_content_of_null(
    every: Client, upstream: FakeUpstream
) -> None:
    upstream.script(json_reply(RESPONSES["Wei-Shaw/sub2api#4237"][2], 422), json_reply(whole_reply("R", "t")))

    every.ask(PATHS["R"], items(USER, REASONING, CALL, OUTPUT, tools=[TOOL], model="responses/m"))

    thought = {name: value for name, value in REASONING.items() if name != "content"}
    assert upstream.seen[-1].json()["input"][1] == thought
    assert len(upstream.seen) == 2


def test_where_a_model_runs_is_never_left_open(every: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply(anthropics("inference_geo: Extra inputs are not permitted"), 400))

    assert every.ask(PATHS["A"], messages(model="messages/m", inference_geo="eu")).status_code == 400


def test_an_image_whose_address_a_messages_server_refuses_is_not_sent_again(
    every: Client, upstream: FakeUpstream
) -> None:
    words = "messages.0.content.0.image.source: Input tag 'url' found using 'type' does not match any of the expected tags: 'base64'"
    upstream.script(json_reply(anthropics(words), 400))
    image = {"type": "image", "source": {"type": "url", "url": "https://127.0.0.1/x.png"}}

    refused = every.ask(PATHS["A"], messages(told(image), model="messages/m"))

    assert "base64" in refused.text
    assert len(upstream.seen) == 1


@both_modes
def test_a_full_context_has_the_code_at_which_codex_compacts(
    every: Client, upstream: FakeUpstream, stream: bool
) -> None:
    """unslothai/unsloth#10938."""
    error = {"code": 400, "message": "This model's maximum context length is 4096 tokens"}
    failed = {**whole_reply("R", ""), "output": [], "status": "failed", "error": error}
    events = named(
        {
            "type": "response.created",
            "sequence_number": 0,
            "response": {**failed, "status": "in_progress", "error": None},
        },
        {"type": "response.failed", "sequence_number": 1, "response": failed},
    )
    upstream.script(sse(*events) if stream else json_reply(failed))

    told = every.ask(PATHS["R"], items(model="responses/m", stream=stream))

    assert '"code":"context_length_exceeded"' in told.text.replace(" ", "")


def test_a_limit_of_a_tool_that_is_not_carried_limits_no_other(every: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply(whole_reply("R", "t")))

    every.ask(
        PATHS["A"],
        messages(model="responses/gpt-5", tools=[{"type": "web_fetch_20250910", "name": "web_fetch", "max_uses": 3}]),
    )

    assert "max_tool_calls" not in upstream.seen[0].json()


@pytest.mark.parametrize("model", ["chat/m", "responses/m"])
def test_nobody_is_told_of_a_search_for_tools(every: Client, upstream: FakeUpstream, model: str) -> None:
    found = {
        "type": "tool_search_tool_search_result",
        "tool_references": [{"type": "tool_reference", "tool_name": "f"}],
    }
    searched = (
        {**ASKED, "name": "tool_search_tool_bm25"},
        {"type": "tool_search_tool_result", "tool_use_id": ASKED["id"], "content": found},
    )
    upstream.script(json_reply(whole_reply("C" if model == "chat/m" else "R", "t")))

    every.ask(PATHS["A"], messages(USER, said(*searched, USED), told(RESULT), tools=[FUNCTION], model=model))

    assert "tool_search" not in upstream.seen[0].body.decode()
