"""Serving goes on whatever becomes of the ledger: a stopped Postgres, a full disk, a folder that is gone."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from app.services import build_services
from app.settings import LedgerSettings, Settings
from tests.hardening.gateway import KEY, PATHS, Attacked, question
from tests.support.clock import wait_until
from tests.support.fake_upstream import FakeUpstream
from tests.support.postgres_server import PostgresServer
from tests.support.turns import turns_during

Figure = Callable[[str, object, object], None]

CHAT, RESPONSES = PATHS["openai_chat"], PATHS["openai_responses"]


def stored(text: str = "hi", **more: Any) -> bytes:
    return json.dumps({"model": "up/m", "input": text, "store": True, **more}).encode()


def get(gateway: Attacked, path: str) -> tuple[int, bytes]:
    head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nx-api-key: {KEY}\r\nConnection: close\r\n\r\n"
    answer = gateway.exchange(head.encode())
    return int(answer[9:12]), answer.partition(b"\r\n\r\n")[2]


def health(gateway: Attacked) -> Any:
    return json.loads(get(gateway, "/health")[1])


def keep(gateway: Attacked, text: str) -> int:
    """The status with which a stored response is found again."""
    _, answer = gateway.ask(RESPONSES, stored(text))
    return get(gateway, f"/v1/responses/{json.loads(answer)['id']}")[0]


def processes_of(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(int(child) for child in children)]


@contextlib.contextmanager
def stopped(server: PostgresServer) -> Iterator[None]:
    """All its processes hear nothing, as on a host that hangs."""
    pids = processes_of(server.pid)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def test_a_postgres_that_is_stopped_holds_up_nobody_and_is_used_again(
    upstream: FakeUpstream, tmp_path: Path, figure: Figure
) -> None:
    with (
        PostgresServer() as server,
        Attacked(tmp_path, upstream.url, more=f'[ledger]\nurl = "{server.url}"') as gateway,
    ):
        assert keep(gateway, "before") == 200
        with stopped(server):
            begun = time.monotonic()
            longest, status = gateway.stall_during(RESPONSES, stored("meanwhile"))
            took = time.monotonic() - begun
            begun = time.monotonic()
            statuses = [gateway.ask(RESPONSES, stored(str(number)))[0] for number in range(5)]
            took_more = time.monotonic() - begun
            continued, told = gateway.ask(RESPONSES, stored("on", previous_response_id="resp_" + "0" * 32))
            unstored = gateway.ask(CHAT, question("openai_chat"))[0]
            state = health(gateway)
        wait_until(lambda: keep(gateway, "after") == 200)

        figure("a stored response while Postgres is stopped", f"{took:.1f} s", "6 s")
        assert (status, statuses, unstored) == (200, [200] * 5, 200)
        assert took < 6
        assert took_more < 12
        assert longest < 0.5
        assert continued >= 400
        assert str(server.folder).encode() not in told
        assert state["status"] == "degraded"
        assert state["reasons"]
        assert "Traceback" not in gateway.log.read_text()


def test_a_postgres_that_crashes_is_used_again_once_it_is_back(upstream: FakeUpstream, tmp_path: Path) -> None:
    with (
        PostgresServer() as server,
        Attacked(tmp_path, upstream.url, more=f'[ledger]\nurl = "{server.url}"') as gateway,
    ):
        assert keep(gateway, "before") == 200
        server.kill()
        statuses = [gateway.ask(RESPONSES, stored(str(number)))[0] for number in range(5)]
        state = health(gateway)
        server.start()
        wait_until(lambda: keep(gateway, "after") == 200, seconds=30.0)

        assert statuses == [200] * 5
        assert state["status"] == "degraded"
        assert "Traceback" not in gateway.log.read_text()


# No file may grow beyond this, as on a disk that is full; in units of 512 bytes.
FULL = ("sh", "-c", 'ulimit -f 1200; exec dragoman serve "$@"', "sh")


def test_a_full_disk_costs_what_is_not_kept_and_nothing_else(upstream: FakeUpstream, tmp_path: Path) -> None:
    with Attacked(tmp_path, upstream.url, command=FULL) as gateway:
        assert keep(gateway, "before") == 200
        statuses = [gateway.ask(RESPONSES, stored(os.urandom(60_000).hex()))[0] for _ in range(12)]
        state = health(gateway)
        unstored = [gateway.ask(CHAT, question("openai_chat"))[0] for _ in range(20)]

        assert statuses == [200] * 12
        assert unstored == [200] * 20
        assert state["status"] == "degraded", state
        assert state["reasons"]
        assert gateway.process.poll() is None
        assert "Traceback" not in gateway.log.read_text()


def test_a_ledgers_folder_that_is_gone_costs_no_request(upstream: FakeUpstream, tmp_path: Path) -> None:
    with Attacked(tmp_path, upstream.url) as gateway:
        assert keep(gateway, "before") == 200
        shutil.rmtree(next(tmp_path.rglob("ledger.sqlite3")).parent)

        statuses = [gateway.ask(RESPONSES, stored(str(number)))[0] for number in range(5)]
        wait_until(lambda: gateway.ask(CHAT, question("openai_chat"))[0] == 200)

        assert statuses == [200] * 5
        assert "Traceback" not in gateway.log.read_text()


# What a damaged or foreign ledger holds in the place of a record.
DAMAGED: list[object] = [
    b"", b"null", b"\xff\xfe", "text", 7, 10**12, 1.5, zstandard.compress(b""), zstandard.compress(b"null"),
    zstandard.compress(b"[" * 100_000), zstandard.compress(b'{"id":7}'), zstandard.compress(b"\xff"),
    zstandard.compress(b'{"status":[],"output":7,"history":{},"answer":[]}'),
    zstandard.ZstdCompressor().compress(b" " * (300 << 20)), zstandard.compress(b"{}")[:-3],
]  # fmt: skip


@pytest.mark.parametrize("value", DAMAGED, ids=lambda value: repr(value)[:24])
def test_a_damaged_record_is_a_missing_one(value: object, upstream: FakeUpstream, tmp_path: Path) -> None:
    file = tmp_path / "planted.sqlite3"
    asked = json.dumps({"model": "up/m", "input": "hi"}).encode()
    items = json.dumps({"items": [{"type": "message", "role": "user", "content": "x"}]}).encode()
    with Attacked(tmp_path, upstream.url, more=f'[ledger]\nurl = "sqlite:///{file}"\n', max_attempts=1) as gateway:
        kept = json.loads(gateway.ask(RESPONSES, asked)[1])["id"]
        talk = json.loads(gateway.ask("/v1/conversations", items)[1])["id"]
        with contextlib.closing(sqlite3.connect(file)) as ledger:
            ledger.execute("UPDATE records SET value = ?", (value,))
            ledger.commit()

        paths = (f"{RESPONSES}/{kept}", f"{RESPONSES}/{kept}/input_items", f"/v1/conversations/{talk}/items")
        statuses = {path: get(gateway, path)[0] for path in paths}
        for more in ({"previous_response_id": kept}, {"conversation": talk}):
            body = json.dumps({"model": "up/m", "input": "hi", **more}).encode()
            statuses[str(more)], _ = gateway.ask(RESPONSES, body)
        statuses["more items"], _ = gateway.ask(f"/v1/conversations/{talk}/items", items)

        assert set(statuses.values()) <= {400, 404}, statuses
        assert gateway.ask(RESPONSES, asked)[0] == 200
        assert "Traceback" not in gateway.log.read_text()


def test_others_run_while_a_large_record_is_written_and_read(tmp_path: Path) -> None:
    settings = Settings(ledger=LedgerSettings(url=f"sqlite:///{tmp_path}/ledger.sqlite3"))
    services = build_services(settings, {}, tmp_path)
    kept, value = services.ledger.responses, os.urandom(8 << 20)
    works: tuple[Callable[[], object], ...] = (
        lambda: kept.put("t", "resp_1", value),
        lambda: kept.get("t", "resp_1"),
        lambda: kept.get_many("t", ["resp_1"]),
        lambda: kept.get_many("t", [f"resp_{number}" for number in range(10_000)]),
        lambda: kept.update("t", "resp_1", lambda found: found[::-1]),
        lambda: kept.delete("t", "resp_1"),
    )

    seen = [turns_during(work) for work in works]
    services.ledger.close()
    services.transport.close()

    assert all(seen), seen
