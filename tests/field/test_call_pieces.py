"""Arguments of calls whose pieces are no pieces: all of them again, an object of nothing first or last.

Each case names where it was reported: the repository and the number of the issue or the pull request.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.field.asking import CLIENTS, every_client
from tests.field.pairs import CHAT_HEAD, ask, chat_events, chat_reply, delta
from tests.gateway.conftest import Client
from tests.support.fake_upstream import FakeUpstream, Piece, Reply, json_reply, sse

WHOLE = '{"path":"a {b} \\"c\\"","n":[{"m":1}]}'
PIECES: dict[str, list[str]] = {
    "NousResearch/hermes-agent#35718 all so far in each piece": [WHOLE[:end] for end in range(1, len(WHOLE) + 1)],
    "vercel/ai#15888 all so far in large pieces": [WHOLE[:6], WHOLE[:14], WHOLE],
    "icoretech/codex-pooler#193 the whole once more at the end": [*WHOLE, WHOLE],
    "the whole twice": [WHOLE, WHOLE],
    "the whole thrice": [WHOLE, WHOLE, WHOLE],
    "all so far, cut before a value": ['{"path"', '{"path":', WHOLE[:20], WHOLE],
    "an object of nothing first": ["{}", WHOLE],
    "an object of nothing, then pieces": ["{}", *WHOLE],
    "an object of nothing last": [*WHOLE, "{}"],
    "an object of nothing after the whole": [WHOLE, "{}"],
    "pieces that begin with a brace": ['{"path":"a ', "{", "b", "}", ' \\"c\\""', ',"n":[', "{", '"m":1', "}", "]}"],
    "a piece like the first one": ['{"', "path", '":"a {b} \\"c\\"","n":[', '{"', "m", '":1', "}]}"],
}


def stream(pieces: list[str], *, slowly: bool, **call: Any) -> Reply:
    begun = {"index": 0, "id": "c1", "type": "function", **call, "function": {"name": "f", "arguments": ""}}
    said = [delta({"tool_calls": [begun]})]
    said += [delta({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}) for piece in pieces]
    said.append(delta({}, "tool_calls"))
    if not slowly:
        return chat_events(*said, "[DONE]")
    events: list[Piece] = []
    for one in said:
        events += [b"data: %b\n\n" % json.dumps(CHAT_HEAD | one).encode(), 0.003]
    return sse(*events, b"data: [DONE]\n\n")


@pytest.mark.parametrize("case", PIECES)
@pytest.mark.parametrize("slowly", [False, True], ids=["at once", "one by one"])
def test_arguments_are_told_once(client: Client, upstream: FakeUpstream, case: str, slowly: bool) -> None:
    upstream.script(stream(PIECES[case], slowly=slowly))

    for dialect in CLIENTS:
        for streamed in (True, False):
            told = ask(client, dialect, "chat/m", stream=streamed)

            assert (told.error, told.calls, told.finish) == ("", [("f", json.loads(WHOLE))], "tool_calls"), dialect


@every_client
def test_a_call_of_nothing_is_one(client: Client, upstream: FakeUpstream, dialect: str) -> None:
    calls = [
        {"index": place, "id": f"c{place}", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        for place in range(2)
    ]
    upstream.script(
        chat_events(*(delta({"tool_calls": [call]}) for call in calls), delta({}, "tool_calls"), "[DONE]"),
        chat_events(delta({"tool_calls": [calls[0]]}), delta({"content": "t"}), delta({}, "tool_calls"), "[DONE]"),
    )

    assert ask(client, dialect, "chat/m", stream=True).calls == [("f", {}), ("f", {})]
    told = ask(client, dialect, "chat/m", stream=True)
    assert (told.text, told.calls, told.finish) == ("t", [("f", {})], "tool_calls")


def test_a_type_in_every_piece_is_told_once(client: Client, upstream: FakeUpstream) -> None:
    """The contract has it in the first piece only."""
    piece = {"index": 0, "type": "function"}
    upstream.script(
        chat_events(
            delta({"tool_calls": [{**piece, "id": "c1", "function": {"name": "f", "arguments": ""}}]}),
            delta({"tool_calls": [{**piece, "function": {"arguments": '{"x":'}}]}),
            delta({"tool_calls": [{**piece, "function": {"arguments": "1}"}}]}),
            delta({}, "tool_calls"),
            "[DONE]",
        )
    )

    response = client.ask(
        "/v1/chat/completions", {"model": "chat/m", "stream": True, "messages": [{"role": "user", "content": "q"}]}
    )

    assert response.text.count('"type":"function"') + response.text.count('"type": "function"') == 1


@pytest.mark.parametrize("dialect", ["A", "R"])
@pytest.mark.parametrize("whole", [False, True])
def test_a_call_in_the_old_form_beside_the_new_one_is_the_same_call(
    client: Client, upstream: FakeUpstream, dialect: str, whole: bool
) -> None:
    """Servers that answer clients of both forms at once."""
    function = {"name": "f", "arguments": '{"x":1}'}
    said = {
        "content": None,
        "function_call": function,
        "tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": function}],
    }
    events = chat_events(delta(said), delta({}, "tool_calls"), "[DONE]")
    upstream.script(json_reply(chat_reply(said, "tool_calls")) if whole else events)

    assert ask(client, dialect, "chat/m", stream=not whole).calls == [("f", {"x": 1})]
