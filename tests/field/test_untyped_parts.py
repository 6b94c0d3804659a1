"""Histories whose parts have no type, stand in another's turn, or beside the content."""

from __future__ import annotations

from typing import Any

import pytest

from tests.field.asked import read_asked
from tests.field.asking import UPSTREAMS, body_of, tool
from tests.field.pairs import whole_reply
from tests.gateway.conftest import Client
from tests.support.fake_upstream import FakeUpstream, json_reply

PNG = "iVBORw0KGgo="
IMAGE = f"image image/png;base64,{PNG}"
CALL = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"x": 1}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "ok"}
SHOWN = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
CALLED, ANSWERED = 'call f {"x": 1}', "result f ok"

Turn = tuple[str, Any]

HISTORIES: dict[str, tuple[list[Turn], list[str]]] = {
    "a text": ([("user", [{"text": "q"}])], ["user: q"]),
    "Gemini's image": ([("user", [{"inlineData": {"mimeType": "image/png", "data": PNG}}])], [IMAGE]),
    "its Python library's image": ([("user", [{"inline_data": {"mime_type": "image/png", "data": PNG}}])], [IMAGE]),
    "Gemini's call": (
        [
            ("user", [{"text": "q"}]),
            ("model", [{"functionCall": {"name": "f", "args": {"x": 1}}}]),
            ("user", [{"functionResponse": {"name": "f", "response": {"a": 1}}}]),
        ],
        ["user: q", CALLED, 'result f {"a": 1}'],
    ),
    "Bedrock's call": (
        [
            ("user", [{"text": "q"}, {"cachePoint": {"type": "default"}}]),
            ("assistant", [{"toolUse": {"toolUseId": "t1", "name": "f", "input": {"x": 1}}}]),
            ("user", [{"toolResult": {"toolUseId": "t1", "content": [{"text": "ok"}], "status": "success"}}]),
        ],
        ["user: q", CALLED, ANSWERED],
    ),
    "Bedrock's failed call": (
        [
            ("assistant", [{"text": "a"}, {"toolUse": {"toolUseId": "t1", "name": "f", "input": {"x": 1}}}]),
            ("user", [{"toolResult": {"toolUseId": "t1", "content": [{"json": {"b": 1}}], "status": "error"}}]),
        ],
        ["assistant: a", CALLED, 'result f [tool error] {"b": 1}'],
    ),
    "Bedrock's image": ([("user", [{"image": {"format": "png", "source": {"bytes": PNG}}}])], [IMAGE]),
    "Bedrock's thought": (
        [
            ("user", [{"text": "q"}]),
            ("assistant", [{"reasoningContent": {"reasoningText": {"text": "hm"}}}, {"text": "a"}]),
            ("user", [{"text": "go"}]),
        ],
        ["user: q", "assistant: a", "user: go"],
    ),
    "a call in the user's turn": (
        [("user", [{"type": "text", "text": "q"}, CALL, RESULT, {"type": "text", "text": "go"}])],
        ["user: q", CALLED, ANSWERED, "user: go"],
    ),
    "an image in the assistant's turn": (
        [("user", "q"), ("assistant", [{"type": "text", "text": "see"}, SHOWN]), ("user", "go")],
        ["user: q", "assistant: see", "user: [image from the message above]", IMAGE, "user: go"],
    ),
    "a part of Responses": ([("user", [{"type": "input_text", "text": "q"}])], ["user: q"]),
    "a part of Chat": (
        [("user", [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}])],
        [IMAGE],
    ),
}


@pytest.mark.parametrize("server", UPSTREAMS)
@pytest.mark.parametrize(("turns", "said"), HISTORIES.values(), ids=HISTORIES)
def test_a_history_with_odd_parts_is_understood(
    every: Client, upstream: FakeUpstream, server: str, turns: list[Turn], said: list[str]
) -> None:
    upstream.script(json_reply(whole_reply(server, "done")))
    path, body = body_of("A")
    messages = [{"role": role, "content": content} for role, content in turns]

    told = every.ask(path, body | {"model": UPSTREAMS[server], "messages": messages})

    assert told.status_code == 200, told.text
    asked = upstream.seen[0].json()
    heard = [line.replace("[error]", "[tool error]").partition("\n\n[attached")[0] for line in read_asked(asked).said]
    left = iter(heard)
    assert all(any(line == other for other in left) for line in said), heard
    kinds = {
        part.get("type")
        for turn in asked.get("messages", ())
        for part in turn["content"] or ()
        if isinstance(part, dict)
    }
    assert server != "A" or kinds <= {"text", "image", "tool_use", "tool_result", "thinking"}


@pytest.mark.parametrize("server", UPSTREAMS)
def test_parts_of_gemini_are_read_among_items(every: Client, upstream: FakeUpstream, server: str) -> None:
    upstream.script(json_reply(whole_reply(server, "done")))
    path, body = body_of("R")
    content = [{"text": "q"}, {"inlineData": {"mimeType": "image/png", "data": PNG}}]

    every.ask(path, body | {"model": UPSTREAMS[server], "input": [{"role": "user", "content": content}]})

    assert read_asked(upstream.seen[0].json()).says("user: q", IMAGE)


def test_an_image_of_the_assistant_is_shown_by_the_user_in_its_own_dialect_too(
    every: Client, upstream: FakeUpstream
) -> None:
    upstream.script(json_reply(whole_reply("R", "done")))
    path, body = body_of("R")
    shown = [
        {"type": "output_text", "text": "see"},
        {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"},
    ]
    spoken = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": shown},
        {"role": "user", "content": "go"},
    ]

    every.ask(path, body | {"model": "responses/m", "input": spoken})

    items = upstream.seen[0].json()["input"]
    assert [(item["role"], PNG in str(item)) for item in items] == [
        ("user", False),
        ("assistant", False),
        ("user", True),
    ]


@pytest.mark.parametrize("client", ["A", "R"])
@pytest.mark.parametrize(("name", "value"), [("files", [{"name": "a"}]), ("toolInvocations", [{"toolName": "f"}])])
def test_what_a_library_keeps_beside_a_message_is_reported(
    every: Client, upstream: FakeUpstream, client: str, name: str, value: Any
) -> None:
    upstream.script(json_reply(whole_reply("C", "done")))
    path, body = body_of(client)
    field = "messages" if client == "A" else "input"
    beside = {"role": "user", "content": "q", name: value}

    told = every.ask(path, body | {"model": "chat/m", field: [beside]})
    clean = every.ask(path, body | {"model": "chat/m", field: [beside | {name: []}]})

    assert told.headers["x-dragoman-dropped"] == f"{field}[0].{name}"
    assert "x-dragoman-dropped" not in clean.headers


@pytest.mark.parametrize("client", ["A", "R"])
def test_images_beside_a_message_reach_a_server_of_the_same_dialect(
    every: Client, upstream: FakeUpstream, client: str
) -> None:
    upstream.script(json_reply(whole_reply(client, "done")))
    path, body = body_of(client)
    attached = {"url": f"data:image/png;base64,{PNG}", "contentType": "image/png"}
    spoken = [{"role": "user", "content": "q", "experimental_attachments": [attached]}]

    every.ask(path, body | {"model": UPSTREAMS[client], "messages" if client == "A" else "input": spoken})

    assert read_asked(upstream.seen[0].json()).says("user: q", IMAGE)


def test_parts_in_place_of_a_content_are_read_among_items(every: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply(whole_reply("R", "done")))
    path, body = body_of("R")

    every.ask(path, body | {"model": "responses/m", "input": [{"role": "user", "parts": [{"text": "q"}]}]})

    assert read_asked(upstream.seen[0].json()).says("user: q")


def test_a_rewritten_request_keeps_the_vendors_own_tools(every: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply(whole_reply("A", "done")))
    path, body = body_of("A")
    tools = [
        {"type": "advisor_20260301", "name": "advisor", "model": "claude-opus-5"},
        {"type": "computer_20251124", "name": "computer", "display_width_px": 1, "display_height_px": 1},
        tool("A"),
    ]

    every.ask(path, body | {"model": "messages/m", "messages": [{"role": "user", "content": [RESULT]}], "tools": tools})

    assert upstream.seen[0].json()["tools"] == tools
