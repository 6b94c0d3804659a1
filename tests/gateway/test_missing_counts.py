"""A reply that tells no counts is recorded as it ended, with an estimate, in every dialect."""

from __future__ import annotations

import re
from typing import Any

import pytest

from app.gateway.replies.translation import StreamTranslation
from tests.gateway.conftest import MakeClient, listen
from tests.gateway.test_price_classes import PATHS, UPSTREAMS
from tests.support.fake_upstream import CLOSE, CUT, FakeUpstream, Piece, json_reply, sse

_COUNTS = re.compile(rb',? "usage": \{[^{}]*\}')
# In the events that only come at the end of a reply.
_ENDS = re.compile(rb'\[DONE\]|"finish_reason": "stop"|message_delta|message_stop|response.completed')


def without_counts(kind: str) -> list[bytes]:
    return [_COUNTS.sub(b"", piece) for piece in UPSTREAMS[kind](True, "default").pieces if isinstance(piece, bytes)]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", UPSTREAMS)
@pytest.mark.parametrize("ending", ["whole", CUT, CLOSE], ids=str)
def test_a_reply_without_counts_is_recorded_as_it_ended(
    make_client: MakeClient, upstream: FakeUpstream, ending: Any, kind: str, path: str
) -> None:
    settings = {"kind": "openai", "base_url": f"{upstream.url}/v1", "api_key": "sk-upstream"}
    client = make_client(responses={**settings, "dialect": "openai_responses"})
    pieces: list[Piece] = [*without_counts(kind)]
    if ending != "whole":
        pieces = [*(piece for piece in pieces if isinstance(piece, bytes) and not _ENDS.search(piece)), 0.05, ending]
    upstream.script(sse(*pieces))
    records = listen(client)
    body: dict[str, Any] = {"model": f"{kind}/m", "stream": True}
    turn = {"input": "hi", "store": False} if path == "responses" else {"messages": [{"role": "user", "content": "hi"}]}

    client.ask(PATHS[path], body | turn | ({"max_tokens": 50} if path == "messages" else {})).get_data()

    (record,) = records
    assert record.terminal == ("completed" if ending == "whole" else "upstream_cut")
    assert record.usage is not None
    assert record.usage.estimated
    assert record.usage.input > 0
    assert record.usage.output > 0


LONG = "Say in a few words what a dragoman was. " * 2000
ASKED: dict[str, dict[str, Any]] = {
    "chat": {"messages": [{"role": "user", "content": LONG}]},
    "messages": {"messages": [{"role": "user", "content": LONG}], "max_tokens": 50},
    "responses": {"input": LONG, "instructions": "Be brief.", "store": False},
}


@pytest.mark.parametrize("path", PATHS)
def test_a_stream_keeps_no_long_history_and_its_estimate_is_that_of_a_whole_answer(
    make_client: MakeClient, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    kind = "chat" if path == "messages" else "messages"
    client = make_client()
    records = listen(client)
    opened: list[StreamTranslation] = []
    monkeypatch.setattr(
        "app.gateway.translating.StreamTranslation", lambda *its: opened.append(StreamTranslation(*its)) or opened[-1]
    )
    for pieces in (sse(*without_counts(kind)), sse(*without_counts(kind))):
        upstream.script(pieces)
        client.ask(PATHS[path], {"model": f"{kind}/m", "stream": not records, **ASKED[path]}).get_data()

    streamed, whole = records
    assert streamed.usage is not None
    assert whole.usage is not None
    assert streamed.usage.input == whole.usage.input > 10_000
    (stream,) = opened
    assert stream._context.request is not None
    assert not any(turn.blocks for turn in stream._context.request.turns)


def test_what_failed_or_takes_no_tokens_has_no_estimate(make_client: MakeClient, upstream: FakeUpstream) -> None:
    client = make_client()
    records = listen(client)
    count = {"model": "chat/m", "messages": [{"role": "user", "content": "hi"}]}

    upstream.script(json_reply({"error": {"message": "no", "type": "invalid_request_error"}}, status=400))
    client.chat()
    client.ask("/v1/messages/count_tokens", count)

    assert [record.usage for record in records] == [None, None]
