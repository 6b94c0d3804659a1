"""SQL over both drivers: places, values, transactions, and failures in the database's own words."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.sql import MEMORY, Connection, DatabaseFailed, list_marks, read_place


@pytest.fixture(params=["sqlite", "postgresql"])
def connection(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Connection]:
    url = f"sqlite:///{tmp_path}/a.sqlite3" if request.param == "sqlite" else request.getfixturevalue("postgres")
    opened = Connection(read_place(url), 2.0)
    opened.execute("CREATE TABLE t (n INTEGER NOT NULL, text TEXT)")
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("sqlite:///data/a.sqlite3", Path("data/a.sqlite3")),
        ("sqlite:////srv/a.sqlite3", Path("/srv/a.sqlite3")),
        ("sqlite://", MEMORY),
        ("postgresql://u:p@h/d", "postgresql://u:p@h/d"),
        ("postgresql+psycopg://u:p@h/d", "postgresql://u:p@h/d"),
    ],
)
def test_a_url_names_a_place(url: str, place: Path | str) -> None:
    assert read_place(url) == place


def test_values_are_never_part_of_a_statement(connection: Connection) -> None:
    texts = ["it's 100 % ? yours", 'a "b" %s', "x'); DROP TABLE t; --"]
    for number, text in enumerate(texts):
        connection.execute("INSERT INTO t (n, text) VALUES (?, ?)", (number, text))

    rows = connection.rows(f"SELECT n % 2 AS odd, text FROM t WHERE text IN ({list_marks(texts)}) ORDER BY n", texts)

    assert rows == [{"odd": number % 2, "text": text} for number, text in enumerate(texts)]
    assert connection.value("SELECT count(*) FROM t") == 3
    assert connection.value("SELECT n FROM t WHERE n > ?", (9,)) is None


def test_changes_are_made_all_or_not_at_all(connection: Connection) -> None:
    def change() -> None:
        with connection.changes():
            connection.execute("INSERT INTO t (n) VALUES (1)")
            connection.execute("INSERT INTO t (n) VALUES (NULL)")

    with pytest.raises(DatabaseFailed):
        change()

    assert connection.tuples("SELECT n FROM t") == []
    with connection.changes():
        connection.execute("INSERT INTO t (n) VALUES (2)")
    assert connection.tuples("SELECT n FROM t") == [(2,)]


def test_a_failure_tells_neither_statement_nor_values(connection: Connection) -> None:
    with pytest.raises(DatabaseFailed) as failed:
        connection.execute("INSERT INTO nowhere (n) VALUES (?)", ("a secret of a client",))

    assert "nowhere" in str(failed.value)
    assert "secret" not in str(failed.value)
    assert not failed.value.busy


def test_a_database_in_use_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite3"
    connection = Connection(path, 0)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(DatabaseFailed) as failed, connection.changes():
        pass

    assert failed.value.busy
    other.close()
    connection.close()
    assert connection.is_closed


def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.sqlite3"
    Connection(path, 0).close()
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)

    path.chmod(0o644)
    Connection(path, 0).close()
    assert path.stat().st_mode & 0o777 == 0o600
