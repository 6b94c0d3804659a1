"""Replies of upstreams, each read by clients of every dialect, as a stream and whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.field.asking import CLIENTS, UPSTREAMS, body_of
from tests.field.grammar import check, read_events
from tests.field.pairs import Heard, tell_stream, tell_whole
from tests.gateway.conftest import Client
from tests.support.fake_upstream import FakeUpstream, Reply

MODES = {"streamed": True, "whole": False}
_TRIES = 8  # a gateway may ask again


@dataclass(frozen=True)
class Vector:
    """What an upstream sends, and what every client must be told. `error`: words of the failure, if it is one; `but`:
    clients for whom nothing is said here."""

    id: str
    sent: Reply
    text: str = ""
    thought: str = ""
    calls: tuple[tuple[str, Any], ...] = ()
    finish: str = "stop"
    error: str = ""
    but: tuple[str, ...] = ()


def misread(client: Client, upstream: FakeUpstream, dialect: str, vectors: list[Vector]) -> dict[tuple[str, ...], str]:
    """How clients misread the replies of an upstream of this dialect; empty if none does."""
    wrong: dict[tuple[str, ...], str] = {}
    for vector in vectors:
        for reader in (one for one in CLIENTS if one not in vector.but):
            for mode, stream in MODES.items():
                upstream.script(*[vector.sent] * _TRIES)
                if fault := _misread(client, vector, reader, UPSTREAMS[dialect], stream):
                    wrong[vector.id, reader, mode] = fault
    return wrong


def _misread(client: Client, vector: Vector, reader: str, model: str, stream: bool) -> str:
    path, body = body_of(reader)
    response = client.ask(path, body | {"model": model, "stream": stream})
    try:
        if response.status_code != 200:
            told = Heard(response.status_code, error=response.json["error"]["message"])
        elif stream:
            events = read_events(response.text)
            check(reader, events)
            told = tell_stream(reader, [event for _, event in events if event != "[DONE]"])
        else:
            told = tell_whole(reader, response)
    except Exception as fault:
        return f"{fault!r}\n{response.text[-3000:]}"
    if vector.error:
        return "" if vector.error in told.error else f"{told}"
    finish = {"length": "max_tokens"}.get(vector.finish, vector.finish) if reader == "A" else vector.finish
    meant = Heard(200, vector.text, vector.thought, list(vector.calls), finish, told.stop, "", told.code)
    return "" if told == meant else f"{told}"
