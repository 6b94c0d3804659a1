"""Sources that servers name beside an answer, or before it, for clients of every dialect."""

from __future__ import annotations

from typing import Any

from tests.field.asking import body_of, both_modes, every_client
from tests.field.pairs import chat_events, chat_reply, delta
from tests.gateway.conftest import Client
from tests.support.fake_upstream import FakeUpstream, Reply, json_reply

URL = "https://pages.test/1"
SOURCES: dict[str, dict[str, Any]] = {
    "AIProxyTeam/AIProxySwift#89 addresses": {"citations": [URL, "https://pages.test/2"]},
    "Perplexity's results": {"citations": [URL], "search_results": [{"title": "One", "url": URL, "date": None}]},
    "tale-project/tale#1333 objects": {"citations": [{"index": 1, "type": "web", "title": "One", "url": URL}]},
}
NOTE = {"type": "url_citation", "url_citation": {"url": URL, "title": "One", "start_index": 0, "end_index": 1}}
STREAMS: dict[str, Reply] = {
    **{
        f"{name}, {place}": chat_events(
            {**delta({"role": "assistant", "content": "t[1]"}), **(more if place == "everywhere" else {})},
            {**delta({}, "stop"), **more},
            "[DONE]",
        )
        for name, more in SOURCES.items()
        for place in ("everywhere", "at the end")
    },
    **{f"{name}, whole": json_reply({**chat_reply({"content": "t[1]"}), **more}) for name, more in SOURCES.items()},
    "openai/openai-agents-js#1617 before the text": chat_events(
        delta({"content": "", "annotations": [NOTE]}), delta({"content": "t"}), delta({}, "stop"), "[DONE]"
    ),
    "openai/openai-agents-js#1617 after the text": chat_events(
        delta({"content": "t"}), delta({"annotations": [NOTE]}), delta({}, "stop"), "[DONE]"
    ),
}


@both_modes
@every_client
def test_sources_reach_every_client_once(client: Client, upstream: FakeUpstream, dialect: str, stream: bool) -> None:
    wrong = {}
    for name, sent in STREAMS.items():
        upstream.script(sent)
        path, body = body_of(dialect)
        text = client.ask(path, body | {"model": "chat/m", "stream": stream}).text
        # A stream tells an item in an event of its own, in that of its part, and in the last one.
        if not (URL in text if dialect != "A" else text.count(f'"url":"{URL}"') == 1):
            wrong[name] = text

    assert wrong == {}
