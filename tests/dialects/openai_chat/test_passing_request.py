"""Which requests pass byte by byte to a server of Chat Completions, and which go through the conversation instead."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.dialects import openai_chat
from app.dialects.openai_chat.passing_request import pass_request
from app.providers.profiles import capabilities_for
from tests.support.same_dialect import send_on

VENDOR = capabilities_for("openai_chat", "https://api.openai.com/v1", "gpt-5.1")
GENERIC = capabilities_for("openai_chat", "", "m")

QUESTION = {"role": "user", "content": "q"}
DATA = "data:image/png;base64,aGk="


def say(*parts: Any) -> list[Any]:
    return [{"role": "user", "content": list(parts)}]


def call(call_id: str = "c", **function: Any) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": "f", "arguments": "{}", **function}}


def use(*calls: dict[str, Any], results: tuple[str, ...] = ("c",), content: Any = "o") -> list[Any]:
    told = [{"role": "tool", "tool_call_id": name, "content": content} for name in results]
    return [QUESTION, {"role": "assistant", "content": None, "tool_calls": list(calls)}, *told]


TAKEN: dict[str, list[Any]] = {
    "text": [QUESTION],
    "parts": say({"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": DATA}}),
    "a part that nobody knows": say({"type": "brand_new", "text": "a"}),
    "words that look like parts": [{"role": "user", "content": '{"type":"tool_use"} "image_url":"x"'}],
    "calls and their results": use(call("a"), call("b"), results=("b", "a")),
    "a call without arguments": use(call(arguments="")),
    "a custom call": use({"id": "c", "type": "custom", "custom": {"name": "f", "input": "x"}}),
    "a call of old": [
        QUESTION,
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "o"},
    ],
}

REFUSED: dict[str, tuple[list[Any], list[Any]]] = {
    "text of Responses": (say({"type": "input_text", "text": "a"}), [{"role": "user", "content": "a"}]),
    "an image of Responses": (
        say({"type": "input_image", "image_url": DATA}),
        say({"type": "image_url", "image_url": {"url": DATA}}),
    ),
    "an image as a string": (
        say({"type": "image_url", "image_url": DATA}),
        say({"type": "image_url", "image_url": {"url": DATA}}),
    ),
    "an image of Messages": (
        say({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}),
        say({"type": "image_url", "image_url": {"url": DATA}}),
    ),
    "a search result of Messages": (
        say({"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": "x"}]}),
        [{"role": "user", "content": "t\ns\nx"}],
    ),
    "a string for a part": (say("hello"), [{"role": "user", "content": "hello"}]),
    "calls of Messages": (
        [
            QUESTION,
            {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "o"}]},
        ],
        use(call()),
    ),
    "a nameless call": (use(call(name="")), use(call(name="unnamed_tool"))),
    "a call without a type": (use({"id": "c", "function": {"name": "f", "arguments": "{}"}}), use(call())),
    "an object for arguments": (use(call(arguments={"x": 1})), use(call(arguments='{"x": 1}'))),
    "blanks for arguments": (use(call(arguments=" \n")), use(call())),
    "a call without a result": (
        [*use(call(), results=()), QUESTION],
        [*use(call(), content="[tool error] [no result: the call was interrupted]"), QUESTION],
    ),
    "a result without a call": (
        [QUESTION, {"role": "tool", "tool_call_id": "zz", "content": "o"}],
        [QUESTION, {"role": "user", "content": "[orphan tool result zz] o"}],
    ),
    "two calls under one id": (
        use(call("c"), call("c"), results=("c", "c")),
        use(call("c"), call("c_1"), results=("c", "c_1")),
    ),
}


def ask(messages: list[Any]) -> bytes:
    return json.dumps({"model": "m", "messages": messages}).encode()


@pytest.mark.parametrize("messages", TAKEN.values(), ids=TAKEN)
def test_what_the_vendor_takes_passes(messages: list[Any]) -> None:
    assert pass_request(ask(messages), VENDOR) == ask(messages).replace(b'"m"', b'"gpt-5.1"', 1)


@pytest.mark.parametrize(("sent", "wanted"), REFUSED.values(), ids=REFUSED)
def test_what_the_vendor_refuses_is_translated_to_what_it_takes(sent: list[Any], wanted: list[Any]) -> None:
    assert pass_request(ask(sent), VENDOR) is None
    assert pass_request(ask(sent), GENERIC) is None
    assert json.loads(send_on(openai_chat, ask(sent), VENDOR).body)["messages"] == wanted


def test_an_image_stands_behind_a_result_where_it_may_not_stand_in_it() -> None:
    sent = use(call(), content=[{"type": "image_url", "image_url": {"url": DATA}}])

    messages = json.loads(send_on(openai_chat, ask(sent), VENDOR).body)["messages"]

    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "user"]
    assert DATA in json.dumps(messages[3])
