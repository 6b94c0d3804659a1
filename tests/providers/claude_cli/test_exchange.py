"""One request to the program under way: it waits for its turn, says what goes wrong, and leaves no program behind."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from app.errors import DragomanError, ProgramUnavailable, UpstreamBusy, UpstreamCut, UpstreamTimeout
from app.providers.kinds.claude_cli.exchange import ProgramExchange
from app.providers.kinds.claude_cli.order import write_order
from app.providers.kinds.claude_cli.output import Output
from app.transport import Limits
from app.transport.process import Process
from app.transport.provider_queue import ProviderQueue
from tests.support.claude_program import (
    Child,
    ClaudeProgram,
    Complaint,
    Exit,
    Piece,
    answer,
    began,
    failed,
    is_gone,
    text_block,
    wait_until_gone,
)

BODY = b'{"max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}'
SOON = 10.0  # seconds within which a program surely has said something
PATIENT = Limits(first_byte=SOON, idle=SOON)

Open = Callable[..., ProgramExchange]


@pytest.fixture
def program(tmp_path: Path) -> ClaudeProgram:
    return ClaudeProgram(tmp_path, *answer("Grüezi"))


@pytest.fixture
def open_exchange(program: ClaudeProgram) -> Iterator[Open]:
    """open_exchange(…pieces of a script, queue=…, limits=…)"""
    opened: list[ProgramExchange] = []

    def open_one(
        *script: Piece, queue: ProviderQueue | None = None, limits: Limits = PATIENT, tenant: str = "ana"
    ) -> ProgramExchange:
        if script:
            program.play(*script)
        start = partial(Process, write_order(program.command, {}, "m", BODY).command())
        queue = queue or ProviderQueue(1)
        exchange = ProgramExchange(start, queue, tenant, limits, lambda words: f"it said: {words}", Output())
        opened.append(exchange)
        return exchange

    yield open_one
    for exchange in opened:
        exchange.close()
    wait_until_gone(*(run.pid for run in program.runs()))


def read(exchange: ProgramExchange) -> bytes:
    exchange.wait_head()
    return exchange.read_body()


def failure(exchange: ProgramExchange) -> DragomanError:
    with pytest.raises(DragomanError) as caught:
        read(exchange)
    return caught.value


def test_an_answer_is_an_event_stream(open_exchange: Open) -> None:
    exchange = open_exchange()

    body = read(exchange)

    assert (exchange.status, exchange.headers) == (200, {"content-type": "text/event-stream"})
    assert body.startswith(b"event: message_start\n")
    assert body.endswith(b'data: {"type": "message_stop"}\n\n')
    assert "Grüezi".encode() in body


def test_half_a_character_is_waited_for(open_exchange: Open) -> None:
    line = json.dumps(text_block(0, "Wält 🌍")[1], ensure_ascii=False).encode() + b"\n"
    cut = line.index("🌍".encode()) + 2

    body = read(open_exchange(*began(), line[:cut], 0.1, line[cut:], *answer("")[4:]))

    assert "Wält 🌍".encode() in body


def test_nothing_runs_before_somebody_waits(open_exchange: Open, program: ClaudeProgram) -> None:
    exchange = open_exchange()

    exchange.close()

    assert program.runs() == []


def test_silence_is_told_before_the_head_and_after_it(open_exchange: Open) -> None:
    exchange = open_exchange(0.3, *began(), 0.3, *answer("")[4:])

    before = exchange.wait_head(0.01)
    exchange.wait_head()
    exchange.read_part()
    after = exchange.read_part(0.01)

    assert (before, after) == (False, None)
    assert exchange.read_body().endswith(b'data: {"type": "message_stop"}\n\n')


@pytest.mark.parametrize(
    ("script", "limits", "phase"),
    [
        ([30.0], Limits(first_byte=0.2), "first_byte"),
        ([*began(), 30.0], Limits(first_byte=SOON, idle=0.2), "idle"),
        ([*began(), 30.0], Limits(first_byte=SOON, idle=SOON, total=0.5), "total"),
    ],
)
def test_a_silent_program_times_out_and_is_gone(
    open_exchange: Open, program: ClaudeProgram, script: list[Piece], limits: Limits, phase: str
) -> None:
    error = failure(open_exchange(*script, limits=limits))

    assert isinstance(error, UpstreamTimeout)
    assert error.phase == phase
    wait_until_gone(*(run.pid for run in program.runs()))


def test_a_refusal_has_the_status_and_the_type_of_the_api(open_exchange: Open) -> None:
    exchange = open_exchange(*failed("API Error: 529 Overloaded.", 529, api_error_type="overloaded_error"))

    body = json.loads(read(exchange))

    assert exchange.status == 529
    assert body["error"] == {"type": "overloaded_error", "message": "it said: API Error: 529 Overloaded."}


def test_an_answer_that_breaks_off_ends_with_an_error_event(open_exchange: Open) -> None:
    body = read(open_exchange(*began(), *failed("API Error: 529 Overloaded.", 529, api_error_type="overloaded_error")))

    assert b"event: message_stop" not in body
    assert body.endswith(
        b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error",'
        b'"message":"it said: API Error: 529 Overloaded."}}\n\n'
    )


@pytest.mark.parametrize(
    "script",
    [failed("Not logged in · Please run /login"), [Complaint("Not logged in · Please run /login\n"), Exit(1)]],
    ids=["as a result", "as a complaint"],
)
def test_a_program_without_an_answer_is_unavailable(open_exchange: Open, script: list[Piece]) -> None:
    error = failure(open_exchange(*script))

    assert isinstance(error, ProgramUnavailable)
    assert error.failure.http_status == 503
    assert str(error) == "it said: Not logged in · Please run /login"


def test_a_program_that_ends_without_a_word_is_named_by_its_exit_code(open_exchange: Open) -> None:
    error = failure(open_exchange(Exit(7)))

    assert isinstance(error, ProgramUnavailable)
    assert "exit code 7" in str(error)


def test_a_program_that_dies_in_its_answer_cuts_it(open_exchange: Open) -> None:
    error = failure(open_exchange(*began(), Complaint("out of memory"), Exit(1)))

    assert isinstance(error, UpstreamCut)
    assert error.began
    assert str(error) == "it said: out of memory"


def test_a_result_without_a_line_end_counts(open_exchange: Open) -> None:
    result = json.dumps({"type": "result", "is_error": True, "result": "boo", "api_error_status": 400}).encode()
    exchange = open_exchange(result, Exit(1))

    assert b"boo" in read(exchange)
    assert exchange.status == 400


def test_a_program_that_cannot_be_started_is_unavailable() -> None:
    def start() -> Process:
        raise OSError(11, "Resource temporarily unavailable")

    queue = ProviderQueue(1)

    error = failure(ProgramExchange(start, queue, "ana", Limits(), str, Output()))

    assert isinstance(error, ProgramUnavailable)
    assert str(error) == "it cannot be started: Resource temporarily unavailable"
    assert queue.enter("bob").wait(5)


def test_a_client_that_leaves_ends_the_program_and_its_children(open_exchange: Open, program: ClaudeProgram) -> None:
    exchange = open_exchange(Child(), *began(), 600.0)
    exchange.wait_head()
    (run,) = program.runs()

    exchange.close()

    wait_until_gone(run.pid, run.child, folder=run.environ["TMPDIR"])


def test_a_request_waits_for_the_program_before_it(open_exchange: Open, program: ClaudeProgram) -> None:
    queue = ProviderQueue(1)
    first = open_exchange(*began(), 600.0, queue=queue)
    first.wait_head()
    second = open_exchange(*answer("second"), queue=queue)

    waited = second.wait_head(0.05)
    first.close()
    body = read(second)

    assert not waited
    assert b"second" in body
    assert is_gone(program.runs()[0].pid)


def test_a_program_that_dies_without_an_answer_fails_like_a_broken_upstream(open_exchange: Open) -> None:
    error = failure(open_exchange(Complaint("Segmentation fault\n"), Exit(3)))

    assert error.failure.http_status == 502
    assert "Segmentation fault" in str(error)


def test_a_request_that_waits_too_long_is_told_to_come_back(
    open_exchange: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.providers.kinds.claude_cli.exchange.QUEUE_TIMEOUT", 0.2)
    exchange = open_exchange(queue=queue_without_room())

    error = failure(exchange)

    assert isinstance(error, UpstreamBusy)
    assert error.failure.http_status == 503


def queue_without_room() -> ProviderQueue:
    queue = ProviderQueue(1)
    assert queue.enter("zoe").wait(0)
    return queue


def test_who_has_programs_waiting_is_no_hindrance_to_another(open_exchange: Open) -> None:
    queue = ProviderQueue(1)
    running = open_exchange(*began(), 600.0, queue=queue)
    running.wait_head()
    crowd = [open_exchange(*answer("x"), queue=queue) for _ in range(5)]
    other = open_exchange(queue=queue, tenant="bob")
    for each in [*crowd, other]:
        assert not each.wait_head(0.01)

    crowd[0].close()  # leaves the queue
    running.close()
    assert read(crowd[1])
    crowd[1].close()
    body = read(other)

    assert body
    assert queue.waiting == 3


def test_a_program_that_answers_gives_its_place_back(open_exchange: Open) -> None:
    queue = ProviderQueue(1)

    bodies = []
    for _ in range(3):
        exchange = open_exchange(queue=queue)
        bodies.append(read(exchange))
        exchange.close()

    assert bodies[0] == bodies[1] == bodies[2]
