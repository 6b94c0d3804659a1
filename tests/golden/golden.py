"""Golden files: what the gateway makes of one request and one reply, for each pair of dialects.

    tests/golden/<client>-<upstream>/<case>.request     what the client asks
                                            .upstream    what the upstream is asked
                                            .reply       what the upstream answers
                                            .client      what the client gets

`.request` and `.reply` are written by hand in the folders of a dialect paired with itself; `make golden` copies them to
the other pairs and writes the rest. To add a case, write it there in each dialect. A file is a first line (an operation
or a status), headers that matter, an empty line, and a body: indented JSON, or the text of a stream.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from werkzeug.test import TestResponse

from app.dialects.registry import DIALECTS
from tests.gateway.conftest import Client
from tests.support.fake_upstream import FakeUpstream, Reply, Seen

HERE = Path(__file__).parent
PAIRS = [(client, upstream) for client in DIALECTS for upstream in DIALECTS]
# Each dialect's upstream: fields of its provider, and the model that every request of a case goes to.
PROVIDERS: dict[str, dict[str, Any]] = {
    "anthropic_messages": {"kind": "anthropic"},
    "openai_chat": {"kind": "openai", "dialect": "openai_chat"},
    "openai_responses": {"kind": "openai", "dialect": "openai_responses"},
}
MODELS = {"anthropic_messages": "claude-sonnet-4-6", "openai_chat": "gpt-4.1", "openai_responses": "gpt-5.4"}
# Headers that a dialect's wire depends on; all others are not looked at.
ASKED = ("anthropic-version", "anthropic-beta")
ANSWERED = ("content-type", "retry-after", "x-dragoman-dropped", "x-dragoman-lowered")
ID, NOW = "0123456789abcdef0123456789abcdef", 1_760_000_000
ASKED_MODEL = "the-model"  # in each request


class Message(NamedTuple):
    """One of the four files: `first` is an operation or a status."""

    first: str
    headers: dict[str, str]
    body: bytes

    def write(self) -> str:
        head = [self.first, *(f"{name}: {value}" for name, value in self.headers.items())]
        return "\n".join([*head, "", _spread(self.body)])


def read(text: str) -> Message:
    head, _, body = text.partition("\n\n")
    first, *lines = head.split("\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return Message(first, headers, body.encode())


def cases() -> list[str]:
    """The cases, which are the same in each dialect."""
    name = next(iter(DIALECTS))
    return sorted(path.stem for path in (HERE / f"{name}-{name}").glob("*.request"))


def source(client: str, upstream: str, case: str, kind: str) -> Path:
    """The file that somebody wrote by hand."""
    dialect = client if kind == "request" else upstream
    return HERE / f"{dialect}-{dialect}" / f"{case}.{kind}"


def translate(gateway: Client, server: FakeUpstream, request: Message, reply: Message) -> dict[str, str]:
    """The four files of one case, with the request and the reply as they were written."""
    server.seen.clear()
    server.script(Reply((_pack(reply.body),), int(reply.first), reply.headers, framing="length"))

    answer = gateway.ask(request.first.split()[1], _pack(request.body), **request.headers)

    asked = server.seen[0] if server.seen else None
    return {
        "request": request.write(),
        "upstream": _tell_upstream(asked),
        "reply": reply.write(),
        "client": _tell_client(answer),
    }


def _tell_upstream(asked: Seen | None) -> str:
    if asked is None:
        return "nothing: the gateway answers itself\n"
    headers = {name: asked.headers[name] for name in ASKED if name in asked.headers}
    return Message(f"{asked.method} {asked.path}", headers, asked.body).write()


def _tell_client(answer: TestResponse) -> str:
    headers = {name: answer.headers[name] for name in ANSWERED if name in answer.headers}
    return Message(str(answer.status_code), headers, answer.get_data()).write()


def _pack(body: bytes) -> bytes:
    """A body as programs send it: JSON without white space, anything else as it is."""
    try:
        return json.dumps(json.loads(body), ensure_ascii=False, separators=(",", ":")).encode()
    except ValueError:
        return body


def _spread(body: bytes) -> str:
    """A body for readers: JSON on many lines, anything else as it is."""
    try:
        return json.dumps(json.loads(body), indent=2, ensure_ascii=False) + "\n"
    except ValueError:
        return body.decode()
