"""Items and blocks from after the day of writing, and what agents say to one another.

Sources: openai/codex#33551, CLIProxyAPI#4801, CLIProxyAPI#5207 (agent messages); CLIProxyAPI#5516 (compaction);
CLIProxyAPI#4699 (images in strings); maximhq/bifrost#2171 (blocks of tomorrow); BerriAI/litellm#40653 (searches).
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.conversation.blocks import DialectName
from app.errors import Unsupported
from tests.field.asking import both_modes
from tests.field.translating import CHAT, MESSAGES, RESPONSES, answer, send, spoken_by, texts, upstream

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
UNKNOWN: tuple[dict[str, Any], ...] = (
    {"type": "agent_message", "author": "/root", "content": [{"type": "input_text", "text": "the words"}]},
    {"type": "agent_message", "content": [{"type": "encrypted_content", "encrypted_content": "the words"}]},
    {"type": "agent_message", "author": "/root", "content": "the words"},
    {"type": "agent_message", "author": "/root", "message": "the words"},
    {"type": "agent_message", "author": "/root", "payload": {"task": "the words"}},
    {"type": "memory_note", "note": "the words"},
    {"type": "hologram", "beams": [{"caption": {"value": "the words"}}]},
    {"type": "progress_report", "summary": ["x", "the words"]},
    {"type": "computer_call_output", "call_id": "c", "output": {"type": "dom", "tree": "the words"}},
    {"type": "file_search_call", "id": "f", "queries": ["q"], "results": [{"filename": "a.md", "text": "the words"}]},
    {"type": "code_interpreter_call", "id": "c", "code": "1", "outputs": [{"type": "logs", "logs": "the words"}]},
    {"type": "mcp_call", "id": "m", "name": "n", "server_label": "s", "arguments": "{}", "output": "the words"},
    {"type": "web_search_call", "id": "w", "action": {"type": "search", "query": "the words"}},
    {"type": "program_output", "call_id": "p", "result": "the words"},
)


def user(said: str) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": said}


@pytest.mark.parametrize("to", [CHAT, MESSAGES])
@pytest.mark.parametrize("item", UNKNOWN, ids=lambda item: item["type"])
def test_what_an_unknown_item_says_is_told_to_the_model_and_is_never_its_own_word(
    item: dict[str, Any], to: DialectName
) -> None:
    said = [user("a"), {"role": "assistant", "content": "b"}, item, user("c")]

    asked, losses = send(RESPONSES, {"input": said}, upstream(to))

    assert "the words" in spoken_by("user", asked)
    assert "the words" not in spoken_by("assistant", asked)
    assert losses


@pytest.mark.parametrize("item", UNKNOWN, ids=lambda item: item["type"])
@pytest.mark.parametrize("to", [CHAT, MESSAGES])
def test_an_unknown_item_parts_no_call_from_its_result(item: dict[str, Any], to: DialectName) -> None:
    calls = [{"type": "function_call", "call_id": name, "name": "f", "arguments": "{}"} for name in ("x", "y")]
    results = [{"type": "function_call_output", "call_id": name, "output": f"r{name}"} for name in ("x", "y")]

    asked, _ = send(RESPONSES, {"input": [user("a"), calls[0], item, calls[1], *results]}, upstream(to))

    roles = [message["role"] for message in asked["messages"]]
    if to == CHAT:
        assert roles == ["user", "assistant", "tool", "tool", "user"]
    else:
        kinds = [block["type"] for block in asked["messages"][2]["content"]]
        assert roles == ["user", "assistant", "user"]
        assert kinds[:2] == ["tool_result", "tool_result"]
    assert "no result" not in texts(asked)


@pytest.mark.parametrize("to", [CHAT, MESSAGES])
@pytest.mark.parametrize("item_type", ["compaction", "compaction_summary", "context_compaction"])
def test_a_summary_in_plain_words_reaches_the_model(item_type: str, to: DialectName) -> None:
    item = {"type": item_type, "summary": [{"type": "summary_text", "text": "the words"}]}

    asked, _ = send(RESPONSES, {"input": [item, user("go on")]}, upstream(to))

    assert "the words" in texts(asked)


@pytest.mark.parametrize("to", [CHAT, MESSAGES])
def test_ciphertext_of_another_vendor_is_shown_to_nobody(to: DialectName) -> None:
    sealed = {"type": "encrypted_content", "encrypted_content": "gAAAAABoZ0VYQU1QTEU"}
    item = {"type": "agent_message", "content": [{"type": "input_text", "text": "Payload:"}, sealed]}

    asked, _ = send(RESPONSES, {"input": [user("a"), item]}, upstream(to))

    assert "gAAAAA" not in texts(asked)


@pytest.mark.parametrize("client", [CHAT, MESSAGES])
@pytest.mark.parametrize("to", [CHAT, MESSAGES, RESPONSES])
def test_an_unknown_block_of_a_message_is_told_in_words(client: DialectName, to: DialectName) -> None:
    if client == to:
        return  # its own dialect gets it back unchanged
    block = {"type": "hologram", "beams": [{"caption": "the words"}]}
    said = [{"role": "user", "content": [{"type": "text", "text": "a"}, block]}]

    asked, losses = send(client, {"messages": said}, upstream(to))

    assert "the words" in spoken_by("user", asked)
    assert losses


def test_what_a_user_just_said_and_nobody_can_read_is_refused() -> None:
    said = [{"role": "user", "content": [{"type": "hologram", "id": "h_1", "data": "QUJD" * 200}]}]

    with pytest.raises(Unsupported, match="hologram"):
        send(MESSAGES, {"messages": said}, upstream(CHAT))


@pytest.mark.parametrize("to", [CHAT, MESSAGES])
@both_modes
def test_a_compaction_trigger_is_answered_by_one_compaction_that_reads_back(to: DialectName, stream: bool) -> None:
    asked = {"input": [user("first"), {"type": "compaction_trigger"}], "tools": [{"type": "function", "name": "f"}]}
    chat = {"id": "c", "choices": [{"message": {"content": "SUM", "reasoning_content": "hm"}, "finish_reason": "stop"}]}
    message = {"id": "m", "content": [{"type": "text", "text": "SUM"}], "stop_reason": "end_turn"}

    sent, _ = send(RESPONSES, asked, upstream(to))
    got = answer(RESPONSES, asked, upstream(to), chat if to == CHAT else message, stream=stream)

    assert "first" in spoken_by("user", sent)
    assert sent["tool_choice"] in ("none", {"type": "none"})
    assert [item["type"] for item in got["output"]] == ["compaction"]
    again, _ = send(RESPONSES, {"input": [got["output"][0], user("go on")]}, upstream(to))
    assert "SUM" in texts(again)


@pytest.mark.parametrize("to", [CHAT, RESPONSES])
@both_modes
def test_a_messages_client_that_asks_for_a_compaction_gets_one_that_reads_back(to: DialectName, stream: bool) -> None:
    """Anthropic API reference, "compaction": the whole request is a wish for a summary."""
    history = [{"role": "user", "content": "first question"}, {"role": "assistant", "content": "first answer"}]
    wish = {"type": "summarize", "instructions": "Keep the colours."}
    body = {"messages": [*history, {"role": "user", "content": "q"}], "compaction": wish}
    said = {
        CHAT: {"id": "x", "choices": [{"message": {"content": "THE SUMMARY"}, "finish_reason": "stop"}]},
        RESPONSES: {
            "id": "r",
            "object": "response",
            "status": "completed",
            "model": "m",
            "output": [{"id": "m", "type": "message", "content": [{"type": "output_text", "text": "THE SUMMARY"}]}],
        },
    }[to]

    asked, losses = send(MESSAGES, body, upstream(to))
    told = answer(MESSAGES, body, upstream(to), said, stream=stream)

    assert all(word in spoken_by("user", asked) for word in ("Summarize everything", "Keep the colours."))
    assert "compaction" not in asked
    assert [loss.severity for loss in losses if loss.path == "compaction"] == ["ignorable"]
    (block,) = told["content"]
    assert (block["type"], told["stop_reason"]) == ("compaction", "compaction")
    again, _ = send(MESSAGES, {"messages": [{"role": "assistant", "content": [block]}, *history[:1]]}, upstream(to))
    assert "THE SUMMARY" in texts(again)


def test_claude_itself_is_asked_for_its_own_compaction() -> None:
    body = {"messages": [{"role": "user", "content": "q"}], "compaction": {"type": "summarize"}}

    asked, _ = send(MESSAGES, body, upstream(MESSAGES))

    assert asked["compaction"] == {"type": "summarize"}
    assert "Summarize" not in texts(asked["messages"])


def test_the_vendor_itself_is_asked_to_compact_in_its_own_words() -> None:
    asked, _ = send(RESPONSES, {"input": [user("a"), {"type": "compaction_trigger"}]}, upstream(RESPONSES))

    assert asked["input"][-1] == {"type": "compaction_trigger"}


@pytest.mark.parametrize("to", [CHAT, MESSAGES])
@pytest.mark.parametrize(
    "item",
    [
        {"type": "image_generation_call", "id": "i", "status": "completed", "result": PNG},
        {
            "type": "computer_call_output",
            "call_id": "c",
            "output": {"type": "computer_screenshot", "image_url": f"data:image/png;base64,{PNG}"},
        },
    ],
    ids=lambda item: item["type"],
)
def test_images_in_items_of_a_history_reach_the_model_as_images(item: dict[str, Any], to: DialectName) -> None:
    asked, _ = send(RESPONSES, {"input": [user("a"), item, user("b")]}, upstream(to))

    parts = [
        part for message in asked["messages"] if isinstance(message["content"], list) for part in message["content"]
    ]
    images = [part for part in parts if part["type"] in ("image_url", "image")]
    assert len(images) == 1
    assert PNG in texts(images)


@pytest.mark.parametrize("to", [CHAT, MESSAGES])
def test_an_image_within_a_string_of_json_is_seen(to: DialectName) -> None:
    listed = [
        {"type": "input_text", "text": "shot"},
        {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"},
    ]
    call = {"type": "function_call", "call_id": "x", "name": "f", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "x", "output": json.dumps(listed)}

    asked, _ = send(RESPONSES, {"input": [user("a"), call, output]}, upstream(to))

    assert texts(asked).count(PNG) == 1
    assert '\\"input_image' not in texts(asked)


@pytest.mark.parametrize("to", [CHAT, MESSAGES, RESPONSES])
def test_blocks_of_messages_on_the_chat_path_are_what_they_are(to: DialectName) -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    said = [
        {"role": "user", "content": [{"type": "text", "text": "look"}, image]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"p": 1}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "found"}]},
    ]

    asked, _ = send(
        CHAT, {"messages": said, "tools": [{"name": "f", "input_schema": {"type": "object"}}]}, upstream(to)
    )

    sent = texts(asked)
    assert PNG in sent
    assert "found" in sent
    if to == CHAT:
        assert [message["role"] for message in asked["messages"]] == ["user", "assistant", "tool"]
        assert asked["messages"][1]["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"p": 1}'}


@pytest.mark.parametrize("item", UNKNOWN, ids=lambda item: item["type"])
def test_a_server_that_only_speaks_responses_is_told_what_the_vendor_s_programs_say(item: dict[str, Any]) -> None:
    asked, _ = send(RESPONSES, {"input": [user("a"), item, user("b")]}, upstream(RESPONSES, "vllm"))

    assert {one.get("type") for one in asked["input"]} == {"message"}
    assert "the words" in spoken_by("user", asked)


@pytest.mark.parametrize("item", UNKNOWN, ids=lambda item: item["type"])
def test_the_vendor_itself_gets_its_items_as_they_are(item: dict[str, Any]) -> None:
    asked, _ = send(RESPONSES, {"input": [user("a"), item, user("b")]}, upstream(RESPONSES))

    assert item in asked["input"]


@both_modes
def test_a_server_that_only_speaks_responses_is_asked_for_a_summary(stream: bool) -> None:
    asked = {"input": [user("a"), {"type": "compaction_trigger"}]}
    part = {"type": "output_text", "text": "SUM", "annotations": []}
    message = {"type": "message", "id": "msg_1", "role": "assistant", "content": [part]}
    reply = {"id": "r", "status": "completed", "output": [message]}

    sent, _ = send(RESPONSES, asked, upstream(RESPONSES, "vllm"))
    got = answer(RESPONSES, asked, upstream(RESPONSES, "vllm"), reply, stream=stream)

    assert {item["type"] for item in sent["input"]} == {"message"}
    assert [item["type"] for item in got["output"]] == ["compaction"]


def test_a_responses_request_that_ends_with_an_answer_is_asked_as_it_is_where_it_is_rendered_anew() -> None:
    """OpenAI API reference, "Responses": any list of items is a valid input."""
    said = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "so far"}]

    asked, losses = send(RESPONSES, {"input": said}, upstream(RESPONSES))

    assert [item["role"] for item in asked["input"]] == ["user", "assistant"]
    assert not losses
