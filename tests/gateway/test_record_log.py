"""The log line of a request: what similar requests share is remembered, yet never a secret or another's value."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest

from app.accounts.record import AttemptRecord, RequestRecord, Times
from app.conversation.response import Usage
from app.gateway.recording.record_log import MAX_REMEMBERED, RecordLog
from app.known_secrets import known_secrets
from app.logs import request_log
from tests.accounts.records import record


@pytest.fixture
def lines() -> Iterator[io.BytesIO]:
    file = io.BytesIO()
    request_log.open(file, as_json=True)
    yield file
    request_log.close()


@pytest.fixture(autouse=True)
def _no_secrets() -> Iterator[None]:
    yield
    known_secrets.forget()


def read(lines: io.BytesIO) -> list[dict[str, Any]]:
    request_log.flush()
    return [json.loads(line) for line in lines.getvalue().splitlines()]


def test_a_line_tells_the_same_whether_or_not_one_like_it_came_before(lines: io.BytesIO) -> None:
    log = RecordLog()
    first = record(1, peer="127.0.0.1", rule="chat/*", losses=("top_k",), upstream_request_id="req_1")
    other = record(
        2, peer="127.0.0.1", rule="chat/*", losses=("top_k",), upstream_request_id="req_2",
        usage=Usage(fresh=7, output=3, estimated=True), times=Times(end=5), message="late", trace="00-" + "a" * 32,
    )  # fmt: skip

    log.take([first])
    log.take([other])
    RecordLog().take([other])

    told, after, alone = read(lines)
    assert {**after, "time": ""} == {**alone, "time": ""}
    assert (told["id"], told["ms"], told["tokens_in"]) == (first.id, 900, 5000)
    assert (after["id"], after["ms"], after["tokens_in"], after["ttfb_ms"]) == (other.id, 5, 7, None)
    assert (told["upstream_request_id"], after["upstream_request_id"]) == ("req_1", "req_2")
    assert (after["tokens_estimated"], after["message"], after["trace"]) == (True, "late", "a" * 32)
    assert list(told)[:4] == ["time", "level", "id", "method"]


CHANGES: dict[str, Any] = {
    "method": "GET", "path": "/v1/other", "dialect_in": "openai_chat", "dialect_out": "openai_responses",
    "model": "another", "target": "oca/another", "status": 201, "terminal": "client_closed", "stream": True,
    "session": "other", "key": "bob", "agent": "codex/1", "peer": "10.0.0.1", "error": "timeout", "origin": "upstream",
    "attempts": (AttemptRecord("oca/gpt-4.1", 200, credential="second"),), "rule": "other", "losses": ("x",),
    "lowered": ("y",), "usage": None, "upstream_status": 500, "skipped": ("a: b",), "message": "no",
    "upstream_request_id": "r",
}  # fmt: skip


@pytest.mark.parametrize("field", CHANGES)
def test_a_request_that_differs_in_one_value_is_told_with_its_own(lines: io.BytesIO, field: str) -> None:
    log = RecordLog()
    usual, other = record(1), record(1, **{field: CHANGES[field]})

    for each in (usual, other, usual):
        log.take([each])
    RecordLog().take([other])

    first, told, again, alone = ({**line, "time": ""} for line in read(lines))
    assert first == again != told
    assert told == alone


@pytest.mark.parametrize("field", ["model", "path", "session", "agent", "message", "upstream_request_id"])
def test_a_secret_that_became_known_after_a_similar_line_is_masked(lines: io.BytesIO, field: str) -> None:
    log = RecordLog()
    named = record(1, **{field: "renewed-token-51a7c0de"})

    log.take([named])
    known_secrets.add("renewed-token-51a7c0de")
    log.take([named])

    before, after = read(lines)
    assert before[field] == "renewed-token-51a7c0de"
    assert after[field] == "[masked]"


def test_what_clients_name_cannot_fill_the_memory(lines: io.BytesIO) -> None:
    log = RecordLog()

    for number in range(3 * MAX_REMEMBERED):
        log.take([record(number, model=f"m-{number}")])

    assert len(log._remembered) <= MAX_REMEMBERED
    assert [line["model"] for line in read(lines)] == [f"m-{number}" for number in range(3 * MAX_REMEMBERED)]


def test_a_record_with_nothing_in_it_is_a_line(lines: io.BytesIO) -> None:
    RecordLog().take([RequestRecord(id="1", received=0.0)])

    (line,) = read(lines)
    assert (line["id"], line["ms"], line["status"]) == ("1", 0, 0)
