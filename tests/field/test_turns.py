"""Turns that servers refuse, and that the request comes through all the same: at once where the server is known, else
after what it says.

Each case names where it was reported: the repository and the number of the issue or the pull request.
"""

# ruff: noqa: E501 - one case a line
from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from tests.field.asking import every_client
from tests.field.pairs import GOOD, ask
from tests.gateway.conftest import Client, MakeClient
from tests.support.fake_upstream import FakeUpstream, json_reply

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
Messages = list[dict[str, Any]]


def plain(dialect: str, *turns: tuple[str, str], system: str = "Be brief.") -> dict[str, Any]:
    """A conversation of texts, with instructions."""
    said = [{"role": role, "content": text} for role, text in turns]
    match dialect:
        case "A":
            return {"system": system, "messages": said}
        case "C":
            return {"messages": [{"role": "system", "content": system}, *said]}
        case _:
            return {"instructions": system, "input": said}


def called(dialect: str, after: str = "", result: str = "ok") -> dict[str, Any]:
    """A conversation with a call that says nothing, its result, and perhaps a word of the user's."""
    match dialect:
        case "A":
            words = [{"type": "text", "text": after}] if after else []
            return {
                "messages": [
                    {"role": "user", "content": "q"},
                    {
                        "role": "assistant",
                        "content": [{"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"x": 1}}],
                    },
                    {
                        "role": "user",
                        "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": result}, *words],
                    },
                ]
            }
        case "C":
            call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
            words = [{"role": "user", "content": after}] if after else []
            return {
                "messages": [
                    {"role": "user", "content": "q"},
                    {"role": "assistant", "content": None, "tool_calls": [call]},
                    {"role": "tool", "tool_call_id": "call_1", "content": result},
                    *words,
                ]
            }
        case _:
            words = [{"role": "user", "content": after}] if after else []
            return {"input": [{"role": "user", "content": "q"}, {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": '{"x":1}'},
                              {"type": "function_call_output", "call_id": "call_1", "output": result}, *words]}  # fmt: skip


def pictured(dialect: str, url: str) -> dict[str, Any]:
    match dialect:
        case "A":
            head, _, data = url.partition(";base64,")
            source = (
                {"type": "base64", "media_type": head.removeprefix("data:"), "data": data}
                if data
                else {"type": "url", "url": url}
            )
            return {
                "messages": [
                    {"role": "user", "content": [{"type": "text", "text": "q"}, {"type": "image", "source": source}]}
                ]
            }
        case "C":
            return {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "text", "text": "q"}, {"type": "image_url", "image_url": {"url": url}}],
                    }
                ]
            }
        case _:
            return {
                "input": [
                    {
                        "role": "user",
                        "content": [{"type": "input_text", "text": "q"}, {"type": "input_image", "image_url": url}],
                    }
                ]
            }


def roles(messages: Messages) -> list[str]:
    return [message["role"] for message in messages]


def ends_once(messages: Messages) -> bool:
    return roles(messages)[-2:] == ["user", "assistant"] and "42" in messages[-1]["content"]


def has_one_system(messages: Messages) -> bool:
    return "system" not in roles(messages)[1:] and "Be brief." in json.dumps(messages)


def has_no_system(messages: Messages) -> bool:
    first = messages[0]
    return (
        "system" not in roles(messages)
        and first["role"] == "user"
        and "Be brief." in first["content"]
        and "q" in first["content"]
    )


def alternates(messages: Messages) -> bool:
    spoken = [role for role in roles(messages) if role in ("user", "assistant")]
    return all(one != two for one, two in pairwise(spoken)) and has_one_system(messages)


def keeps_results_last(messages: Messages) -> bool:
    pairs = list(pairwise(roles(messages)))
    return ("tool", "user") not in pairs and "go on" in json.dumps(messages)


def has_short_ids(messages: Messages) -> bool:
    ids = [call["id"] for message in messages for call in message.get("tool_calls", [])]
    return (
        ids != []
        and ids == [message["tool_call_id"] for message in messages if message["role"] == "tool"]
        and all(len(one) == 9 and one.isalnum() for one in ids)
    )


def has_texts(messages: Messages) -> bool:
    return all(isinstance(message["content"], str) for message in messages)


def attached(dialect: str) -> dict[str, Any]:
    """A question about a PDF."""
    data = "JVBERi0xLjQK"
    if dialect == "A":
        source = {"type": "base64", "media_type": "application/pdf", "data": data}
        return {"messages": [{"role": "user", "content": [{"type": "document", "source": source}]}]}
    file = {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{data}"}
    if dialect == "C":
        return {"messages": [{"role": "user", "content": [{"type": "file", "file": file}]}]}
    return {"input": [{"role": "user", "content": [{"type": "input_file", **file}]}]}


def has_no_file(messages: Messages) -> bool:
    return "JVBERi0xLjQK" not in json.dumps(messages) and "omitted" in json.dumps(messages)


def has_no_image(messages: Messages) -> bool:
    return "image_url" not in json.dumps(messages) and PNG not in json.dumps(messages) and "q" in json.dumps(messages)


Check = Callable[[Messages], bool]
PREFILL = (("user", "q"), ("assistant", "The answer is"))
LATE = (("user", "q"), ("assistant", "a"), ("system", "Be brief. Late."), ("user", "q2"))
TWICE = (("user", "q"), ("user", "q2"), ("assistant", "a"), ("user", "q3"))

COMPLAINTS: dict[str, tuple[str, int, Callable[[str], dict[str, Any]], Check]] = {
    "NousResearch/hermes-agent#80265": ("Cannot have 2 or more assistant messages at the end of the list.", 400, lambda dialect: plain(dialect, *PREFILL, ("assistant", " 42")), ends_once),
    "charmbracelet/crush#279": ("After the optional system message, conversation roles must alternate user and assistant roles except for tool calls and results.", 400,
                                lambda dialect: plain(dialect, *TWICE), alternates),
    "vllm-project/vllm#44000": ("System message must be at the beginning.", 400, lambda dialect: plain(dialect, *LATE), has_one_system),
    "ollama/ollama#17774": ("system message must be at the beginning", 500, lambda dialect: plain(dialect, *LATE), has_one_system),
    "stanfordnlp/dspy#1627": ("System role not supported", 400, lambda dialect: plain(dialect, ("user", "q")), has_no_system),
    "huggingface/chat-ui#1386": ("Error in applying chat template from request: System role not supported", 400, lambda dialect: plain(dialect, ("user", "q"), ("assistant", "a"), ("user", "q2")), has_no_system),
    "pipecat-ai/pipecat-flows#178": ("Unexpected role 'user' after role 'tool'", 400, lambda dialect: called(dialect, "go on"), keeps_results_last),
    "an id of Mistral's": ("Tool call id was call_1 but must be a-z, A-Z, 0-9, with a length of 9.", 400, called, has_short_ids),
    "SAIL-Research-Lab/cheetahclaws#72": ("invalid message content type: <nil>", 400, called, has_texts),
    "lmstudio-ai/lmstudio-bug-tracker#261": ("Invalid 'content': 'content' field must be a string or an array of objects.", 400, called, has_texts),
    "nexu-io/nexu#875": ("No endpoints found that support image input", 404, lambda dialect: pictured(dialect, f"data:image/png;base64,{PNG}"), has_no_image),
    "vercel/ai#9179": ("Failed to deserialize the JSON body into the target type: messages[3]: unknown variant `image_url`, expected `text` at line 1 column 4198046", 400,
                       lambda dialect: pictured(dialect, f"data:image/png;base64,{PNG}"), has_no_image),
    "deepseek-ai/DeepSeek-V3#1026": ("messages[66].content: unknown variant `image`, expected one of `text`, `tool_use`", 400, lambda dialect: pictured(dialect, f"data:image/png;base64,{PNG}"), has_no_image),
    "vllm-project/vllm no multimodal model": ("m is not a multimodal model", 400, lambda dialect: pictured(dialect, f"data:image/png;base64,{PNG}"), has_no_image),
    "vllm-project/vllm no images": ("At most 0 image(s) may be provided in one prompt.", 400, lambda dialect: pictured(dialect, f"data:image/png;base64,{PNG}"), has_no_image),
    "ollama/ollama": ("this model is missing data required for image input", 400, lambda dialect: pictured(dialect, f"data:image/png;base64,{PNG}"), has_no_image),
}  # fmt: skip


@every_client
def test_turns_that_a_server_complains_of_are_mended(client: Client, upstream: FakeUpstream, dialect: str) -> None:
    wrong = {}
    for number, (name, (message, status, make, is_right)) in enumerate(COMPLAINTS.items()):
        upstream.seen.clear()
        upstream.script(json_reply({"error": {"message": message, "type": "invalid_request_error"}}, status), GOOD)

        told = ask(client, dialect, f"chat/m{number}", **make(dialect))

        sent = upstream.seen[-1].json()["messages"]
        if told.text != "t" or not is_right(sent):
            wrong[name] = (told.status, told.error, sent)

    assert wrong == {}


@every_client
@pytest.mark.parametrize(("message", "status"), [
    ("Failed to deserialize the JSON body into the target type: messages[0]: unknown variant `file`, expected `text` or `image_url`", 400),
    ("Invalid value: 'file'. Supported values are: 'text','image_url','input_audio','refusal','audio', and 'video'.", 400),
    ("Input tag 'file' found using 'type' does not match any of the expected tags: 'text', 'image_url'", 422),
    ("unsupported content part type: file", 400),
])  # fmt: skip
def test_a_file_that_a_server_cannot_read_is_named_instead(client: Client, upstream: FakeUpstream, dialect: str, message: str, status: int) -> None:  # fmt: skip
    """In the words of serde, OpenAI, pydantic and llama.cpp."""
    upstream.script(json_reply({"error": {"message": message, "type": "invalid_request_error"}}, status), GOOD)

    told = ask(client, dialect, "chat/gpt-4.1", **attached(dialect))

    assert told.text == "t"
    assert "JVBERi0xLjQK" in upstream.seen[0].body.decode()
    assert has_no_file(upstream.seen[1].json()["messages"])


@every_client
@pytest.mark.parametrize(("message", "content"), [
    ("'messages.0' : for 'role:user' the following must be satisfied[('messages.0.content' : value must be a string)]", "OpenHands/OpenHands#4643"),
    ("<400> InternalError.Algo.InvalidParameter: The provided messages input is invalid. The error info is [Unexpected item type in content.]", "can1357/oh-my-pi#1859"),
])  # fmt: skip
def test_texts_are_no_lists_where_the_server_wants_none(client: Client, upstream: FakeUpstream, dialect: str, message: str, content: str) -> None:  # fmt: skip
    upstream.script(json_reply({"error": {"message": message}}, 400), GOOD)
    kind = "input_text" if dialect == "R" else "text"
    turn = {"role": "user", "content": [{"type": kind, "text": "q1"}, {"type": kind, "text": "q2"}]}

    told = ask(
        client, dialect, f"chat/{content[-5:].strip('#')}", **{"input" if dialect == "R" else "messages": [turn]}
    )

    assert told.text == "t"
    assert "q1" in upstream.seen[-1].json()["messages"][-1]["content"]
    assert has_texts(upstream.seen[-1].json()["messages"])


@every_client
@pytest.mark.parametrize("profile", ["ollama", "lmstudio"])
def test_a_call_alone_has_an_empty_text_for_servers_that_know_no_null(make_client: MakeClient, upstream: FakeUpstream, dialect: str, profile: str) -> None:  # fmt: skip
    """SAIL-Research-Lab/cheetahclaws#72, Dicklesworthstone/pi_agent_rust#45, lmstudio-ai/lmstudio-bug-tracker#261."""
    client = make_client(chat={"profile": profile})
    upstream.script(GOOD)

    assert ask(client, dialect, "chat/m", **called(dialect)).text == "t"

    assert has_texts(upstream.seen[-1].json()["messages"])


@pytest.mark.parametrize("place", ["id", "call_id"])
def test_ids_are_no_longer_than_openai_takes(every: Client, upstream: FakeUpstream, place: str) -> None:
    """decolua/9router#393, AnswerDotAI/fastllm#45, github/app#409, can1357/oh-my-pi#284, anomalyco/opencode#17933:
    with Responses on both sides."""
    item = {"type": "message", "id": "msg_1", "role": "assistant", "content": [{"type": "output_text", "text": "t"}]}
    upstream.script(
        json_reply({"id": "r", "object": "response", "status": "completed", "model": "m", "output": [item]})
    )
    call_id = "call_" + "x" * 90 if place == "call_id" else "call_1"
    call: dict[str, Any] = {"type": "function_call", "call_id": call_id, "name": "f", "arguments": "{}"}
    if place == "id":
        call["id"] = "fc_" + "y" * 400
    asked = [
        {"role": "user", "content": "q"},
        call,
        {"type": "function_call_output", "call_id": call_id, "output": "ok"},
    ]

    assert ask(every, "R", "responses/gpt-5-mini", input=asked).text == "t"

    sent = upstream.seen[-1].json()["input"]
    assert all(len(entry.get(name) or "") <= 64 for entry in sent for name in ("id", "call_id"))
    assert len({entry["call_id"] for entry in sent if "call_id" in entry}) == 1
