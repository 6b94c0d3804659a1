"""What the accounts cost with a million requests in them: room on disk, lists, sums, and the writing of a batch.

Run by `make accounts`; ends with an error where a figure misses its target.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))


from app.accounts.database import AccountsDatabase
from app.accounts.queries import FILTERS, Query, find_request, list_requests, sum_usage
from app.accounts.schema import GROUPS
from app.sql import Connection
from tests.accounts.records import NOW, many, record
from tests.support.postgres_server import PostgresServer

DAY = 86_400.0
MAX_MS = 50.0
MAX_BYTES_PER_ROW = 250.0
# What else runs on the machine only adds to a time, so the shortest counts.
ROUNDS = 5
# Names of a few requests, hours apart from each other.
SELDOM = {
    "tenant": "t-seldom",
    "key": "seldom",
    "model": "seldom",
    "provider": "seldom",
    "target": "seldom/one",
    "agent": "seldom/1",
    "error": "seldom",
    "terminal": "error",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--postgres", action="store_true", help="in a Postgres of its own instead of SQLite's file")
    arguments = parser.parse_args()
    with _opened(postgres=arguments.postgres) as place:
        missed = _measure(place, arguments.rows)
    return 1 if missed else 0


@contextmanager
def _opened(*, postgres: bool) -> Iterator[Path | str]:
    """An empty database: a file of SQLite's, or the URL of a Postgres."""
    if postgres:
        with PostgresServer() as server:
            yield server.url
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder) / "usage.sqlite3"


def _measure(place: Path | str, rows: int) -> int:
    """Fills the database and asks it. Returns how many figures missed their target."""
    with closing(AccountsDatabase(place)) as database:
        writing = time.process_time()
        records = many(rows)
        while batch := tuple(islice(records, 500)):
            database.write(batch)
        database.write([record(rows + number, received=NOW - number * DAY / 3, **SELDOM) for number in range(80)])
        written = (time.process_time() - writing) / rows * 1e6
        missed = 0
        if isinstance(place, Path):
            size = sum(each.stat().st_size for each in place.parent.iterdir())
            missed += _report("bytes a row", size / rows, MAX_BYTES_PER_ROW)
        print(f"{'CPU to write a row, µs':<44}{written:>10.1f}")
        with closing(Connection(place, 60)) as connection:
            for name, ask in _questions(connection, rows).items():
                missed += _report(name, min(_time(ask) for _ in range(ROUNDS)), MAX_MS, "ms")
    return missed


def _questions(connection: Connection, rows: int) -> dict[str, Callable[[], object]]:
    names = {
        "tenant": "t-user-3",
        "key": "user-3",
        "session": "user-3-00000000-4f7a-9c1d-000000000000",
        "model": "model-5",
        "provider": "oca",
        "target": "oca/model-3",
        "agent": "cline/4",
        "error": "overloaded",
    }
    questions: dict[str, Callable[[], object]] = {
        "list: the newest 50": lambda: list_requests(connection, Query()),
        "list: 50 in the middle": lambda: list_requests(connection, Query(before=rows // 2)),
        "list: failed ones": lambda: list_requests(connection, Query(failed=True)),
        "list: with a status that none has": lambda: list_requests(connection, Query(status=(404, 404))),
        "list: the oldest day": lambda: list_requests(connection, Query(until=NOW - 29 * DAY)),
        "one request": lambda: find_request(connection, f"{rows // 2:024x}"),
        "sum: 30 days": lambda: sum_usage(connection, (), NOW - 30 * DAY, NOW),
        "sum: 30 days by day": lambda: sum_usage(connection, ("day",), NOW - 30 * DAY, NOW),
    }
    for column in FILTERS:
        where = {column: names[column]}
        questions[f"list: by {column}"] = lambda where=where: list_requests(connection, Query(where=where))  # type: ignore[misc]
        if column in SELDOM:
            where = {column: SELDOM[column]}
            questions[f"list: by a seldom {column}"] = lambda where=where: list_requests(connection, Query(where=where))  # type: ignore[misc]
        if column in GROUPS:
            questions[f"sum: 30 days by {column}"] = lambda column=column: sum_usage(  # type: ignore[misc]
                connection, (column,), NOW - 30 * DAY, NOW
            )
    return questions


def _time(ask: Callable[[], object]) -> float:
    begun = time.perf_counter()
    ask()
    return (time.perf_counter() - begun) * 1000


def _report(name: str, value: float, maximum: float, unit: str = "") -> int:
    missed = value > maximum
    print(f"{name:<44}{value:>10.1f} {unit:<3} (at most {maximum:g}){' MISSED' if missed else ''}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
