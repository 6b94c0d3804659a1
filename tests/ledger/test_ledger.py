"""The ledger: what is kept, for whom, for how long, and what happens when the database does not do its part."""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.errors import LedgerUnavailable
from app.ledger import Collection, Ledger
from app.settings import LedgerSettings
from tests.support.clock import Clock

DAY = 86_400


OpenLedger = Callable[..., Ledger]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'data' / 'ledger.sqlite3'}"
    else:
        yield request.getfixturevalue("postgres")


@pytest.fixture
def open_ledger(url: str, clock: Clock) -> Iterator[OpenLedger]:
    """open_ledger(ttl_days=…, max_mb=…): a ledger on the database of this test, as another worker would open it."""
    opened: list[Ledger] = []

    def make(**settings: int) -> Ledger:
        opened.append(Ledger(LedgerSettings(**({"url": url} | settings)), clock, clock))  # type: ignore[arg-type]
        return opened[-1]

    yield make
    for ledger in opened:
        ledger.close()


def test_what_was_put_is_there_for_another_worker_and_after_a_restart(open_ledger: OpenLedger) -> None:
    open_ledger().responses.put("", "resp_1", b"value")

    assert open_ledger().responses.get("", "resp_1") == b"value"


def test_a_tenant_sees_nothing_of_another(open_ledger: OpenLedger) -> None:
    responses = open_ledger().responses
    responses.put("alice", "resp_1", b"hers")

    assert responses.get("bob", "resp_1") is None
    assert responses.get("", "resp_1") is None
    assert not responses.delete("bob", "resp_1")
    assert responses.get("alice", "resp_1") == b"hers"


def test_shelves_do_not_share_keys(open_ledger: OpenLedger) -> None:
    one, other = (Collection(open_ledger(), kind) for kind in ("one", "other"))

    one.put("", "id", b"of one")
    other.put("", "id", b"of other")

    assert (one.get("", "id"), other.get("", "id")) == (b"of one", b"of other")


def test_a_second_value_replaces_the_first(open_ledger: OpenLedger) -> None:
    responses = open_ledger().responses
    responses.put("", "resp_1", b"first")

    responses.put("", "resp_1", b"second")

    assert responses.get("", "resp_1") == b"second"


def test_an_update_changes_what_is_there_and_makes_nothing_new(open_ledger: OpenLedger) -> None:
    responses = open_ledger().responses
    responses.put("", "resp_1", b"one")

    assert responses.update("", "resp_1", lambda value: value + b" two") == b"one two"
    assert responses.update("", "resp_2", lambda value: value + b" two") is None
    assert responses.update("", "resp_1", lambda value: None) is None
    assert responses.get("", "resp_1") == b"one two"
    assert responses.get("", "resp_2") is None


def test_an_update_begins_anew_when_another_worker_was_faster(open_ledger: OpenLedger) -> None:
    slow, fast = open_ledger().responses, open_ledger().responses
    slow.put("", "resp_1", b"one")
    seen: list[bytes] = []

    def change(value: bytes) -> bytes:
        seen.append(value)
        if len(seen) == 1:
            fast.put("", "resp_1", b"two")
        return value + b" three"

    assert slow.update("", "resp_1", change) == b"two three"
    assert seen == [b"one", b"two"]


def test_an_update_that_is_always_overtaken_gives_up(open_ledger: OpenLedger) -> None:
    slow, fast = open_ledger().responses, open_ledger().responses
    slow.put("", "resp_1", b"one")
    turns = iter(range(1000))

    def change(value: bytes) -> bytes:
        fast.put("", "resp_1", str(next(turns)).encode())
        return b"mine"

    with pytest.raises(LedgerUnavailable):
        slow.update("", "resp_1", change)


def test_many_are_found_at_once(open_ledger: OpenLedger) -> None:
    responses = open_ledger().responses
    responses.put("", "one", b"1")
    responses.put("", "two", b"2")
    responses.put("alice", "three", b"hers")

    found = responses.get_many("", ["one", "two", "three", "not an id", *(f"absent_{n}" for n in range(1200))])

    assert found == {"one": b"1", "two": b"2"}
    assert responses.get_many("", []) == {}


def test_what_is_deleted_is_gone(open_ledger: OpenLedger) -> None:
    responses = open_ledger().responses
    responses.put("", "resp_1", b"value")

    assert responses.delete("", "resp_1")
    assert not responses.delete("", "resp_1")
    assert responses.get("", "resp_1") is None


@pytest.mark.parametrize("key", ["", "a b", "x\x00", "é", "k" * 201, "'; DROP TABLE records"])
def test_a_key_that_is_no_id_is_not_there(open_ledger: OpenLedger, key: str) -> None:
    responses = open_ledger().responses

    assert responses.get("", key) is None
    assert not responses.delete("", key)


def test_what_is_too_old_is_not_there(open_ledger: OpenLedger, clock: Clock) -> None:
    responses = open_ledger(ttl_days=2).responses
    responses.put("", "resp_1", b"value")

    clock.now += 2 * DAY
    assert responses.get("", "resp_1") == b"value"
    clock.now += 1
    assert responses.get("", "resp_1") is None


def test_what_is_too_old_is_thrown_away_by_later_writes(open_ledger: OpenLedger, clock: Clock) -> None:
    open_ledger(ttl_days=2).responses.put("", "old", b"value")
    clock.now += 3 * DAY

    open_ledger(ttl_days=2).responses.put("", "new", b"value")

    patient = open_ledger(ttl_days=30).responses
    assert patient.get("", "old") is None
    assert patient.get("", "new") == b"value"


def test_the_oldest_go_when_there_is_too_much(open_ledger: OpenLedger, clock: Clock) -> None:
    responses = open_ledger(max_mb=1).responses
    values = {f"resp_{number}": os.urandom(300_000) for number in range(6)}

    for key, value in values.items():
        clock.now += 61
        responses.put("", key, value)
    clock.now += 61
    responses.put("", "last", b"")

    kept = [key for key, value in values.items() if responses.get("", key) == value]
    assert kept == ["resp_3", "resp_4", "resp_5"]


def test_reasoning_goes_after_hours_and_responses_stay(open_ledger: OpenLedger, clock: Clock) -> None:
    ledger = open_ledger()
    ledger.responses.put("", "resp_1", b"value")
    ledger.reasoning.put("", "thought", b"hm")

    clock.now += 6 * 3600
    last = ledger.reasoning.get_many("", ["thought"])
    clock.now += 1

    assert last == {"thought": b"hm"}
    assert ledger.reasoning.get_many("", ["thought"]) == {}
    assert ledger.responses.get("", "resp_1") == b"value"


def test_old_reasoning_is_thrown_away_by_any_write(
    open_ledger: OpenLedger, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_ledger().reasoning.put("", "thought", b"hm")
    clock.now += 6 * 3600 + 1

    open_ledger().responses.put("", "resp_1", b"value")

    monkeypatch.setattr("app.ledger.ledger.REASONING_LIFETIME", DAY)
    assert open_ledger().reasoning.get("", "thought") is None


def test_reasoning_has_room_of_its_own(open_ledger: OpenLedger, clock: Clock) -> None:
    ledger = open_ledger(max_mb=1, reasoning_mb=1)
    ledger.responses.put("", "resp_1", os.urandom(900_000))

    for number in range(5):
        clock.now += 61
        ledger.reasoning.put("", f"thought_{number}", os.urandom(400_000))
    clock.now += 61
    ledger.responses.put("", "resp_2", os.urandom(10_000))

    assert [number for number in range(5) if ledger.reasoning.get("", f"thought_{number}")] == [3, 4]
    assert ledger.responses.get("", "resp_1") is not None


def test_a_database_of_an_older_program_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "older.sqlite3"
    with sqlite3.connect(path) as connection:
        connection.executescript(
            "CREATE TABLE records (kind VARCHAR(16), tenant VARCHAR(64), key VARCHAR(200), created BIGINT NOT NULL,"
            " size INTEGER NOT NULL, value BLOB NOT NULL, PRIMARY KEY (kind, tenant, key));"
            "CREATE INDEX records_by_age ON records (created, size);"
            "CREATE TABLE schema_version (version INTEGER NOT NULL); INSERT INTO schema_version VALUES (1);"
        )
    ledger = Ledger(LedgerSettings(url=f"sqlite:///{path}"))

    ledger.responses.put("", "resp_1", b"value")
    ledger.close()

    found = connection.execute("SELECT name FROM sqlite_master WHERE name LIKE 'records_by%'").fetchall()
    version = connection.execute("SELECT version FROM schema_version").fetchall()
    connection.close()
    assert found == [("records_by_kind_and_age",)]
    assert version == [(2,)]


def test_a_record_beyond_the_cap_is_refused(open_ledger: OpenLedger) -> None:
    responses = open_ledger(max_mb=1).responses

    with pytest.raises(LedgerUnavailable, match="max_mb"):
        responses.put("", "resp_1", os.urandom(1_100_000))


def test_workers_that_start_and_write_at_once_lose_nothing(open_ledger: OpenLedger) -> None:
    ledgers = [open_ledger() for _ in range(4)]
    failures: list[Exception] = []

    def work(worker: int) -> None:
        try:
            for number in range(25):
                ledgers[worker].responses.put("", f"resp_{worker}_{number}", b"value")
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    reader = open_ledger().responses
    assert all(reader.get("", f"resp_{worker}_{number}") for worker in range(4) for number in range(25))


def test_a_worker_that_is_killed_while_it_writes_leaves_whole_records(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.sqlite3'}"
    program = (
        "import sys; from app.ledger import Ledger; from app.settings import LedgerSettings\n"
        f"collection = Ledger(LedgerSettings(url={url!r})).responses\n"
        "for number in range(10_000):\n"
        "    collection.put('', f'resp_{number}', bytes([number % 251]) * 50_000); print(number, flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        written = [int(next(worker.stdout)) for _ in range(20)]
        worker.kill()

    ledger = Ledger(LedgerSettings(url=url))
    assert [ledger.responses.get("", f"resp_{n}") for n in written] == [bytes([n % 251]) * 50_000 for n in written]
    ledger.close()


def test_nothing_is_opened_before_it_is_needed(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"

    ledger = Ledger(LedgerSettings(url=f"sqlite:///{path}"))
    made = path.exists()
    ledger.responses.get("", "resp_1")
    ledger.close()

    assert (made, path.exists()) == (False, True)


def test_the_file_is_in_the_users_data_folder_and_for_its_owner_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    ledger = Ledger(LedgerSettings())

    ledger.responses.put("", "resp_1", b"value")

    files = list((tmp_path / "dragoman").iterdir())
    assert tmp_path / "dragoman" / "ledger.sqlite3" in files
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    ledger.close()


def test_a_file_that_is_no_database_is_reported_once_and_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, clock: Clock
) -> None:
    path = tmp_path / "ledger.sqlite3"
    path.write_bytes(b"precious notes " * 100)
    ledger = Ledger(LedgerSettings(url=f"sqlite:///{path}"), clock, clock)

    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            with pytest.raises(LedgerUnavailable):
                ledger.responses.put("", "resp_1", b"value")

    assert path.read_bytes() == b"precious notes " * 100
    assert len(caplog.records) == 1


def test_a_database_that_comes_back_is_used_again(tmp_path: Path, clock: Clock) -> None:
    folder = tmp_path / "data"
    folder.write_text("in the way")
    ledger = Ledger(LedgerSettings(url=f"sqlite:///{folder / 'ledger.sqlite3'}"), clock, clock)
    with pytest.raises(LedgerUnavailable):
        ledger.responses.put("", "resp_1", b"value")

    folder.unlink()
    clock.now += 31
    ledger.responses.put("", "resp_1", b"value")

    assert ledger.responses.get("", "resp_1") == b"value"
    ledger.close()


def test_a_database_that_is_locked_is_read_but_not_waited_for_again(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "ledger.sqlite3"
    ledger = Ledger(LedgerSettings(url=f"sqlite:///{path}"), clock, clock)
    ledger.responses.put("", "resp_1", b"value")
    lock = sqlite3.connect(path, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerUnavailable) as refused:
        ledger.responses.put("", "resp_2", b"value")
    assert refused.value.reason == ledger.problem == "database is locked"

    with pytest.raises(LedgerUnavailable, match="a moment ago"):
        ledger.responses.put("", "resp_2", b"value")
    found = ledger.responses.get("", "resp_1")
    lock.execute("ROLLBACK")
    lock.close()
    clock.now += 11
    ledger.responses.put("", "resp_2", b"value")

    assert found == b"value"
    assert ledger.responses.get("", "resp_2") == b"value"
    ledger.close()


def test_the_cap_holds_however_fast_records_come(
    open_ledger: OpenLedger, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    monkeypatch.setattr("app.ledger.ledger.PRUNE_WRITES", 3)
    responses = open_ledger(max_mb=1).responses

    for number in range(9):
        clock.now += 1
        responses.put("", f"resp_{number}", os.urandom(400_000))

    assert [number for number in range(9) if responses.get("", f"resp_{number}")] == [4, 5, 6, 7, 8]


def test_a_database_of_a_newer_program_is_not_touched(open_ledger: OpenLedger, tmp_path: Path) -> None:
    path = tmp_path / "newer.sqlite3"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE schema_version (version INTEGER NOT NULL)")
        connection.execute("INSERT INTO schema_version VALUES (99)")
    connection.close()
    ledger = Ledger(LedgerSettings(url=f"sqlite:///{path}"))

    with pytest.raises(LedgerUnavailable, match="newer"):
        ledger.responses.get("", "resp_1")


@pytest.mark.parametrize("url", ["nonsense", "mysql://u:secret@h/d", "postgresql+nosuch://u:secret@h/d"])
def test_a_url_of_something_else_is_refused_without_its_password(url: str) -> None:
    ledger = Ledger(LedgerSettings(url=url))

    with pytest.raises(LedgerUnavailable, match=r"ledger\.url") as refused:
        ledger.responses.get("", "resp_1")

    assert "secret" not in str(refused.value)
