"""What an upstream's own tools did, for clients of the other dialects.

Sources: raine/claude-code-proxy#10, openai/openai-agents-python#4222 (searches and sources); maximhq/bifrost#1241,
BerriAI/litellm#7970 (places of citations); BerriAI/litellm#40653 (told twice).
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.conversation.blocks import DialectName, Proof
from app.conversation.envelope import seal
from tests.field.asking import both_modes
from tests.field.translating import CHAT, MESSAGES, RESPONSES, answer, send, texts, upstream

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
URL = "https://e.example/"
PAGE = {"type": "url_citation", "url": URL, "title": "T", "start_index": 7, "end_index": 12}
SOURCES = [{"type": "url", "url": URL}]

HOSTED: dict[str, dict[str, Any]] = {
    "search": {
        "type": "web_search_call",
        "id": "ws_1",
        "action": {"type": "search", "query": "asked", "sources": SOURCES},
    },
    "fetch": {"type": "web_search_call", "id": "ws_2", "action": {"type": "open_page", "url": URL + "asked"}},
    "code": {
        "type": "code_interpreter_call",
        "id": "ci_1",
        "code": "asked",
        "outputs": [{"type": "logs", "logs": "told"}],
    },
    "mcp": {
        "type": "mcp_call",
        "id": "m_1",
        "server_label": "s",
        "name": "n",
        "arguments": '{"a":"asked"}',
        "output": "told",
    },
    "files": {
        "type": "file_search_call",
        "id": "f_1",
        "queries": ["asked"],
        "results": [{"filename": "a", "text": "told"}],
    },
    "image": {"type": "image_generation_call", "id": "i_1", "revised_prompt": "asked", "result": PNG},
}
SERVED: dict[str, list[dict[str, Any]]] = {
    "search": [
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "asked"}},
        {
            "type": "web_search_tool_result",
            "tool_use_id": "srvtoolu_1",
            "content": [{"type": "web_search_result", "url": URL, "title": "T", "encrypted_content": "E"}],
        },
    ],
    "code": [
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "code_execution", "input": {"code": "asked"}},
        {
            "type": "code_execution_tool_result",
            "tool_use_id": "srvtoolu_1",
            "content": {
                "type": "code_execution_result",
                "stdout": "told",
                "stderr": "",
                "return_code": 0,
                "content": [],
            },
        },
    ],
    "mcp": [
        {"type": "mcp_tool_use", "id": "mcptoolu_1", "name": "n", "server_name": "s", "input": {"a": "asked"}},
        {"type": "mcp_tool_result", "tool_use_id": "mcptoolu_1", "content": [{"type": "text", "text": "told"}]},
    ],
}
SHOWN = {"search": "web_search_call", "code": "code_interpreter_call", "mcp": "mcp_call"}


def responses_reply(*items: dict[str, Any]) -> dict[str, Any]:
    return {"id": "resp_1", "status": "completed", "output": [{"status": "completed", **item} for item in items]}


def said(text: str, *annotations: dict[str, Any]) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": list(annotations)}
    return {"type": "message", "id": "msg_1", "role": "assistant", "content": [part]}


def messages_reply(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"id": "msg_1", "content": list(blocks), "stop_reason": "end_turn", "usage": {"input_tokens": 1}}


@both_modes
@pytest.mark.parametrize("kind", HOSTED)
def test_a_messages_client_sees_what_tools_of_responses_did(kind: str, stream: bool) -> None:
    reply = responses_reply(HOSTED[kind], said("done"))

    got = answer(MESSAGES, ask(MESSAGES), upstream(RESPONSES), reply, stream=stream)

    call, result = got["content"][:2]
    assert call["type"] in ("server_tool_use", "mcp_tool_use")
    assert result["type"].endswith("_tool_result")
    assert result["tool_use_id"] == call["id"]
    assert "asked" in texts(call)
    assert any(word in texts(result) for word in ("told", URL, PNG))
    assert got["content"][-1]["text"] == "done"


@both_modes
@pytest.mark.parametrize("kind", SERVED)
def test_a_responses_client_sees_what_tools_of_messages_did(kind: str, stream: bool) -> None:
    reply = messages_reply(*SERVED[kind], {"type": "text", "text": "done"})

    got = answer(RESPONSES, ask(RESPONSES), upstream(MESSAGES), reply, stream=stream)

    item = got["output"][0]
    assert item["type"] == SHOWN[kind]
    assert "asked" in texts(item)
    assert ("told" if kind != "search" else URL) in texts(item)


@both_modes
@pytest.mark.parametrize(("to", "reply"), [
    *[(RESPONSES, responses_reply(item, said("done"))) for item in HOSTED.values()],
    *[(MESSAGES, messages_reply(*blocks, {"type": "text", "text": "done"})) for blocks in SERVED.values()],
])  # fmt: skip
def test_a_chat_client_sees_it_beside_the_answer(to: DialectName, reply: dict[str, Any], stream: bool) -> None:
    got = answer(CHAT, ask(CHAT), upstream(to), reply, stream=stream)

    message = got["choices"][0]["message"]
    assert message["content"] == "done"
    assert "asked" in message["reasoning_content"]
    assert any(word in texts(message) for word in ("told", URL, PNG))


@both_modes
@pytest.mark.parametrize("kind", SERVED)
@pytest.mark.parametrize("client", [RESPONSES, CHAT])
def test_a_vendor_gets_its_own_blocks_back_and_nothing_beside_them(
    kind: str, client: DialectName, stream: bool
) -> None:
    text = {"type": "text", "text": "done"}
    got = answer(client, ask(client), upstream(MESSAGES), messages_reply(*SERVED[kind], text), stream=stream)

    asked, _ = send(client, replay(client, got), upstream(MESSAGES))

    assert asked["messages"][1]["content"] == [*SERVED[kind], text]


@both_modes
@pytest.mark.parametrize("kind", [kind for kind in HOSTED if kind != "image"])
@pytest.mark.parametrize("client", [MESSAGES, CHAT])
def test_items_go_back_to_their_vendor_as_they_were(kind: str, client: DialectName, stream: bool) -> None:
    reply = responses_reply(HOSTED[kind], said("done"))
    got = answer(client, ask(client), upstream(RESPONSES), reply, stream=stream)

    asked, _ = send(client, replay(client, got), upstream(RESPONSES))

    kinds = [item["type"] for item in asked["input"]]
    assert kinds == ["message", HOSTED[kind]["type"], "message", "message"]
    assert asked["input"][1] == {"status": "completed", **HOSTED[kind]}


@pytest.mark.parametrize("kind", SERVED)
def test_another_vendor_is_told_once_and_not_in_the_model_s_words(kind: str) -> None:
    reply = messages_reply(*SERVED[kind], {"type": "text", "text": "done"})
    got = answer(RESPONSES, ask(RESPONSES), upstream(MESSAGES), reply, stream=False)

    asked, _ = send(RESPONSES, replay(RESPONSES, got), upstream(CHAT))

    assert [message["role"] for message in asked["messages"]] == ["user", "assistant", "user"]
    assert asked["messages"][1]["content"] == "done"
    assert texts(asked).count("asked") == 1


@pytest.mark.parametrize("kind", HOSTED)
def test_what_a_client_was_shown_of_another_vendor_never_reaches_claude_as_its_own(kind: str) -> None:
    reply = responses_reply(HOSTED[kind], said("done", PAGE))
    got = answer(MESSAGES, ask(MESSAGES), upstream(RESPONSES), reply, stream=False)

    asked, _ = send(MESSAGES, replay(MESSAGES, got), upstream(MESSAGES))

    assert "gw1." not in texts(asked)
    assert [block["type"] for block in asked["messages"][1]["content"]] == ["text"]


@both_modes
@pytest.mark.parametrize("client", [CHAT, RESPONSES])
def test_a_citation_of_claude_stands_where_the_cited_words_stand(client: DialectName, stream: bool) -> None:
    page = {"type": "web_search_result_location", "url": URL, "title": "T", "encrypted_index": "E", "cited_text": "x"}
    blocks = [{"type": "text", "text": 'plain "😀". '}, {"type": "text", "text": "cited", "citations": [page]}]

    got = answer(client, ask(client), upstream(MESSAGES), messages_reply(*blocks), stream=stream)

    if client == CHAT:
        message = got["choices"][0]["message"]
        text, place = message["content"], message["annotations"][0]["url_citation"]
    else:
        part = got["output"][0]["content"][1]
        text, place = part["text"], part["annotations"][0]
    assert (place["url"], text[place["start_index"] : place["end_index"]]) == (URL, "cited")


@both_modes
def test_a_citation_in_the_second_message_of_responses_stands_in_the_joined_text(stream: bool) -> None:
    plan = {**said("the plan"), "phase": "commentary"}
    reply = responses_reply(plan, {**said("plain. cited", PAGE), "id": "msg_2", "phase": "final_answer"})

    message = answer(CHAT, ask(CHAT), upstream(RESPONSES), reply, stream=stream)["choices"][0]["message"]

    place = message["annotations"][0]["url_citation"]
    assert message["content"][place["start_index"] : place["end_index"]] == "cited"


@both_modes
@pytest.mark.parametrize("to", [CHAT, RESPONSES])
def test_a_page_that_an_answer_cites_is_kept_for_messages_clients_and_goes_back_as_it_was(
    to: DialectName, stream: bool
) -> None:
    nested = {"type": "url_citation", "url_citation": {key: value for key, value in PAGE.items() if key != "type"}}
    choice = {"message": {"content": "plain. cited", "annotations": [nested]}, "finish_reason": "stop"}
    reply = {"id": "c", "choices": [choice]} if to == CHAT else responses_reply(said("plain. cited", PAGE))

    got = answer(MESSAGES, ask(MESSAGES), upstream(to), reply, stream=stream)

    assert got["content"][0]["citations"][0]["url"] == URL
    asked, _ = send(MESSAGES, replay(MESSAGES, got), upstream(RESPONSES))
    assert asked["input"][1]["content"][0]["annotations"] == [PAGE]


@both_modes
def test_the_next_turn_runs_on_the_same_machine(stream: bool) -> None:
    """Anthropic API reference, "Code execution": the files of a container are there for who names it."""
    body = {"input": "q", "tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]}
    reply = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "stop_reason": "end_turn",
        "content": [
            {"type": "thinking", "thinking": "because", "signature": "c2lnbmVk"},
            {"type": "server_tool_use", "id": "srvtoolu_1", "name": "code_execution", "input": {"code": "print(1)"}},
            {
                "type": "code_execution_tool_result",
                "tool_use_id": "srvtoolu_1",
                "content": {"type": "code_execution_result", "stdout": "1", "stderr": "", "return_code": 0},
            },
            {"type": "text", "text": "done"},
        ],
        "container": {"id": "container_9", "expires_at": "2030-01-01T00:00:00Z"},
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    can = upstream(MESSAGES)

    told = answer(RESPONSES, body, can, reply, stream=stream)

    history = [{"role": "user", "content": "q"}, *told["output"], {"role": "user", "content": "more"}]
    asked, _ = send(RESPONSES, {**body, "input": history}, can)
    assert asked["container"] == "container_9"
    assert [block["type"] for block in asked["messages"][1]["content"]] == [block["type"] for block in reply["content"]]
    elsewhere, _ = send(RESPONSES, {**body, "input": history}, upstream(RESPONSES))
    assert "container_9" not in texts(elsewhere)


def test_a_machine_whose_name_somebody_made_up_is_nobody_s() -> None:
    for originals in ((), (b"{}",), (b"7",), (b'"a"', b'"b"')):
        sealed = seal(Proof(MESSAGES, "container", originals))
        item = {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": sealed}
        said = [{"role": "user", "content": "q"}, item, {"role": "assistant", "content": "a"}]

        asked, _ = send(RESPONSES, {"input": said, "tools": [{"type": "code_interpreter"}]}, upstream(MESSAGES))

        assert "container" not in asked


def test_searches_are_counted() -> None:
    reply = {**responses_reply(HOSTED["search"], said("done")), "usage": {"input_tokens": 1, "output_tokens": 1}}

    for stream in (False, True):
        got = answer(MESSAGES, ask(MESSAGES), upstream(RESPONSES), reply, stream=stream)

        assert got["usage"]["server_tool_use"] == {"web_search_requests": 1, "web_fetch_requests": 0}


def ask(client: DialectName) -> dict[str, Any]:
    return {"input": [{"role": "user", "content": "q"}]} if client == RESPONSES else {"messages": [QUESTION]}


QUESTION = {"role": "user", "content": "q"}


def replay(client: DialectName, got: dict[str, Any]) -> dict[str, Any]:
    """The next request of a client that keeps all it got."""
    more = {"role": "user", "content": "more"}
    if client == RESPONSES:
        return {"input": [QUESTION, *json.loads(json.dumps(got["output"])), more]}
    if client == CHAT:
        return {"messages": [QUESTION, {"role": "assistant", **got["choices"][0]["message"]}, more]}
    return {"messages": [QUESTION, {"role": "assistant", "content": got["content"]}, more]}
