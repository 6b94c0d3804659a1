"""What a request to the Codex backend says of its session."""

from __future__ import annotations

from typing import Any

import pytest

from tests.gateway.conftest import MakeClient, data_folder, make_client, upstream
from tests.support.fake_upstream import FakeUpstream, sse

__all__ = ["data_folder", "make_client", "upstream"]  # the fixtures of this file

DONE = b'data: {"type":"response.completed","response":{"id":"r","status":"completed","output":[]}}\n\n'


def ask(make_client: MakeClient, upstream: FakeUpstream, path: str, *inputs: str, **headers: str) -> list[Any]:
    client = make_client(codex={"kind": "codex", "base_url": upstream.url, "access_token": "t"})
    upstream.script(*[sse(DONE)] * len(inputs))
    for text in inputs:
        body = {"model": "gpt-5.5", "input": text, "messages": [{"role": "user", "content": text}]}
        client.ask(path, body, **headers)
    return [seen for seen in upstream.seen if seen.method == "POST"]


WAYS = {
    "in the path": ("/api/codex/s-7/responses", {}),
    "in the path of a chat": ("/api/codex/s-7/chat/completions", {}),
    "in a header": ("/api/codex/v1/responses", {"session-id": "s-7"}),
    "in a header of another client": ("/api/codex/v1/chat/completions", {"x-session-id": "s-7"}),
}


@pytest.mark.parametrize(("path", "headers"), WAYS.values(), ids=WAYS)
def test_a_session_reaches_the_backend_as_header_and_cache_key(
    make_client: MakeClient, upstream: FakeUpstream, path: str, headers: dict[str, str]
) -> None:
    (seen,) = ask(make_client, upstream, path, "hello", **headers)

    assert seen.headers["session-id"] == "s-7"
    assert seen.json()["prompt_cache_key"] == "s-7"


@pytest.mark.parametrize("path", ["/api/codex/responses", "/api/codex/v1/chat/completions"])
def test_a_conversation_without_a_session_gets_one_of_its_own(
    make_client: MakeClient, upstream: FakeUpstream, path: str
) -> None:
    first, again, other = ask(make_client, upstream, path, "hello", "hello", "something else")

    keys = [seen.json()["prompt_cache_key"] for seen in (first, again, other)]
    assert keys[0] == keys[1] != keys[2]
    assert [seen.headers["session-id"] for seen in (first, again, other)] == keys
