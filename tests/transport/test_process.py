"""A program stands in for a server: it is read with a time limit, and it is gone afterwards with all it has started."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.transport.process import Command, Process
from tests.support.claude_program import wait_until_gone

TELL = """
import json, os, sys
told = {"stdin": sys.stdin.read(), "note": open("../note").read(), "environ": dict(os.environ), "beside": os.listdir()}
print(json.dumps(told))
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where private folders are made; a test that leaves one fails."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def runs(place: Path) -> Iterator[list[Process]]:
    """What a test has started; it is ended, and leaves nothing."""
    started: list[Process] = []
    yield started
    for process in started:
        process.end()
    assert list(place.iterdir()) == []


def command(script: str, stdin: bytes = b"", **files: bytes) -> Command:
    return Command((sys.executable, "-S", "-c", script), {"LANG": "C.UTF-8", "MARK": "1"}, stdin, files)


def read_all(process: Process) -> bytes:
    parts = []
    while part := process.read(10):
        parts.append(part)
    return b"".join(parts)


def test_a_program_knows_what_it_was_told_and_nothing_else(runs: list[Process], place: Path) -> None:
    process = Process(command(TELL, b"from the input", note=b"from a file"))
    runs.append(process)

    told = json.loads(read_all(process))

    (folder,) = place.iterdir()
    assert (told["stdin"], told["note"], told["beside"]) == ("from the input", "from a file", [])
    assert told["environ"] == {"LANG": "C.UTF-8", "MARK": "1", "TMPDIR": str(folder), "PWD": str(folder / "work")}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert process.wait(5) == 0


def test_silence_is_a_time_out(runs: list[Process]) -> None:
    process = Process(command("import time; time.sleep(60)"))
    runs.append(process)

    with pytest.raises(TimeoutError):
        process.read(0.05)
    with pytest.raises(TimeoutError):
        process.read(0)

    assert process.wait(0) is None


def test_output_larger_than_any_buffer_is_read_while_a_large_input_waits(runs: list[Process]) -> None:
    script = "import sys; sys.stdout.write('x' * 5_000_000); sys.stdout.write(str(len(sys.stdin.read())))"
    process = Process(command(script, b"0123456789" * 500_000))
    runs.append(process)

    said = read_all(process)

    assert said == b"x" * 5_000_000 + b"5000000"


def test_the_end_of_what_a_program_complains_is_kept(runs: list[Process]) -> None:
    process = Process(command("import sys; sys.stderr.write('x' * 10_000 + 'last words\\n'); sys.exit(3)"))
    runs.append(process)

    said = read_all(process)

    assert said == b""
    assert process.wait(5) == 3
    assert process.last_words().endswith("x last words".replace(" l", "l"))
    assert len(process.last_words()) < 2500


def test_a_program_that_ends_by_itself_is_left_to_do_so(runs: list[Process]) -> None:
    process = Process(command("import time; time.sleep(0.2); print('by itself')"))
    runs.append(process)
    reader = threading.Thread(target=lambda: said.append(read_all(process)))
    said: list[bytes] = []
    reader.start()

    process.end(grace=5)

    reader.join(5)
    assert said == [b"by itself\n"]


@pytest.mark.parametrize(
    "script",
    [
        "import time; time.sleep(60)",
        "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(60)",
    ],
    ids=["one that listens", "one that does not"],
)
def test_a_program_that_runs_on_is_ended_with_what_it_has_started(runs: list[Process], script: str) -> None:
    start = "import subprocess as s, sys; p = s.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(60)'])"
    process = Process(command(f"import os; {start}; print(os.getpid(), p.pid, flush=True); {script}"))
    pids = [int(word) for word in process.read(10).split()[:2]]

    process.end()

    wait_until_gone(pids[0])
    wait_until_gone(pids[1])
    process.end()


def test_a_program_that_is_not_there_says_so(runs: list[Process]) -> None:
    process = Process(Command(("/nowhere/claude",), {}, b"", {}))
    runs.append(process)

    assert read_all(process) == b""
    assert process.wait(5) == 127
    assert "/nowhere/claude" in process.last_words()


def test_what_cannot_be_started_leaves_nothing(place: Path) -> None:
    with pytest.raises(ValueError, match="null"):
        Process(Command(("/bin/echo", "\0"), {}, b"", {}))

    assert list(place.iterdir()) == []


def test_a_command_tells_nothing_of_the_conversation() -> None:
    told = repr(command("x", b"the conversation", note=b"the key"))

    assert told == f"Command({sys.executable})"
