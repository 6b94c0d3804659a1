"""The ledger's tables and migrations."""

from __future__ import annotations

from collections.abc import Callable

from app.errors import LedgerUnavailable
from app.sql import Connection


def migrate(connection: Connection) -> None:
    """Takes each step that the database has not taken yet, all in one transaction. Raises LedgerUnavailable for a
    database that a newer program has changed."""
    with connection.changes():
        if not connection.is_sqlite:
            # Several workers may start at once; whoever comes second waits here and finds the work done.
            connection.execute("SELECT pg_advisory_xact_lock(7236674)")
        connection.execute("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)")
        found = connection.value("SELECT version FROM schema_version") or 0
        if found > len(_STEPS):
            raise LedgerUnavailable(f"its tables are of version {found}, which only a newer Dragoman knows")
        for step in _STEPS[found:]:
            step(connection)
        if found < len(_STEPS):
            connection.execute("DELETE FROM schema_version")
            connection.execute("INSERT INTO schema_version (version) VALUES (?)", (len(_STEPS),))


def _create_records(connection: Connection) -> None:
    """`created` is in unix seconds, `size` the bytes of `value`."""
    blob = "BLOB" if connection.is_sqlite else "BYTEA"
    connection.execute(
        "CREATE TABLE records (kind VARCHAR(16) NOT NULL, tenant VARCHAR(64) NOT NULL, key VARCHAR(200) NOT NULL, "
        f"created BIGINT NOT NULL, size INTEGER NOT NULL, value {blob} NOT NULL, PRIMARY KEY (kind, tenant, key))"
    )
    _index_records(connection)


def _index_kinds(connection: Connection) -> None:
    """Kinds have limits of their own."""
    connection.execute("DROP INDEX IF EXISTS records_by_age")
    _index_records(connection)


def _index_records(connection: Connection) -> None:
    """Sums of sizes come from the index alone."""
    connection.execute("CREATE INDEX IF NOT EXISTS records_by_kind_and_age ON records (kind, created, size)")


# Only ever added to: a database says how many of them it has taken.
_STEPS: tuple[Callable[[Connection], None], ...] = (_create_records, _index_kinds)
