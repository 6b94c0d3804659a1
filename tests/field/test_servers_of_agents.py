"""What the servers behind agents refuse that their clients send every time: the request that reaches them does without
it, or is sent once more without it."""

# ruff: noqa: E501 - one case a line

from __future__ import annotations

import json
from typing import Any

import pytest

from app.dialects import openai_responses
from app.errors import Failure
from app.gateway.failures.repairs.complaints import repair_of_complaint
from app.gateway.failures.repairs.refusal import Refusal
from app.providers.profiles import capabilities_for
from tests.field.asked import read_asked
from tests.field.asking import SCHEMA, UPSTREAMS, both_modes, called, every_client, saying, tool
from tests.field.pairs import ask, whole_reply
from tests.field.translating import RESPONSES, send
from tests.gateway.conftest import MakeClient
from tests.support.fake_upstream import FakeUpstream, Reply, json_reply

CONTEXT = (
    "No endpoints available that support Anthropic's context management features (context-management-2025-06-27). "
    "Context management requires a supported provider (Anthropic)."
)
REQUIRED = 'Value error, `tool_choice` must either be a named tool, "auto", or "none".'


def _refusal(message: str) -> Reply:
    return json_reply({"error": {"message": message, "type": "invalid_request_error", "code": 400}}, 400)


@pytest.mark.parametrize("fields", [{}, {"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}])
def test_a_beta_that_a_server_names_is_left_out_with_its_field(
    make_client: MakeClient, upstream: FakeUpstream, fields: dict[str, Any]
) -> None:
    """farion1231/cc-switch#1929, multica-ai/multica#450."""
    client = make_client()
    upstream.script(_refusal(CONTEXT), json_reply(whole_reply("A", "t")))

    body = {"model": "messages/m", "max_tokens": 9, "messages": [{"role": "user", "content": "q"}], **fields}
    answered = client.ask("/v1/messages", body, anthropic_beta="context-management-2025-06-27,claude-code-20250219")

    assert answered.status_code == 200
    headers = {name.lower(): value for name, value in upstream.seen[1].headers.items()}
    assert (headers["anthropic-beta"], "context_management" in upstream.seen[1].json()) == (
        "claude-code-20250219",
        False,
    )


@every_client
def test_a_demand_that_a_server_does_not_know_is_made_in_another_way(
    make_client: MakeClient, upstream: FakeUpstream, dialect: str
) -> None:
    """pydantic/pydantic-ai#728: vLLM."""
    upstream.script(_refusal(REQUIRED), json_reply(whole_reply("C", '{"x": 1}')))

    told = ask(make_client(), dialect, "chat/m", tool_choice={"type": "any"} if dialect == "A" else "required")

    assert told.calls == [("f", {"x": 1})]
    assert "tool_choice" not in upstream.seen[1].json()


@pytest.mark.parametrize("choice", [None, "auto", "required"])
def test_an_empty_list_of_tools_does_not_reach_a_server(
    make_client: MakeClient, upstream: FakeUpstream, choice: str | None
) -> None:
    """open-webui/open-webui#26655, vllm-project/vllm#21052."""
    upstream.script(json_reply(whole_reply("C", "t")))

    assert ask(make_client(), "C", "chat/m", tools=[], **({"tool_choice": choice} if choice else {})).text == "t"

    assert {"tools", "tool_choice"}.isdisjoint(upstream.seen[0].json())


@every_client
def test_results_name_their_tools_for_gemini(make_client: MakeClient, upstream: FakeUpstream, dialect: str) -> None:
    """NousResearch/hermes-agent#19728."""
    client = make_client(chat={"profile": "gemini"})
    upstream.script(json_reply(whole_reply("C", "t")))

    ask(client, dialect, "chat/m", **saying(dialect, called(dialect, result="r", id="c")))

    assert upstream.seen[0].json()["messages"][2] == {"role": "tool", "tool_call_id": "c", "name": "f", "content": "r"}


@pytest.mark.parametrize("dialect", ["C", "R"])
def test_cache_options_do_not_reach_the_backend_of_chatgpt_logins(
    make_client: MakeClient, upstream: FakeUpstream, dialect: str
) -> None:
    """router-for-me/CLIProxyAPI#897, #2466 and #4915: Factory Droid and GitHub Copilot Chat send them."""
    codex = {"kind": "openai", "dialect": "openai_responses", "base_url": f"{upstream.url}/v1", "profile": "codex"}
    upstream.script(json_reply(whole_reply("R", "t")))

    options = {"prompt_cache_options": {"mode": "implicit"}, "prompt_cache_retention": "24h"}
    assert ask(make_client(codex=codex), dialect, "codex/m", **options).text == "t"

    assert options.keys().isdisjoint(upstream.seen[0].json())


def test_changes_of_tools_do_not_reach_servers_that_only_resemble_anthropics(
    make_client: MakeClient, upstream: FakeUpstream
) -> None:
    """KarpelesLab/teamclaude#451: Kimi answers "Invalid request Error" for the rest of the session."""
    added = {
        "type": "tool_addition",
        "tool": {"type": "tool_definition", "definition": {"name": "g", "input_schema": SCHEMA}},
    }
    turns = [{"role": "user", "content": "q"}, {"role": "system", "content": [{"type": "text", "text": "s"}, added]}]
    upstream.script(json_reply(whole_reply("A", "t")))

    assert ask(make_client(messages={"profile": "kimi"}), "A", "messages/m", messages=turns).text == "t"

    assert b"tool_addition" not in upstream.seen[0].body
    assert list(read_asked(upstream.seen[0].json()).tools) == ["f", "g"]


LONG = "mcp__claude_ai_Cloudflare_Developer_Platform_2__search_cloudflare_documentation"
SAID = {"role": "assistant", "content": [{"type": "text", "text": "a"}]}
USER = {"role": "user", "content": "q"}


def _answered(*blocks: dict[str, Any]) -> list[Any]:
    return [USER, {"role": "assistant", "content": [*blocks, {"type": "text", "text": "a"}]}, USER]


SEARCHED = _answered(
    {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "z"}},
    {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
)
ADAPTIVE = {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}
STEERED = [USER, SAID, {"role": "system", "content": [], "output_config": {"effort": "low"}}, USER]
# What a server that resembles Anthropic's refuses, the request, and the words that may not be in the next one.
RESEMBLING: dict[str, tuple[str, dict[str, Any], str]] = {
    # chenyme/grok2api#595, sgasser/pasteguard#139
    "system turns": ('Messages API 不支持 role="system"', {"messages": [USER, {"role": "system", "content": "s"}]}, '"role":"system"'),
    "system turns, as Pydantic says it": ("messages.1.role: Input should be 'user' or 'assistant'", {"messages": [USER, {"role": "system", "content": "s"}]}, '"role":"system"'),
    # farion1231/cc-switch#1831 and #5643
    "sealed thinking": ("Unsupported content type: redacted_thinking", {"messages": _answered({"type": "redacted_thinking", "data": "x"})}, "redacted_thinking"),
    # farion1231/cc-switch#5085, anthropics/claude-code#69738
    "searches": ("The parameter messages.content.type specified in the request are not valid: invalid value", {"messages": SEARCHED}, "server_tool_use"),
    "searches, by their name": ("Unsupported content type: server_tool_use", {"messages": SEARCHED}, "server_tool_use"),
    # NomaDamas/CozyClay#403
    "an effort inside": ("messages.2.output_config: Extra inputs are not permitted", {"messages": STEERED, **ADAPTIVE}, '"content":[]'),
    # mirrorange/clove#40
    "an effort": ("output_config: Extra inputs are not permitted", {"messages": [USER], **ADAPTIVE}, "output_config"),
    "adaptive thinking": ("thinking: Input tag 'adaptive' found using 'type' does not match any of the expected tags: 'disabled', 'enabled'", {"messages": [USER], "max_tokens": 9000, **ADAPTIVE}, "adaptive"),
    # anthropics/claude-code#2485 and #21136
    "long names": ("tools.0.custom.name: String should have at most 64 characters", {"messages": [USER], "tools": [{"name": LONG, "input_schema": SCHEMA}]}, LONG),
    # anthropics/claude-code#20643, Yeachan-Heo/oh-my-claudecode#241
    "long names that a search found": ("messages.2.content.0.tool_result.content.0.tool_reference.tool_name: String should have at most 64 characters", {
        "messages": [USER, {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "ToolSearch", "input": {}}]},
                     {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": [{"type": "tool_reference", "tool_name": LONG}]}]}],
        "tools": [{"name": "ToolSearch", "input_schema": SCHEMA}, {"name": LONG, "input_schema": SCHEMA, "defer_loading": True}]}, LONG),
}  # fmt: skip


@pytest.mark.parametrize("case", RESEMBLING)
@both_modes
def test_a_server_that_resembles_anthropic_s_is_asked_again_without_what_it_refuses(
    make_client: MakeClient, upstream: FakeUpstream, case: str, stream: bool
) -> None:
    message, body, gone = RESEMBLING[case]
    upstream.script(_refusal(message), json_reply(whole_reply("A", "t")))

    told = ask(make_client(), "A", "messages/claude-opus-5", stream=stream, **body)

    assert told.text == "t", told.error
    assert gone in upstream.seen[0].body.decode().replace('": ', '":').replace(", ", ",")
    assert gone not in upstream.seen[1].body.decode()
    assert all(turn["content"] for turn in upstream.seen[1].json()["messages"])


@pytest.mark.parametrize("dialect", ["A", "C"])
def test_a_tool_s_fields_of_null_do_not_reach_a_server_that_wants_values(
    make_client: MakeClient, upstream: FakeUpstream, dialect: str
) -> None:
    """microsoft/vscode#316581: Copilot sends `strict: null` with every tool; others do so with a description."""
    upstream.script(json_reply(whole_reply(dialect, "t")))

    nulls = tool(dialect, strict=None, description=None)
    assert ask(make_client(), dialect, UPSTREAMS[dialect], tools=[nulls]).text == "t"

    assert b"null" not in upstream.seen[0].body


CALL = {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "{}", "status": "completed"}
THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAAAx"}
RESULT = {"type": "function_call_output", "call_id": "c", "output": "r"}
# What an upstream of Responses refuses, the items, and the words that may not be in the next request.
REFUSED_ITEMS: dict[str, tuple[str, list[Any], str]] = {
    # BerriAI/litellm#13420, zyycn/codex-proxy-rs#194, 1jehuang/jcode#1028, openai/openai-agents-python#3026
    "a status of null": ("Unknown parameter: 'input[1].status'.", [USER, {**THOUGHT, "status": None}, CALL, RESULT], '"status":null'),
    "a status": ("Unknown parameter: 'input[1].status'.", [USER, {**THOUGHT, "status": "completed"}, CALL, RESULT], '"gAAAAAx","status"'),
    # openai/openai-agents-python#569: after a handoff to a model that does not reason
    "thoughts of another model": ("Reasoning input items can only be provided to a reasoning or computer use model. Remove reasoning items from your input and try again.", [USER, THOUGHT, CALL, RESULT], "rs_1"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED_ITEMS)
@both_modes
def test_an_upstream_of_responses_is_asked_again_without_what_it_refuses(
    make_client: MakeClient, upstream: FakeUpstream, case: str, stream: bool
) -> None:
    message, items, gone = REFUSED_ITEMS[case]
    client = make_client(responses={"kind": "openai", "dialect": "openai_responses", "base_url": f"{upstream.url}/v1"})
    upstream.script(_refusal(message), json_reply(whole_reply("R", "t")))

    told = ask(client, "R", "responses/gpt-5", stream=stream, input=items)

    assert told.text == "t", told.error
    assert gone in upstream.seen[0].body.decode().replace('": ', '":').replace(", ", ",")
    assert gone not in upstream.seen[1].body.decode().replace('": ', '":').replace(", ", ",")


def test_calls_that_a_vendor_ties_to_lost_thoughts_get_other_ids() -> None:
    """VRSEN/agency-swarm#367: the id of a call tells the vendor that reasoning belongs to it."""
    vendor = capabilities_for("openai_responses", "https://api.openai.com/v1", "gpt-5-mini")
    refused = "Item 'fc_1' of type 'function_call' was provided without its required 'reasoning' item: 'rs_1'."
    body = json.dumps({"model": "gpt-5-mini", "input": [USER, CALL, RESULT], "store": False}).encode()
    failure = Failure(kind="invalid_request", message=refused)

    repair = repair_of_complaint(Refusal(failure, refused, vendor, body))

    assert repair is not None
    assert openai_responses.pass_request(body, vendor) is not None
    assert openai_responses.pass_request(body, repair.change(vendor)) is None
    sent, _ = send(RESPONSES, json.loads(body), repair.change(vendor))
    assert [item.get("id") for item in sent["input"] if item["type"] == "function_call"] != ["fc_1"]


EMPTY = {"role": "assistant", "content": ""}
TWICE = [
    USER,
    {"role": "user", "content": "z"},
    {"role": "assistant", "content": "a"},
    {"role": "assistant", "content": "b"},
    USER,
]
SUCCESSIVE = "deepseek-reasoner does not support successive user or assistant messages (messages[1] and messages[2] in your input). You should interleave the user/assistant messages in the message sequence."
# What a server of Chat refuses, the turns, and the roles of the next request.
REFUSED_TURNS: dict[str, tuple[str, list[Any], list[str]]] = {
    # defilantech/LLMKube#935; JailbrokenAI/wallbreaker#33, OnesoftQwQ/opencode-go-copilot#24
    "an empty answer": ("Assistant message must contain either 'content' or 'tool_calls'!", [USER, EMPTY, USER], ["user", "user"]),
    "an empty answer, at DeepSeek": ("Invalid assistant message: content or tool_calls must be set", [USER, EMPTY, USER], ["user", "user"]),
    # microsoft/autogen#5907, open-webui/open-webui#9266, Aider-AI/aider#2974, stackblitz-labs/bolt.diy#1235,
    # OpenHands/OpenHands#6459, BerriAI/litellm#8018
    "turns of one role": (SUCCESSIVE, TWICE, ["user", "assistant", "user"]),
}  # fmt: skip


# A translated request holds no empty answer.
TURNS_BY_CLIENT = [
    (case, dialect) for case, (_, turns, _) in REFUSED_TURNS.items() for dialect in ("C" if EMPTY in turns else "ACR")
]


@pytest.mark.parametrize(("case", "dialect"), TURNS_BY_CLIENT)
def test_a_server_of_chat_is_asked_again_with_turns_that_it_takes(
    make_client: MakeClient, upstream: FakeUpstream, dialect: str, case: str
) -> None:
    message, turns, roles = REFUSED_TURNS[case]
    upstream.script(_refusal(message), json_reply(whole_reply("C", "t")))

    told = ask(make_client(), dialect, "chat/m", **saying(dialect, turns))

    assert told.text == "t", told.error
    assert [turn["role"] for turn in upstream.seen[1].json()["messages"]] == roles


def test_a_long_name_in_the_history_is_shortened_like_its_tool_s(
    make_client: MakeClient, upstream: FakeUpstream
) -> None:
    """openclaw/openclaw#13134, anthropics/claude-code#96152."""
    turns = [
        USER,
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "y" * 250, "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "r"}]},
    ]
    upstream.script(json_reply(whole_reply("A", "t")))

    assert ask(make_client(), "A", "messages/m", messages=turns).text == "t"

    assert len(upstream.seen[0].json()["messages"][1]["content"][0]["name"]) <= 128


REFERENCE = [
    {"role": "user", "content": "q"},
    {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {}}]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "tool_reference", "tool_name": "g"}]}]},
]  # fmt: skip
DOCUMENT = [{"role": "user", "content": [{"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}}]}]  # fmt: skip
THOUGHT = [
    {"role": "user", "content": "q"},
    {"role": "assistant", "content": [{"type": "redacted_thinking", "data": "x"}, {"type": "text", "text": "a"}]},
    {"role": "user", "content": "r"},
]
BLOCKS: list[tuple[str, list[dict[str, Any]], str]] = [
    ("messages.2.content.0.tool_result.content.0: Input tag 'tool_reference' found using 'type' does not match any of the expected tags: 'text', 'image'", REFERENCE, "tool g is now available"),
    ("messages.2.content.0.tool_result.content.0.type: Input should be 'text' or 'image'", REFERENCE, "tool g is now available"),
    ("unknown content type: tool_reference", REFERENCE, "tool g is now available"),
    ("messages.0.content.0: Input tag 'document' found using 'type' does not match any of the expected tags", DOCUMENT, "words"),
    ("document content blocks are not supported", DOCUMENT, "words"),
    ("unknown variant `redacted_thinking`, expected one of `text`, `image`, `tool_use`, `tool_result`", THOUGHT, "a"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "turns", "kept"), BLOCKS)
@both_modes
def test_a_block_of_a_type_that_a_server_refuses_is_sent_as_text_or_not_at_all(
    make_client: MakeClient, upstream: FakeUpstream, words: str, turns: list[dict[str, Any]], kept: str, stream: bool
) -> None:
    """CLIProxyAPI#1725, headroomlabs-ai/headroom#753: servers that only resemble Anthropic's."""
    upstream.script(_refusal(words), json_reply(whole_reply("A", "t")))

    told = ask(make_client(), "A", "messages/claude-opus-4-8", stream=stream, messages=turns)

    assert told.text == "t", told.error
    first, second = (json.dumps(seen.json()["messages"]) for seen in upstream.seen)
    kinds = ("tool_reference", "document", "redacted_thinking")
    assert [kind for kind in kinds if f'"type": "{kind}"' in first]
    assert not [kind for kind in kinds if f'"type": "{kind}"' in second]
    assert kept in second
