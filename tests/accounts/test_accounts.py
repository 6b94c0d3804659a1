"""Rows, sums and pages of requests, and what happens when their database does not work."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.accounts import accounts as accounts_module
from app.accounts.accounts import DAY, MAX_BATCH, MAX_WAITING, Accounts
from app.accounts.database import BATCH, AccountsDatabase
from app.accounts.queries import Query, find_request, list_requests, list_sessions, sum_usage
from app.accounts.record import AttemptRecord
from app.accounts.reports import CREDENTIAL, report_usage
from app.conversation.response import Usage
from app.settings import AccountsSettings
from tests.accounts.records import NOW, many, record


@pytest.fixture
def accounts(tmp_path: Path) -> Iterator[Accounts]:
    opened = Accounts(AccountsSettings(), f"sqlite:///{tmp_path}/ledger.sqlite3", lambda: NOW)
    yield opened
    opened.close()


def keep(accounts: Accounts, *records: Any) -> None:
    for each in records:
        accounts.take([each])
    accounts.flush()
    assert accounts.problem is None


def page(accounts: Accounts, **query: Any) -> list[dict[str, Any]]:
    return accounts.read(lambda connection: list_requests(connection, Query(**query)))


def sums(accounts: Accounts, *by: str, since: float = NOW - DAY, **more: Any) -> list[dict[str, Any]]:
    return accounts.read(lambda connection: sum_usage(connection, by, since, NOW + DAY, **more))


def test_a_row_holds_what_the_record_holds(accounts: Accounts) -> None:
    kept = record(lowered=("max_tokens 64000→16384",), losses=("top_k",))

    keep(accounts, kept)

    (row,) = page(accounts)
    assert row["id"] == kept.id
    assert row["received"] == kept.received
    for field in (
        "key",
        "agent",
        "session",
        "path",
        "model",
        "rule",
        "provider",
        "target",
        "status",
        "terminal",
        "cost",
    ):
        assert row[field] == getattr(kept, field), field
    assert row["cost"] == kept.cost
    assert (row["routed_ms"], row["upstream_head_ms"], row["first_byte_ms"], row["ms"]) == (1, 300, 310, 900)
    assert (row["dialect_in"], row["dialect_out"]) == (kept.dialect_in, kept.dialect_out)
    assert (row["fresh"], row["cache_read"], row["output"]) == (1000, 4000, 200)
    assert row["lowered"] == ["max_tokens 64000→16384"]
    assert row["losses"] == ["top_k"]


def test_no_price_stays_no_price(accounts: Accounts) -> None:
    keep(accounts, record(cost=None))

    (row,) = page(accounts)
    (total,) = sums(accounts)

    assert row["cost"] is None
    assert total["unpriced"] == 1


def test_pages_follow_each_other_without_gap_or_overlap(accounts: Accounts) -> None:
    keep(accounts, *(record(number) for number in range(120)))

    first = page(accounts)
    second = page(accounts, before=first[-1]["seq"])
    third = page(accounts, before=second[-1]["seq"])

    numbers = [row["seq"] for row in (*first, *second, *third)]
    assert numbers == list(range(120, 0, -1))


@pytest.mark.parametrize("column", ["key", "session", "model", "provider", "agent"])
def test_a_list_is_narrowed_by_a_name(accounts: Accounts, column: str) -> None:
    keep(accounts, record(1), record(2, **{column: "other"}), record(3))

    (row,) = page(accounts, where={column: "other"})

    assert row["id"] == record(2).id


def test_a_name_that_nobody_used_finds_nothing(accounts: Accounts) -> None:
    keep(accounts, record())

    assert page(accounts, where={"key": "nobody"}) == []
    assert sums(accounts, where={"key": "nobody"}) == []


def test_the_failed_ones_can_be_seen_alone(accounts: Accounts) -> None:
    keep(accounts, record(1), record(2, terminal="upstream_cut"), record(3, terminal="client_closed"))

    assert [row["id"] for row in page(accounts, failed=True)] == [record(2).id]


def test_a_request_is_found_with_its_attempts(accounts: Accounts) -> None:
    tried = (
        AttemptRecord("oca/gpt-4.1", 429, "rate_limit", "slow down", started=2, ended=40, waited=250),
        AttemptRecord("oca/gpt-4.1", 200, started=290, ended=900),
    )
    keep(accounts, record(1), record(2, attempts=tried))

    found = accounts.read(lambda connection: find_request(connection, record(2).id))

    assert found is not None
    assert [(each["status"], each["error"], each["waited_ms"]) for each in found["tried"]] == [
        (429, "rate_limit", 250),
        (200, "", 0),
    ]


@pytest.mark.parametrize("request_id", ["", "nobody", "ff" * 12, "x" * 5000])
def test_an_unknown_id_finds_nothing(accounts: Accounts, request_id: str) -> None:
    keep(accounts, record())

    assert accounts.read(lambda connection: find_request(connection, request_id)) is None


def test_an_id_that_is_not_hex_is_kept_as_it_is(accounts: Accounts) -> None:
    keep(accounts, record(id="job-ä-1"))

    assert page(accounts)[0]["id"] == "job-ä-1"


def test_sums_equal_the_rows(accounts: Accounts) -> None:
    records = list(many(300, days=1))
    keep(accounts, *records)

    by_key = {row["key"]: row for row in sums(accounts, "key", since=NOW - 2 * DAY)}

    for key in {each.key for each in records}:
        own = [each for each in records if each.key == key]
        assert by_key[key]["requests"] == len(own)
        assert by_key[key]["failed"] == sum(each.failed for each in own)
        assert by_key[key]["output"] == sum(each.usage.output for each in own if each.usage)
        assert by_key[key]["cost"] == sum(each.cost or 0 for each in own)


def test_sums_of_several_batches_add_up(accounts: Accounts) -> None:
    for number in range(5):
        keep(accounts, record(number, usage=Usage(fresh=10, output=1)))

    (total,) = sums(accounts)

    assert (total["requests"], total["fresh"], total["output"]) == (5, 50, 5)


def test_a_day_is_a_group(accounts: Accounts) -> None:
    keep(accounts, record(1, received=NOW), record(2, received=NOW - DAY))

    days = sums(accounts, "day", since=NOW - 3 * DAY)

    assert sorted(row["day"] for row in days) == sorted({(NOW - DAY) // DAY * DAY, NOW // DAY * DAY})


def test_a_session_sums_its_requests(accounts: Accounts) -> None:
    keep(accounts, record(1, session="a"), record(2, session="b"), record(3, session=""))
    keep(accounts, record(9, session="a", model="other", usage=Usage(fresh=1, output=2), terminal="error"))

    rows = accounts.read(list_sessions)

    assert [(row["session"], row["requests"], row["failed"]) for row in rows] == [("a", 2, 1), ("b", 1, 0)]
    assert (rows[0]["first"], rows[0]["last"], rows[0]["model"]) == (NOW + 1, NOW + 9, "other")
    assert (rows[0]["fresh"], rows[0]["output"]) == (1001, 202)


def test_the_same_session_of_two_tenants_is_two(accounts: Accounts) -> None:
    keep(accounts, record(1, tenant="t-1"), record(2, tenant="t-2"))

    rows = accounts.read(lambda connection: list_sessions(connection, where={"tenant": "t-1"}))

    assert [row["requests"] for row in rows] == [1]


def test_pages_of_sessions_follow_each_other(accounts: Accounts) -> None:
    keep(accounts, *(record(number, session=f"s{number}") for number in range(60)))

    first = accounts.read(list_sessions)
    second = accounts.read(lambda connection: list_sessions(connection, before=first[-1]["last"]))

    assert [row["session"] for row in (*first, *second)] == [f"s{number}" for number in range(59, -1, -1)]


def test_what_reached_no_upstream_makes_no_groups_of_its_own(accounts: Accounts) -> None:
    keep(accounts, *(record(number, model=f"junk-{number}", target="", agent=f"bot-{number}") for number in range(50)))

    assert len(sums(accounts, "model", "agent")) == 1


def test_what_is_too_old_is_thrown_away_in_batches(accounts: Accounts) -> None:
    keep(accounts, *(record(number, received=NOW - 40 * DAY) for number in range(2 * BATCH + 10)), record(9999))
    database = accounts._open()  # the first batch went with the writing

    rounds = 0
    while database.prune(NOW - 30 * DAY, NOW - 400 * DAY):
        rounds += 1

    assert rounds == 2
    assert [row["id"] for row in page(accounts)] == [record(9999).id]


def test_hours_and_names_go_after_their_own_time(accounts: Accounts) -> None:
    keep(accounts, record(1, received=NOW - 500 * DAY, key="gone", tenant="t-gone"))
    keep(accounts, record(2))
    database = accounts._open()

    while database.prune(NOW - 30 * DAY, NOW - 400 * DAY):
        pass

    assert [row["key"] for row in sums(accounts, "key", since=0)] == ["ana"]
    keep(accounts, record(3, key="gone"))
    assert page(accounts, where={"key": "gone"})[0]["id"] == record(3).id


def test_a_full_queue_loses_rows_and_counts_them(accounts: Accounts) -> None:
    for number in range(MAX_WAITING + 7):
        accounts.take([record(number)])

    accounts.flush()

    assert accounts.lost == 7
    assert sums(accounts)[0]["requests"] == MAX_WAITING


def test_a_full_batch_asks_to_be_written_and_no_transaction_is_larger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    written: list[int] = []
    accounts = Accounts(
        AccountsSettings(), f"sqlite:///{tmp_path}/l.sqlite3", lambda: NOW, lambda: asked.append(accounts.waiting)
    )
    write = AccountsDatabase.write
    monkeypatch.setattr(
        AccountsDatabase, "write", lambda self, records: (written.append(len(records)), write(self, records))
    )

    for number in range(2 * MAX_BATCH + 5):
        accounts.take([record(number)])
    accounts.flush()

    assert asked == [MAX_BATCH]
    assert written == [MAX_BATCH, MAX_BATCH, 5]
    assert sums(accounts)[0]["requests"] == 2 * MAX_BATCH + 5
    accounts.close()


def test_a_database_that_cannot_be_opened_holds_up_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "data"
    folder.write_text("a file in the way")
    accounts = Accounts(AccountsSettings(), f"sqlite:///{folder}/ledger.sqlite3", lambda: NOW)
    accounts.take([record(1)])

    accounts.flush()

    assert accounts.problem is not None
    folder.unlink()
    monkeypatch.setattr(accounts_module, "RETRY_PERIOD", 0.0)
    accounts._retry_at = 0.0
    accounts.flush()
    assert accounts.problem is None
    assert [row["id"] for row in page(accounts)] == [record(1).id]
    accounts.close()


def test_the_file_is_its_owners_alone(accounts: Accounts, tmp_path: Path) -> None:
    keep(accounts, record())

    for path in tmp_path.glob("usage.sqlite3*"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path.name


def test_postgres_keeps_the_same_as_a_file(accounts: Accounts, postgres: str) -> None:
    records = [*many(300), record(9000, received=NOW - 40 * DAY)]
    shared = Accounts(AccountsSettings(), postgres, lambda: NOW)
    for each in (accounts, shared):
        keep(each, *records)
        keep(each, *records[:20])

    kept, known = ([row | {"seq": 0} for row in page(each, limit=1000)] for each in (shared, accounts))
    assert kept == known
    for ask in (lambda each: sums(each, "key", "model", since=0), lambda each: each.read(list_sessions)):
        kept, known = (sorted(map(repr, ask(each))) for each in (shared, accounts))
        assert kept == known
    shared.close()


ODD = "tab\tline\nreturn\r \\N \\x41 \\ é \U0001f600 zero\0 half \ud83d"


@pytest.mark.parametrize("place", ["file", "postgres"])
def test_what_an_upstream_says_is_kept_whatever_letters_it_has(
    tmp_path: Path, request: pytest.FixtureRequest, place: str
) -> None:
    url = f"sqlite:///{tmp_path}/ledger.sqlite3" if place == "file" else request.getfixturevalue("postgres")
    kept = Accounts(AccountsSettings(), url, lambda: NOW)
    tried = AttemptRecord("oca/m", 500, "internal", ODD)

    keep(kept, *(record(number, attempts=(tried, tried), session=ODD, error=ODD) for number in range(3)))

    found = kept.read(lambda connection: find_request(connection, record(1).id))
    assert kept.problem is None
    assert found is not None
    words = ODD.replace("\0", "").replace("\ud83d", "?")
    assert [each["message"] for each in found["tried"]] == [words] * 2
    assert (found["session"], found["error"]) == (words, words)
    kept.close()


@pytest.mark.parametrize("place", ["file", "postgres"])
def test_a_record_that_no_database_can_take_is_lost_alone(
    tmp_path: Path, request: pytest.FixtureRequest, place: str
) -> None:
    url = f"sqlite:///{tmp_path}/ledger.sqlite3" if place == "file" else request.getfixturevalue("postgres")
    kept = Accounts(AccountsSettings(), url, lambda: NOW)
    bad = {7: {"message": "\ud83d"}, 30: {"losses": ("\udc00",)}}

    keep(kept, *(record(number, **bad.get(number, {})) for number in range(40)))

    assert (kept.lost, kept.waiting, kept.problem) == (2, 0, None)
    assert {row["id"] for row in page(kept, limit=100)} == {record(each).id for each in range(40) if each not in bad}
    assert [row["requests"] for row in sums(kept, since=0)] == [38]
    kept.close()


def test_usage_is_summed_by_the_credential_that_was_shown_last(accounts: Accounts) -> None:
    tried = [AttemptRecord("oca/m", 429, "rate_limit", credential="one"), AttemptRecord("oca/m", 200, credential="two")]
    for each in (
        record(1, provider="oca", attempts=(tried[0], tried[1])),
        record(2, provider="oca", attempts=(tried[1],)),
        record(3, provider="oca", attempts=(tried[0],), terminal="error"),
        record(4, provider="plain"),
    ):
        accounts.take([each])
    accounts.flush()

    rows = accounts.read(lambda connection: report_usage(connection, [CREDENTIAL], NOW - 7 * 86_400, NOW + 86_400))
    elsewhere = accounts.read(
        lambda connection: report_usage(connection, [CREDENTIAL], NOW - 86_400, NOW + 86_400, {"provider": "plain"})
    )

    found = {(row["provider"], row["credential"]): (row["requests"], row["failed"], row["output"]) for row in rows}
    output = record(1).usage.output  # type: ignore[union-attr]
    assert found == {("oca", "two"): (2, 0, 2 * output), ("oca", "one"): (1, 1, output)}
    assert elsewhere == []


class DiesAfterCommit:
    """A connection to a server that keeps one transaction and dies before it can say so."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._deaths = 1

    def execute(self, statement: str, *values: Any) -> Any:
        done = self._connection.execute(statement, *values)
        if statement == "COMMIT" and self._deaths:
            self._deaths -= 1
            raise ConnectionError("server closed the connection unexpectedly")
        return done

    def close(self) -> None:
        self._connection.close()


def test_a_batch_that_was_kept_without_a_word_is_not_counted_twice(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(accounts, record(1))
    database = accounts._database
    assert database is not None
    database._connection._raw = DiesAfterCommit(database._connection._raw)

    accounts.take([record(2)])
    accounts.take([record(3, status=502, terminal="error")])
    accounts.flush()
    assert accounts.problem is not None
    accounts._retry_at = 0.0
    keep(accounts, record(4), record(2, received=NOW + 5))

    assert [row["received"] - NOW for row in page(accounts)] == [5, 4, 3, 2, 1]
    assert [row["requests"] for row in sums(accounts)] == [5]
