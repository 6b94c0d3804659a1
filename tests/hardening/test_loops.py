"""Nothing that runs beside the requests dies, and nothing outside holds them up: logs, disks, databases, signals."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.log_target import LogTarget
from app.loops import Loop
from tests.hardening.gateway import KEY, PATHS, Attacked, post, question, read_rest
from tests.support.clock import wait_until
from tests.support.fake_upstream import FakeUpstream, sse
from tests.support.gateway_process import bare_environ, free_port

Figure = Callable[[str, object, object], None]

ROOT = Path(__file__).parents[2]
CHAT, RESPONSES = PATHS["openai_chat"], PATHS["openai_responses"]


def chunk(text: str) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return b"data: " + json.dumps({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
                                   "choices": [choice]}).encode() + b"\n\n"  # fmt: skip


SLOW = sse(chunk("one"), 2.5, chunk("two"), chunk("").replace(b"null", b'"stop"'), b"data: [DONE]\n\n")


# ---- the loop itself


def test_a_loop_goes_on_after_any_exception_and_logs_it_once(caplog: pytest.LogCaptureFixture) -> None:
    faults: list[Exception] = [
        ValueError("one"),
        ValueError("one"),
        RecursionError("deep"),
        MemoryError(),
        OSError(28, ""),
    ]
    rounds: list[int] = []
    enough = threading.Event()

    def work() -> None:
        rounds.append(1)
        if len(rounds) <= len(faults):
            raise faults[len(rounds) - 1]
        enough.set()

    loop = Loop("thing", work, 0.01)
    loop.start()
    assert enough.wait(5)
    loop.stop()

    assert loop.faults == 5
    assert sum("the thing failed" in record.message for record in caplog.records) == 4
    assert loop.age is not None
    assert loop.age < 1


def test_a_round_that_goes_well_makes_the_same_fault_news_again(caplog: pytest.LogCaptureFixture) -> None:
    plan: list[Exception | None] = [ValueError("one"), None, ValueError("one")]

    def work() -> None:
        fault = plan.pop(0)
        if fault is not None:
            raise fault

    loop = Loop("thing", work, 1)
    for _ in range(3):
        loop.round()

    assert sum("the thing failed" in record.message for record in caplog.records) == 2


def test_a_loop_that_is_woken_runs_at_once_and_then_waits_again() -> None:
    rounds: list[float] = []
    ran = threading.Event()

    def work() -> None:
        rounds.append(time.monotonic())
        ran.set()

    loop = Loop("thing", work, 60)
    loop.start()
    for _ in range(2):
        loop.wake()
        assert ran.wait(5)
        ran.clear()
    assert not ran.wait(0.05)
    loop.stop()
    loop.wake()

    assert not ran.wait(0.05)
    assert len(rounds) == 2


# ---- where lines go


def full_pipe() -> tuple[int, int]:
    """A pipe of 64 KiB that takes nothing more."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x")
    os.set_blocking(writer, True)
    return reader, writer


def test_a_full_pipe_loses_lines_and_takes_new_ones_when_it_is_read_again() -> None:
    reader, writer = full_pipe()
    target = LogTarget(writer)
    os.set_blocking(reader, False)

    begun = time.monotonic()
    for number in range(20_000):
        target.write(b"line %d that is lost or kept whole\n" % number)
    took = time.monotonic() - begun
    with contextlib.suppress(BlockingIOError):
        while os.read(reader, 1 << 20):
            pass
    target.write(b"line after\n")
    got = b""
    with contextlib.suppress(BlockingIOError):
        while True:
            target.flush()
            got += os.read(reader, 1 << 20)

    assert took < 1
    assert target.lost > 0
    assert got.endswith(b"line after\n")
    assert all(re.fullmatch(rb"line \d+ that is lost or kept whole|line after", line) for line in got.splitlines())


def test_the_pipe_of_others_keeps_its_mode() -> None:
    _reader, writer = os.pipe()

    LogTarget(writer).write(b"line\n")

    assert not fcntl.fcntl(writer, fcntl.F_GETFL) & os.O_NONBLOCK


@pytest.mark.parametrize("kind", ["closed", "no reader", "full disk", "socket", "full socket"])
def test_no_target_raises_or_waits(kind: str) -> None:
    kept: list[Any] = []
    if kind == "full disk":
        descriptor = os.open("/dev/full", os.O_WRONLY)
    elif "socket" in kind:
        left, right = socket.socketpair()
        kept = [left, right]
        descriptor = left.fileno()
    else:
        reader, descriptor = os.pipe()
        os.close(reader)
    target = LogTarget(descriptor)
    if kind == "closed":
        os.close(descriptor)

    begun = time.monotonic()
    for _ in range(5_000 if kind == "full socket" else 3):
        target.write(b"line " * 40 + b"\n")

    assert time.monotonic() - begun < 2
    if kind == "socket":
        assert kept[1].recv(5) == b"line "
    target.close()
    for each in kept:
        each.close()


class Served(Attacked):
    """With standard output and error as the test wants them."""

    def __init__(self, folder: Path, upstream_url: str, redirect: str, **options: Any) -> None:
        super().__init__(folder, upstream_url, command=("sh", "-c", f"exec dragoman serve {redirect}"), **options)


@pytest.mark.parametrize(
    "redirect",
    [">/dev/full", ">/dev/full 2>&1", ">&-", ">&- 2>&-", "<&- >&- 2>&-", "2>/dev/full"],
    ids=lambda r: r or "usual",
)
def test_a_standard_output_that_takes_nothing_keeps_nobody_from_serving(
    upstream: FakeUpstream, tmp_path: Path, redirect: str
) -> None:
    with Served(tmp_path, upstream.url, redirect) as gateway:
        statuses = [gateway.ask(CHAT, question("openai_chat"))[0] for _ in range(5)]

        assert statuses == [200] * 5
        assert "Traceback" not in gateway.log.read_text()


def test_a_standard_output_that_nobody_reads_holds_up_nobody(upstream: FakeUpstream, tmp_path: Path) -> None:
    reader, writer = full_pipe()
    gateway = Attacked.__new__(Attacked)
    config = tmp_path / "dragoman.toml"
    gateway.config, gateway.upstream_url, gateway.server = config, upstream.url, {"api_keys": [KEY], "workers": 2}
    gateway.write_config()
    gateway.port = free_port()
    gateway.url = f"http://127.0.0.1:{gateway.port}"
    gateway.log = tmp_path / "log"
    gateway.log.touch()
    environ = bare_environ(tmp_path / "home", PORT=str(gateway.port))
    gateway.process = subprocess.Popen(
        ["dragoman", "serve"], cwd=tmp_path, env=environ, stdout=writer, stderr=writer, start_new_session=True
    )
    with gateway:
        statuses = [gateway.ask(CHAT, question("openai_chat"))[0] for _ in range(400)]
        gateway.ask(CHAT, b"{")
        os.set_blocking(reader, False)
        with contextlib.suppress(BlockingIOError):
            while os.read(reader, 1 << 20):
                pass
        time.sleep(0.6)
        with contextlib.suppress(BlockingIOError):
            while os.read(reader, 1 << 20):
                pass
        gateway.ask(CHAT, question("openai_chat"))
        time.sleep(0.6)

        assert statuses == [200] * 400
        assert b'"status":200' in os.read(reader, 1 << 20)


# ---- the ledger


def stored(text: str = "hi") -> bytes:
    return json.dumps({"model": "up/m", "input": text, "store": True}).encode()


def health(gateway: Attacked) -> Any:
    head = f"GET /health HTTP/1.1\r\nHost: localhost\r\nx-api-key: {KEY}\r\nConnection: close\r\n\r\n"
    return json.loads(gateway.exchange(head.encode()).partition(b"\r\n\r\n")[2])


def ledger_file(tmp_path: Path) -> Path:
    return next(tmp_path.rglob("ledger.sqlite3"))


def test_a_locked_ledger_holds_up_nobody_and_health_says_so(
    upstream: FakeUpstream, tmp_path: Path, figure: Figure
) -> None:
    with Attacked(tmp_path, upstream.url) as gateway:
        assert gateway.ask(RESPONSES, stored())[0] == 200
        lock = sqlite3.connect(ledger_file(tmp_path), isolation_level=None)
        lock.execute("BEGIN EXCLUSIVE")

        longest, status = gateway.stall_during(RESPONSES, stored("other"))
        told = health(gateway)
        lock.execute("ROLLBACK")
        lock.close()

        figure("wait of others while the ledger is locked", f"{longest * 1000:.0f} ms", "200 ms")
        assert status == 200
        assert longest < 0.2
        assert told["status"] == "degraded"
        assert any("locked" in reason for reason in told["reasons"])


def test_a_ledger_file_that_was_deleted_is_noticed(upstream: FakeUpstream, tmp_path: Path) -> None:
    with Attacked(tmp_path, upstream.url) as gateway:
        gateway.ask(RESPONSES, stored())
        for file in ledger_file(tmp_path).parent.glob("ledger.sqlite3*"):
            file.unlink()

        status, body = gateway.ask(RESPONSES, stored())
        response_id = json.loads(body)["id"]
        head = f"GET /v1/responses/{response_id} HTTP/1.1\r\nHost: localhost\r\nx-api-key: {KEY}\r\nConnection: close"
        found = gateway.exchange(f"{head}\r\n\r\n".encode())

        assert status == 200
        assert found.startswith(b"HTTP/1.1 200 ")
        assert ledger_file(tmp_path).exists()


def test_a_database_that_does_not_answer_is_given_up_soon(
    upstream: FakeUpstream, tmp_path: Path, figure: Figure
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://somebody:planted@127.0.0.1:{silent.getsockname()[1]}/ledger"
        with Attacked(tmp_path, upstream.url, more=f'[ledger]\nurl = "{url}"') as gateway:
            begun = time.monotonic()
            longest, status = gateway.stall_during(RESPONSES, stored())
            took = time.monotonic() - begun
            again = time.monotonic()
            second, answer = gateway.ask(
                RESPONSES, json.dumps({"model": "up/m", "input": "a", "previous_response_id": "resp_x"}).encode()
            )
            took_again = time.monotonic() - again

    figure("a stored response while the database is silent", f"{took:.1f} s", "6 s")
    assert status == 200
    assert took < 6
    assert longest < 0.5
    assert second >= 400
    assert took_again < 1
    assert b"planted" not in answer
    assert b"127.0.0.1" not in answer


# ---- clocks


@pytest.mark.parametrize("room", ["server", "transport", "ledger", "gateway/upstream_health", "gateway/replies"])
def test_no_wait_is_counted_on_a_clock_that_somebody_may_set(room: str) -> None:
    """A clock that jumps by two hours must cut no stream and lengthen no pause. Dates that answers tell are dates."""
    modules = sorted((ROOT / "app" / room).rglob("*.py"))
    told = [(path.name, line) for path in modules for line in path.read_text().splitlines() if "time.time()" in line]

    assert modules
    # When an answer was made, and the date that one names.
    dates = ("created=", "settle_retry_after(", "find_retry_after(")
    assert [line for line in told if not any(date in line[1] for date in dates)] == []


# ---- signals


def begin_stream(gateway: Attacked) -> socket.socket:
    client = gateway.connect(20)
    client.sendall(post(CHAT, question("openai_chat", stream=True)))
    client.recv(16)
    return client


def test_the_first_ctrl_c_lets_streams_finish_and_says_so(upstream: FakeUpstream, tmp_path: Path) -> None:
    upstream.script(SLOW)
    with Attacked(tmp_path, upstream.url) as gateway:
        with begin_stream(gateway) as client:
            os.killpg(gateway.process.pid, signal.SIGINT)  # as a terminal does
            rest = read_rest(client)
        code = gateway.wait(10)
        said = gateway.log.read_text()

    assert b"[DONE]" in rest
    assert code == 0
    assert "finishing 1 stream, Ctrl-C again to stop at once" in said
    assert '"terminal":"completed"' in said
    assert "Traceback" not in said


def test_the_second_ctrl_c_ends_at_once_and_logs_what_it_cuts(upstream: FakeUpstream, tmp_path: Path) -> None:
    upstream.script(sse(chunk("one"), 30.0))
    with Attacked(tmp_path, upstream.url, workers=2) as gateway:
        with begin_stream(gateway) as client:
            os.killpg(gateway.process.pid, signal.SIGINT)
            wait_until(lambda: "Ctrl-C again" in gateway.log.read_text())
            begun = time.monotonic()
            os.killpg(gateway.process.pid, signal.SIGINT)
            rest = read_rest(client)
            gateway.wait(10)
            took = time.monotonic() - begun
        said = gateway.log.read_text()

    assert took < 2
    assert b"0\r\n\r\n" not in rest
    assert '"terminal":"stopped"' in said
    assert "Traceback" not in said


@pytest.mark.parametrize("pause", [0.0, 0.2, 0.4, 0.7, 1.0, 2.0])
def test_ctrl_c_never_shows_a_traceback(upstream: FakeUpstream, tmp_path: Path, pause: float) -> None:
    terminal, end = pty.openpty()
    config = tmp_path / "dragoman.toml"
    config.write_text("[server]\nopen_browser = false\n")
    process = subprocess.Popen(
        ["dragoman", "serve"], cwd=tmp_path, env=bare_environ(tmp_path / "home", PORT=str(free_port())),
        stdin=end, stdout=end, stderr=end, start_new_session=True,
    )  # fmt: skip
    os.close(end)
    os.read(terminal, 1)  # it has begun to say where it is
    time.sleep(pause)
    os.killpg(process.pid, signal.SIGINT)
    process.wait(10)
    said = b""
    with contextlib.suppress(OSError):
        while data := os.read(terminal, 65536):
            said += data
    os.close(terminal)

    assert b"Traceback" not in said
    assert b"SystemExit" not in said


# Runs the command, and writes a byte when its entry has begun. What comes before is the interpreter.
ENTERED = """
import os, signal, sys
real = signal.signal
def tell(number, handler):
    before = real(number, handler)
    if number == signal.SIGINT and handler == signal.SIG_DFL:
        os.write(1, b".")
    return before
signal.signal = tell
sys.argv = ["dragoman", "serve"]
import dragoman
signal.signal = real
dragoman.main()
"""


def test_ctrl_c_while_the_program_is_still_imported_shows_no_traceback(tmp_path: Path) -> None:
    pauses = [0.03 * step for step in range(14)]
    started = []
    for pause in pauses:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", ENTERED], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=bare_environ(tmp_path / "home", PORT=str(free_port())), start_new_session=True,
        )  # fmt: skip
        assert process.stdout is not None
        entered = process.stdout.read(1)
        time.sleep(pause)
        os.killpg(process.pid, signal.SIGINT)
        started.append((entered, process))
    said = [entered + process.communicate(timeout=20)[0] for entered, process in started]

    assert [text for text in said if not text.startswith(b".")] == []
    assert [text for text in said if b"Traceback" in text or b"KeyboardInterrupt" in text] == []


def test_ctrl_c_while_nothing_runs_is_not_printed_by_the_hub() -> None:
    program = (
        "from app.patching import prepare_process\nprepare_process()\nimport gevent\n"
        "def stop(): raise KeyboardInterrupt\n"
        "gevent.get_hub().loop.run_callback(stop)\n"
        "try: gevent.sleep(5)\nexcept KeyboardInterrupt: print('ended')\n"
    )

    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False)

    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "ended\n", "")


def test_the_master_hears_signals_while_old_workers_drain(upstream: FakeUpstream, tmp_path: Path) -> None:
    upstream.script(sse(chunk("one"), 6.0, chunk("two"), b"data: [DONE]\n\n"))
    with Attacked(tmp_path, upstream.url) as gateway:
        first = pid_of(gateway)
        client = begin_stream(gateway)
        gateway.signal(signal.SIGHUP)
        second = another_than(gateway, first)

        os.kill(second, signal.SIGKILL)
        another_than(gateway, first, second)
        gateway.signal(signal.SIGTERM)
        rest = read_rest(client)
        client.close()
        gateway.wait(10)

    assert b"[DONE]" in rest


def another_than(gateway: Attacked, *known: int) -> int:
    """A worker that answers and is none of these. Both old and new ones answer while one takes the other's place."""

    def find() -> int:
        pid = pid_of(gateway)
        return 0 if pid in known else pid

    return wait_until(find, what="an answer of another worker")


def pid_of(gateway: Attacked) -> int:
    """The worker that answers now; 0 where none does."""
    try:
        return int(health(gateway)["process"]["pid"])
    except (OSError, ValueError):
        return 0


def test_a_bare_container_is_enough(upstream: FakeUpstream, tmp_path: Path) -> None:
    """No home, no entry in passwd, no place for temporary files, nothing that can be written."""
    environ = {
        "TMPDIR": "/nowhere",
        "TEMP": "/nowhere",
        "TMP": "/nowhere",
        "HOME": "/nowhere",
        "XDG_DATA_HOME": "/nowhere",
    }
    with Attacked(tmp_path, upstream.url, environ=environ) as gateway:
        statuses = [gateway.ask(path, question(dialect))[0] for dialect, path in PATHS.items()]
        status, _ = gateway.ask(RESPONSES, stored())

        said = gateway.log.read_text()
        assert statuses == [200, 200, 200]
        assert status == 200
        assert "Traceback" not in said
