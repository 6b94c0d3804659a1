"""Lists of requests: they hold what a search of every row would find, without one."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.accounts.accounts import Accounts
from app.accounts.database import AccountsDatabase
from app.accounts.queries import Query, list_requests
from app.accounts.record import RequestRecord
from app.settings import AccountsSettings
from tests.accounts.records import NOW, record

HOUR, DAY = 3600, 86_400
FILTERS = ("tenant", "key", "session", "model", "provider", "target", "agent", "error")


def scattered(count: int) -> list[RequestRecord]:
    """Requests of some weeks, many of them at the very turn of an hour or a day, and some without a target."""
    draw = random.Random(11)
    records = []
    for number in range(count):
        turn = NOW - NOW % DAY - draw.randrange(20) * DAY - draw.randrange(24) * HOUR
        led = draw.random() < 0.8
        terminal = draw.choice(("completed", "error", "upstream_cut"))
        records.append(record(
            number,
            received=turn + draw.choice((-0.0004, -0.0006, 0.0, 0.0004, 1.5, 1800.25)),
            tenant=f"t-{draw.randrange(4)}", key=f"k-{draw.randrange(4)}", session=f"s-{draw.randrange(4)}",
            model=f"m-{draw.randrange(4)}", agent=f"a-{draw.randrange(4)}",
            provider=f"p-{draw.randrange(4)}" if led else "", target=f"p/{draw.randrange(4)}" if led else "",
            status=draw.choice((200, 200, 404, 499, 502)), terminal=terminal,
            error="" if terminal == "completed" else f"e-{draw.randrange(4)}",
        ))  # fmt: skip
    return records


RECORDS = scattered(400)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AccountsDatabase]:
    opened = AccountsDatabase(tmp_path_factory.mktemp("accounts") / "usage.sqlite3")
    for start in range(0, len(RECORDS), 70):
        opened.write(RECORDS[start : start + 70])
    yield opened
    opened.close()


def expect(**wanted: Any) -> list[str]:
    rows = [(round(each.received * 1000), number, each) for number, each in enumerate(RECORDS)]
    found = [(at, number, each.id) for at, number, each in rows if all(test(each) for test in wanted.values())]
    return [name for *_, name in sorted(found, reverse=True)]


def read_all(database: AccountsDatabase, **query: Any) -> list[str]:
    """All pages, one after the other."""
    found: list[dict[str, Any]] = []
    while page := list_requests(
        database.connection, Query(**query, limit=7, before=found[-1]["seq"] if found else None)
    ):
        found += page
    return [row["id"] for row in found]


@pytest.mark.parametrize("value", ["0", "3", "*", "nobody"])
@pytest.mark.parametrize("field", FILTERS)
def test_a_list_by_one_name_holds_each_request_once_newest_first(
    database: AccountsDatabase, field: str, value: str
) -> None:
    text = {"target": "p/"}.get(field, f"{field[0]}-") + value

    found = read_all(database, where={field: text})

    assert found == expect(
        fits=lambda each: getattr(each, field) == text or (value == "*" and getattr(each, field).startswith(text[:-1]))
    )
    assert bool(found) is (value != "nobody")


@pytest.mark.parametrize(("first", "second"), [("tenant", "agent"), ("model", "target"), ("agent", "key")])
def test_a_list_by_two_names_and_a_time_holds_what_fits_all(
    database: AccountsDatabase, first: str, second: str
) -> None:
    where = {name: "p/1" if name == "target" else f"{name[0]}-1" for name in (first, second)}
    since, until = NOW - 15 * DAY, NOW - 3 * DAY

    found = read_all(database, where=where, since=since, until=until)

    assert found == expect(
        names=lambda each: all(getattr(each, name) == text for name, text in where.items()),
        times=lambda each: round(since * 1000) <= round(each.received * 1000) < round(until * 1000),
    )
    assert found


@pytest.mark.parametrize("status", [(404, 404), (400, 499), (500, 599), (200, 299)])
@pytest.mark.parametrize("failed", [False, True])
def test_a_list_by_status_holds_failures_and_refusals_alike(
    database: AccountsDatabase, status: tuple[int, int], failed: bool
) -> None:
    found = read_all(database, status=status, failed=failed)

    assert found == expect(
        status=lambda each: status[0] <= each.status <= status[1], failed=lambda each: each.failed or not failed
    )
    assert found


@pytest.mark.parametrize(
    "query",
    [Query(failed=True), Query(status=(404, 404)), Query(status=(400, 499)), Query(where={"error": "e-1"})],
    ids=repr,
)
def test_failures_and_refusals_are_found_by_their_index(
    database: AccountsDatabase, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, Any]] = []
    rows = database.connection.rows
    monkeypatch.setattr(database.connection, "rows", lambda *each: asked.append(each) or rows(*each))

    list_requests(database.connection, query)

    ((statement, values),) = asked
    (plan,) = database.connection.tuples(f"EXPLAIN QUERY PLAN {statement}", values)
    assert "request_with_error" in plan[-1]


def test_a_name_that_is_rare_is_looked_for_only_in_its_hours(tmp_path: Path) -> None:
    database = AccountsDatabase(tmp_path / "usage.sqlite3")
    database.write([record(number, received=NOW - number * HOUR, agent="usual/1") for number in range(300)])
    database.write([record(999, received=NOW - 290 * HOUR + 1, agent="rare/1")])
    steps: list[None] = []
    database.connection._raw.set_progress_handler(lambda: steps.append(None), 10)

    rare = list_requests(database.connection, Query(where={"agent": "rare/1"}))
    few = len(steps)
    list_requests(database.connection, Query(limit=300))
    many = len(steps) - few

    assert [row["agent"] for row in rare] == ["rare/1"]
    assert few < many / 3
    database.close()


def test_sums_stay_as_long_as_the_requests_that_are_found_by_them(tmp_path: Path) -> None:
    accounts = Accounts(
        AccountsSettings(days=30, rollup_days=1), f"sqlite:///{tmp_path}/ledger.sqlite3", clock=lambda: NOW
    )
    accounts.take([record(1, received=NOW - 20 * DAY)])
    accounts.flush()

    rows = accounts.read(lambda connection: list_requests(connection, Query(where={"agent": "claude-cli/2.1"})))

    assert len(rows) == 1
    accounts.close()
