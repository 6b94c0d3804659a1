"""Log files: whole lines of several writers, put aside in time, the oldest removed; nothing of it harms a request."""

from __future__ import annotations

import json
import logging
import os
import stat
import sys
import threading
from pathlib import Path

import pytest

from app.logs import request_log, start_logs
from app.logs.files import LogFile
from app.settings import ServerSettings

DAY = 86_400.0


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1_790_000_000.0

    def __call__(self) -> float:
        self.now += 2  # a look at the file each time
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "gateway.log"


def aside(path: Path) -> list[Path]:
    return sorted(each for each in path.parent.iterdir() if each != path)


def test_a_full_file_is_put_aside(path: Path) -> None:
    file = LogFile(path, 100, 10, 30, Clock())

    for number in range(10):
        file.write(b"%d %s\n" % (number, b"x" * 60))
        os.utime(path, (1_790_000_000, 1_790_000_000))
    whole = b"".join(each.read_bytes() for each in (*aside(path), path))

    assert len(aside(path)) == 4
    assert sorted(line.split()[0] for line in whole.splitlines()) == sorted(b"%d" % number for number in range(10))
    assert file.lost == 0


def test_a_file_of_yesterday_is_put_aside(path: Path) -> None:
    clock = Clock()
    file = LogFile(path, 1 << 20, 10, 30, clock)
    file.write(b"yesterday\n")
    os.utime(path, (clock.now, clock.now))

    clock.now += DAY
    file.write(b"today\n")

    assert path.read_bytes() == b"today\n"
    assert [each.read_bytes() for each in aside(path)] == [b"yesterday\n"]


@pytest.mark.parametrize(("most_files", "days", "kept"), [(2, 30, 2), (10, 2, 1)])
def test_the_oldest_are_removed_and_nothing_else(path: Path, most_files: int, days: int, kept: int) -> None:
    clock = Clock()
    file = LogFile(path, 10, most_files, days, clock)
    strange = [path.with_name(name) for name in ("gateway-notes.log", "gateway-2026.txt", "other-20260101-000000.log")]
    for each in strange:
        each.write_text("mine")
        os.utime(each, (1, 1))

    for _ in range(5):
        file.write(b"x" * 20 + b"\n")
        os.utime(path, (clock.now, clock.now))
        clock.now += DAY

    assert len(aside(path)) - len(strange) == kept
    assert all(each.read_text() == "mine" for each in strange)


def test_several_writers_lose_nothing_when_the_file_is_put_aside(path: Path) -> None:
    writers = [LogFile(path, 2000, 1000, 30, Clock()) for _ in range(4)]

    def write(number: int) -> None:
        for line in range(200):
            writers[number].write(b"%d %d %s\n" % (number, line, b"y" * 40))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = [line for each in (*aside(path), path) for line in each.read_bytes().splitlines()]

    assert len(lines) == 800
    assert {len(line.split()) for line in lines} == {3}
    assert sum(writer.lost for writer in writers) == 0


def test_a_file_that_was_moved_is_begun_anew(path: Path) -> None:
    file = LogFile(path, 1 << 20, 10, 30, Clock())
    file.write(b"one\n")
    os.rename(path, path.with_suffix(".1"))

    file.write(b"two\n")

    assert path.read_bytes() == b"two\n"


def test_a_file_that_cannot_be_written_loses_lines_and_says_so(path: Path) -> None:
    file = LogFile(path, 1 << 20, 10, 30, Clock())
    os.close(file._descriptor)
    file._descriptor = os.open("/dev/full", os.O_WRONLY)
    file._looked = file._clock() + 1e-9
    file._clock = lambda: file._looked  # type: ignore[method-assign]

    file.write(b"one\n")

    assert file.lost == 1


def test_requests_and_messages_go_to_the_file_as_json(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start_logs(ServerSettings(log_file=str(path)))

    logging.getLogger("dragoman").info("the configuration is in force")
    logging.getLogger("dragoman").warning("sk-ant-REDACTED is refused")
    request_log.tell({"id": "r1", "status": 200})
    request_log.flush()

    lines = [json.loads(line) for line in path.read_text().splitlines()]
    said = capsys.readouterr()
    assert [line.get("message", line.get("id")) for line in lines] == [
        "the configuration is in force",
        "[masked] is refused",
        "r1",
    ]
    assert said.out == ""
    assert "is refused" in said.err
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_cannot_be_opened_leaves_the_log_where_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")

    start_logs(ServerSettings(log_file=str(tmp_path / "file" / "gateway.log"), log_format="text"))
    logging.getLogger("dragoman").info("hello")
    sys.stdout.flush()

    said = capsys.readouterr()
    assert "hello" in said.out
    assert "standard output" in said.err
