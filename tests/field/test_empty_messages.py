"""Servers that refuse a message without a word, or a conversation in which no user speaks."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.gateway.failures.learned_facts import REFUSALS_TO_LEARN
from tests.field.asking import UPSTREAMS, called, every_client, every_upstream, saying
from tests.field.pairs import GOOD, ask, whole_reply
from tests.gateway.conftest import Client, MakeClient
from tests.support.fake_upstream import FakeUpstream, json_reply

CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
USER = {"role": "user", "content": "q"}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "ok"}

# lidge-jun/opencodex#795, NousResearch/hermes-agent#98308, earendil-works/pi#3365, can1357/oh-my-pi#8768,
# MoonshotAI/kimi-cli#2621
REFUSALS: dict[str, dict[str, Any]] = {
    "Ark": {"code": "MissingParameter", "param": "input.content.text", "type": "BadRequest",
            "message": "The request failed because it is missing `input.content.text` parameter."},
    "Ark's plan": {"message": "missing input.content"},
    "MiniMax": {"type": "bad_request_error", "message": "invalid params, chat content is empty (2013)"},
    "GLM": {"code": "1213", "message": "未正常接收到prompt参数。"},
    "Z.AI": {"code": "1213", "message": "The prompt parameter was not received normally."},
    "Kimi": {"type": "invalid_request_error", "message": "Invalid request: text content is empty"},
    "another": {"message": "messages[1].content must not be empty"},
}  # fmt: skip
EMPTY = {
    "an answer": [USER, {"role": "assistant", "content": "", "tool_calls": [CALL]}, RESULT],
    "a result": [USER, {"role": "assistant", "content": None, "tool_calls": [CALL]}, {**RESULT, "content": ""}],
    "parts": [USER, {"role": "assistant", "content": [{"type": "text", "text": ""}], "tool_calls": [CALL]}, RESULT],
    "a turn": [USER, {"role": "assistant", "content": ""}, USER],
}


def holds_empty(body: Any) -> bool:
    return any(message.get("content") in ("", [], [{"type": "text", "text": ""}]) for message in body["messages"])


@pytest.mark.parametrize("vendor", REFUSALS)
@pytest.mark.parametrize("place", EMPTY)
def test_an_empty_content_that_a_server_refuses_is_sent_otherwise(
    client: Client, upstream: FakeUpstream, vendor: str, place: str
) -> None:
    upstream.script(*(json_reply({"error": REFUSALS[vendor]}, 400), GOOD) * REFUSALS_TO_LEARN, GOOD)

    told = [ask(client, "C", "chat/m", messages=EMPTY[place]) for _ in range(REFUSALS_TO_LEARN + 1)]

    assert [said.text for said in told] == ["t"] * (REFUSALS_TO_LEARN + 1), told
    assert [holds_empty(seen.json()) for seen in upstream.seen] == [True, False] * REFUSALS_TO_LEARN + [False]


def test_a_content_of_null_that_a_server_refuses_is_sent_as_words(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply({"error": REFUSALS["Ark"]}, 400), GOOD)
    said = [USER, {"role": "assistant", "content": None, "tool_calls": [CALL]}, RESULT]

    told = ask(client, "C", "chat/m", messages=said)

    assert told.text == "t"
    assert all(message["content"].strip() for message in upstream.seen[1].json()["messages"])


@every_client
def test_an_empty_result_is_words_for_a_server_that_refuses_it(
    make_client: MakeClient, upstream: FakeUpstream, dialect: str
) -> None:
    """quailyquaily/mistermorph#46."""
    client = make_client(chat={"profile": "volcengine"})
    upstream.script(GOOD)
    assert ask(client, dialect, "chat/m", **saying(dialect, called(dialect, result=""))).text == "t"

    asked = upstream.seen[0].json()["messages"]
    assert [message["content"] for message in asked if message["role"] == "tool"] == ["(no output)"]


def test_an_empty_question_is_the_clients_to_mend(client: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply({"error": REFUSALS["MiniMax"]}, 400))

    told = ask(client, "C", "chat/m", messages=[{"role": "user", "content": ""}])

    assert (told.status, "content is empty" in told.error) == (400, True)


WITHOUT_USER: dict[str, list[dict[str, Any]]] = {
    "instructions alone": [{"role": "system", "content": "say t"}],
    "a call and its result": [
        {"role": "system", "content": "s"},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        RESULT,
    ],
}


@pytest.mark.parametrize("case", WITHOUT_USER)
@pytest.mark.parametrize("words", ["messages 参数非法。请检查文档。", "No user query found in messages.", ""])
def test_a_conversation_without_a_user_gets_one_where_it_must(
    make_client: MakeClient, upstream: FakeUpstream, case: str, words: str
) -> None:
    """MetaGLM/zhipuai-sdk-python-v4#14, anomalyco/opencode#2557. Of GLM it is known beforehand."""
    client = make_client(chat={} if words else {"profile": "glm"})
    upstream.script(*([json_reply({"error": {"code": "1214", "message": words}}, 400)] if words else []), GOOD)

    told = ask(client, "C", "chat/m", messages=WITHOUT_USER[case])

    assert told.text == "t", told
    asked = upstream.seen[-1].json()["messages"]
    assert [message["role"] for message in asked].count("user") == 1
    assert WITHOUT_USER[case][0]["content"] in json.dumps(asked)


@every_upstream
@pytest.mark.parametrize("content", ["", " \n", []])
@every_client
def test_an_empty_message_at_the_end_does_not_ask_to_continue_the_answer_before_it(
    every: Client, upstream: FakeUpstream, dialect: str, content: Any, to: str
) -> None:
    upstream.script(json_reply(whole_reply(to, "t")))
    turns = [USER, {"role": "assistant", "content": "a"}, {"role": "user", "content": content}]

    told = ask(every, dialect, UPSTREAMS[to], **saying(dialect, turns))

    assert told.error == ""
    body = upstream.seen[0].json()
    assert [turn["role"] for turn in body.get("messages") or body["input"]] == ["user", "assistant", "user"]


@pytest.mark.parametrize(("dialect", "to"), [("A", "C"), ("A", "R"), ("C", "A"), ("C", "R"), ("R", "A"), ("R", "C")])
def test_a_conversation_of_nothing_is_the_clients_to_mend(
    every: Client, upstream: FakeUpstream, dialect: str, to: str
) -> None:
    turns = [{"role": "system", "content": " " if dialect == "A" else ""}]

    told = ask(every, dialect, UPSTREAMS[to], **saying(dialect, turns))

    assert (told.status, upstream.seen) == (400, [])
    assert told.error.startswith("messages")


def test_a_user_s_turn_of_which_nothing_is_left_is_an_empty_text(every: Client, upstream: FakeUpstream) -> None:
    """OpenAI takes no empty list of parts."""
    upstream.script(GOOD)
    stray = {"type": "tool_use", "id": "c", "name": "f", "input": {}}

    assert ask(every, "A", "chat/m", messages=[USER, {"role": "user", "content": [stray]}]).text == "t"

    assert [] not in [turn["content"] for turn in upstream.seen[0].json()["messages"]]
