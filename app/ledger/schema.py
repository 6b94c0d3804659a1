"""The ledger's tables and migrations."""

from __future__ import annotations

from collections.abc import Callable

from app.errors import LedgerUnavailable
from app.sql import Connection


def migrate(connection: Connection) -> None:
    """Applies all missing migrations in one transaction. Raises LedgerUnavailable if a newer program has changed the
    database."""
    with connection.changes():
        if not connection.is_sqlite:
            # Several workers may start at once. All but the first wait here, and find the work done.
            connection.execute("SELECT pg_advisory_xact_lock(7236674)")
        connection.execute("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)")
        found = connection.value("SELECT version FROM schema_version") or 0
        if found > len(_STEPS):
            raise LedgerUnavailable(
                f"its tables have version {found}, which requires a newer Dragoman; update Dragoman"
            )
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
    """Replaces the index by age with one by kind and age, since kinds have their own limits."""
    connection.execute("DROP INDEX IF EXISTS records_by_age")
    _index_records(connection)


def _index_records(connection: Connection) -> None:
    """Includes the size, so that sums of sizes need only the index."""
    connection.execute("CREATE INDEX IF NOT EXISTS records_by_kind_and_age ON records (kind, created, size)")


# Only append to these: a database records how many of them it has applied.
_STEPS: tuple[Callable[[Connection], None], ...] = (_create_records, _index_kinds)
