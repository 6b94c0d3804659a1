"""The database of the accounts locked, full and gone: requests go on, and what is lost is counted."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest

from tests.server.hosts import ADMIN, CountingUpstream, ask, configure, get, read_metric
from tests.support.clock import wait_until
from tests.support.gateway_process import GatewayProcess

# A file system of its own, which ends with the process.
SMALL_DISK = ("unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size=2m tmpfs "$XDG_DATA_HOME" && exec dragoman serve')


def count(gateway: GatewayProcess) -> tuple[int, int]:
    """How many requests are accounted for, and how many records were lost."""
    rows = get(gateway, "/_/api/usage?by=key")["usage"]
    return sum(row["requests"] for row in rows), int(read_metric(gateway, "dragoman_records_lost"))


def ask_often(gateway: GatewayProcess, times: int) -> set[int]:
    return {ask(gateway.url, ADMIN) for _ in range(times)}


def test_a_locked_database_holds_up_nobody_and_gets_all_rows_later(tmp_path: Path) -> None:
    with CountingUpstream(0) as upstream:
        folder = configure(tmp_path / "host", upstream)
        with GatewayProcess(folder) as gateway:
            before = ask_often(gateway, 5)
            wait_until(lambda: count(gateway)[0] == 5)
            (file,) = folder.rglob("usage.sqlite3")
            with sqlite3.connect(file, isolation_level=None) as other:
                other.execute("BEGIN EXCLUSIVE")
                began = time.monotonic()
                during = ask_often(gateway, 30)
                took = time.monotonic() - began
                wait_until(lambda: "missing from the accounts" in str(get(gateway, "/health").get("reasons")))
                other.execute("ROLLBACK")
            other.close()
            wait_until(lambda: count(gateway) == (35, 0))

    assert before == during == {200}
    assert took < 10


def test_a_database_that_was_removed_is_made_anew_and_the_rows_go_on(tmp_path: Path) -> None:
    with CountingUpstream(0) as upstream:
        folder = configure(tmp_path / "host", upstream)
        with GatewayProcess(folder) as gateway:
            before = ask_often(gateway, 5)
            wait_until(lambda: count(gateway)[0] == 5)
            for file in folder.rglob("usage.sqlite3*"):
                file.unlink()
            after = ask_often(gateway, 7)
            wait_until(lambda: count(gateway) == (7, 0))

    assert before == after == {200}


def test_a_full_disk_loses_no_request_and_no_row_that_is_not_counted(tmp_path: Path) -> None:
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("this user may make no file system of its own")
    data = tmp_path / "data"
    data.mkdir()
    with CountingUpstream(0) as upstream:
        folder = configure(tmp_path / "host", upstream)
        with GatewayProcess(folder, command=SMALL_DISK, XDG_DATA_HOME=str(data)) as gateway:
            before = ask_often(gateway, 5)
            wait_until(lambda: count(gateway)[0] == 5)
            inside = Path(f"/proc/{gateway.process.pid}/root{data}")
            _fill(inside / "ballast")
            during = ask_often(gateway, 300)
            wait_until(lambda: "missing from the accounts" in str(get(gateway, "/health").get("reasons")))
            full = ask_often(gateway, 10)
            (inside / "ballast").unlink()
            wait_until(lambda: sum(count(gateway)) == 315)
            in_all = count(gateway)

    assert before == during == full == {200}
    assert in_all[0] + in_all[1] == upstream.answers.total() == 315


def _fill(ballast: Path) -> None:
    """Takes all room that is left, to the last byte."""
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    file.write(os.urandom(size))
            except OSError:
                continue
