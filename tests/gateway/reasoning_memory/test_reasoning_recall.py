"""Reasoning that a Chat client does not send back is remembered for upstreams that want it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.conversation.blocks import Reasoning, ToolCall
from app.conversation.capabilities import Capabilities, RenderContext
from app.conversation.streams.fold import fold
from app.dialects import openai_chat
from app.gateway.reasoning_memory.reasoning_recall import PassingObserver
from tests.gateway.conftest import Client, MakeClient, events_of
from tests.support.answers import chat_answer, chunk, message, message_events, named
from tests.support.fake_upstream import FakeUpstream, Reply, json_reply, sse

TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "SIGNED"}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}


THOUGHTFUL = message(THOUGHT, CALL, stop_reason="tool_use")
DONE = json_reply(message("done"))


def thinking_stream() -> Reply:
    return sse(*named(*message_events(THOUGHTFUL)))


def ask(
    client: Client, *messages: Any, key: str = "key-a", model: str = "messages/claude-opus-4-5", **more: Any
) -> Any:
    body = {"model": model, "messages": [{"role": "user", "content": "q"}, *messages], "tools": TOOLS}
    effort = {"reasoning_effort": "high"}
    return client.ask("/v1/chat/completions", {**body, **effort, **more}, authorization=f"Bearer {key}")


def forgetful() -> list[dict[str, Any]]:
    """The next two messages of a client that keeps only what the vendor's own dialect knows."""
    call = {"id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    return [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "toolu_1", "content": "r"},
    ]


def replayed(upstream: FakeUpstream) -> list[Any]:
    turn = next(m for m in upstream.seen[-1].json()["messages"] if m["role"] == "assistant")
    return [block for block in turn["content"] if block["type"] == "thinking"]


KEYS = {"api_keys": ("key-a", "key-b")}


@pytest.fixture
def keyed(make_client: MakeClient) -> Client:
    return make_client(server=KEYS)


@pytest.mark.parametrize("stream", [False, True])
def test_the_thinking_before_a_call_goes_back_with_its_result(
    keyed: Client, upstream: FakeUpstream, stream: bool
) -> None:
    upstream.script(thinking_stream() if stream else json_reply(THOUGHTFUL), DONE)
    ask(keyed, stream=stream).get_data()

    ask(keyed, *forgetful())

    assert replayed(upstream) == [THOUGHT]


def joined(answer: Any) -> dict[str, Any]:
    """The message that a client makes of a streamed answer, with all its fields."""
    said: dict[str, Any] = {"role": "assistant", "content": "", "reasoning_details": [], "tool_calls": []}
    for event in events_of(answer)[:-1]:
        delta = event["choices"][0]["delta"] if event["choices"] else {}
        said["content"] += delta.get("content") or ""
        said["reasoning_details"] += delta.get("reasoning_details", [])
        for fragment in delta.get("tool_calls", []):
            if "id" in fragment:
                said["tool_calls"].append({**fragment, "function": {**fragment["function"]}})
            else:
                said["tool_calls"][fragment["index"]]["function"]["arguments"] += fragment["function"]["arguments"]
    return said


@pytest.mark.parametrize("keeps", [False, True], ids=["forgets", "keeps"])
@pytest.mark.parametrize("stream", [False, True])
def test_thoughts_come_back_in_their_order(keyed: Client, upstream: FakeUpstream, stream: bool, keeps: bool) -> None:
    thoughts = [{**THOUGHT, "thinking": word, "signature": f"SIGNED_{word}"} for word in "abc"]
    calls = [{**CALL, "id": f"toolu_{number}"} for number in (1, 2)]
    text = {"type": "text", "text": "so"}
    content = [thoughts[0], text, thoughts[1], calls[0], thoughts[2], calls[1]]
    upstream.script(json_reply(message(*content)), DONE)
    answer = ask(keyed, stream=stream)
    said = joined(answer) if stream else answer.get_json()["choices"][0]["message"]
    if not keeps:
        said = {name: said[name] for name in ("role", "content", "tool_calls")}

    ask(keyed, said, *({"role": "tool", "tool_call_id": f"toolu_{number}", "content": "r"} for number in (1, 2)))

    assert upstream.seen[-1].json()["messages"][1]["content"] == content


@pytest.mark.parametrize(
    "other", [{"key": "key-b"}, {"model": "messages/claude-opus-4-1"}], ids=["another key", "another model"]
)
def test_it_goes_nowhere_else(keyed: Client, upstream: FakeUpstream, other: dict[str, str]) -> None:
    upstream.script(json_reply(THOUGHTFUL), DONE)
    ask(keyed)

    ask(keyed, *forgetful(), **other)

    assert replayed(upstream) == []


def test_another_conversation_with_the_same_ids_is_told_apart(keyed: Client, upstream: FakeUpstream) -> None:
    upstream.script(json_reply(THOUGHTFUL), DONE)
    ask(keyed)

    ask(keyed, messages=[{"role": "user", "content": "something else"}, *forgetful()])

    assert replayed(upstream) == []


def test_another_worker_knows_it_too(make_client: MakeClient, upstream: FakeUpstream) -> None:
    upstream.script(thinking_stream(), DONE)
    ask(make_client(server=KEYS), stream=True).get_data()

    ask(make_client(server=KEYS), *forgetful())

    assert replayed(upstream) == [THOUGHT]


def test_another_tenant_of_another_worker_does_not(make_client: MakeClient, upstream: FakeUpstream) -> None:
    upstream.script(thinking_stream(), DONE)
    ask(make_client(server=KEYS), stream=True).get_data()

    ask(make_client(server=KEYS), *forgetful(), key="key-b")

    assert replayed(upstream) == []


def stored(folder: Path) -> int:
    path = folder / "ledger.sqlite3"
    if not path.exists():
        return 0
    with sqlite3.connect(path) as connection:
        (found,) = connection.execute("SELECT count(*) FROM records").fetchone()
    connection.close()
    return int(found)


def test_a_request_that_is_not_to_be_stored_leaves_nothing_on_disk(
    keyed: Client, upstream: FakeUpstream, data_folder: Path
) -> None:
    upstream.script(json_reply(THOUGHTFUL), DONE)
    ask(keyed, store=False)

    ask(keyed, *forgetful(), store=False)

    assert replayed(upstream) == [THOUGHT]
    assert stored(data_folder) == 0


def test_without_room_for_it_nothing_is_on_disk(
    make_client: MakeClient, upstream: FakeUpstream, data_folder: Path
) -> None:
    client = make_client(server=KEYS, ledger={"reasoning_mb": 0})
    upstream.script(json_reply(THOUGHTFUL), DONE)
    ask(client)

    ask(client, *forgetful())

    assert replayed(upstream) == [THOUGHT]
    assert stored(data_folder) == 0


def test_a_client_that_keeps_the_reasoning_has_none_of_it_stored(
    keyed: Client, upstream: FakeUpstream, data_folder: Path
) -> None:
    upstream.script(json_reply(THOUGHTFUL), json_reply(THOUGHTFUL))
    answered = ask(keyed).get_json()["choices"][0]["message"]
    before = stored(data_folder)

    ask(keyed, answered, forgetful()[1])

    assert replayed(upstream) == [THOUGHT]
    assert (before, stored(data_folder)) == (1, 1)


def test_a_ledger_that_fails_makes_nothing_fail(
    make_client: MakeClient, upstream: FakeUpstream, data_folder: Path
) -> None:
    data_folder.write_text("in the way")
    client = make_client(server=KEYS)
    upstream.script(thinking_stream(), DONE)
    ask(client, stream=True).get_data()

    answer = ask(client, *forgetful())

    assert answer.status_code == 200
    assert replayed(upstream) == [THOUGHT]


def deep_stream() -> Reply:
    """DeepSeek, which refuses its own call without what it thought before."""
    opened = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}}
    added = {"index": 0, "function": {"arguments": "{}"}}
    return sse(
        chunk({"role": "assistant", "content": None, "reasoning_content": ""}),
        chunk({"reasoning_content": "h"}),
        chunk({"reasoning_content": "m"}),
        chunk({"tool_calls": [opened]}),
        chunk({"tool_calls": [added]}),
        chunk({}, "tool_calls"),
        b"data: [DONE]\n\n",
    )


def deep_answer() -> Reply:
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    said = {"role": "assistant", "content": None, "reasoning_content": "hm", "tool_calls": [call]}
    choice = {"index": 0, "message": said, "logprobs": None, "finish_reason": "tool_calls"}
    return json_reply(chat_answer(choices=[choice]))


@pytest.fixture
def deep(make_client: MakeClient, upstream: FakeUpstream) -> Client:
    table = {"kind": "openai", "base_url": f"{upstream.url}/v1", "api_key": "sk-upstream", "profile": "deepseek"}
    return make_client(deep=table)


def deep_history(**more: Any) -> list[dict[str, Any]]:
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    return [
        {"role": "assistant", "content": None, "tool_calls": [call], **more},
        {"role": "tool", "tool_call_id": "call_1", "content": "r"},
    ]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("streamed", [False, True])
def test_an_upstream_of_the_same_dialect_gets_back_what_it_demands(
    deep: Client, upstream: FakeUpstream, stream: bool, streamed: bool
) -> None:
    upstream.script(deep_stream() if streamed else deep_answer(), json_reply(chat_answer()))
    ask(deep, model="deep/m", stream=stream).get_data()

    ask(deep, *deep_history(), model="deep/m", stream=stream)

    past = upstream.seen[-1].json()["messages"][1]
    assert past == deep_history()[0] | {"reasoning_content": "hm"}


def test_an_upstream_of_the_same_dialect_gets_an_empty_field_where_nothing_is_known(
    deep: Client, upstream: FakeUpstream
) -> None:
    upstream.script(json_reply(chat_answer()))

    ask(deep, *deep_history(), model="deep/m")

    assert upstream.seen[-1].json()["messages"][1]["reasoning_content"] == ""


def test_a_client_that_sends_it_to_an_upstream_of_its_dialect_is_not_listened_to(
    deep: Client, upstream: FakeUpstream, data_folder: Path
) -> None:
    upstream.script(deep_stream())

    answer = ask(deep, *deep_history(reasoning_content="mine"), model="deep/m", stream=True)

    assert b'"tool_calls"' in answer.get_data()
    assert upstream.seen[-1].json()["messages"][1]["reasoning_content"] == "mine"
    assert stored(data_folder) == 0


def test_a_stream_that_is_listened_to_keeps_its_bytes(
    deep: Client, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.script(deep_stream(), deep_stream())
    heard = ask(deep, model="deep/m", stream=True).get_data()
    monkeypatch.setattr("app.gateway.passing.passes_silently", lambda client_request, capabilities: False)

    unheard = ask(deep, model="deep/m", stream=True).get_data()

    assert heard == unheard


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_stream_is_heard_however_it_is_cut(size: int) -> None:
    whole = b"".join(piece for piece in deep_stream().pieces if isinstance(piece, bytes))
    heard: list[Any] = []
    reply, capabilities = RenderContext(model="m", id="1", created=1), Capabilities(dialect="openai_chat")
    stream = openai_chat.StreamPassthrough(reply, capabilities)
    listener = PassingObserver(heard.extend)

    for start in range(0, len(whole), size):
        listener.look(stream.feed(whole[start : start + size]))
    listener.look(stream.close())

    response = fold(heard)
    assert [type(block) for block in response.blocks] == [Reasoning, ToolCall]
    assert response.blocks[0] == Reasoning("hm")


def test_requests_that_have_nothing_to_remember_open_no_database(tmp_path: Path) -> None:
    program = (
        "from app.gateway.reasoning_memory.reasoning_store import ReasoningStore, Owner\n"
        "from app.ledger import Ledger\n"
        "from app.settings import LedgerSettings; from app.conversation.request import Request, Turn\n"
        "from app.conversation.blocks import Text\n"
        "memory = ReasoningStore(Ledger(LedgerSettings()).reasoning)\n"
        "asked = Request(dialect='openai_chat', model='m', turns=(Turn('user', (Text('q'),)),))\n"
        "memory.recall(asked, Owner('', 'p/m')); memory.remember(b'k', (), Owner('', 'p/m'))\n"
    )
    environ = {**os.environ, "XDG_DATA_HOME": str(tmp_path)}

    subprocess.run([sys.executable, "-c", program], env=environ, check=True)

    assert list(tmp_path.iterdir()) == []
