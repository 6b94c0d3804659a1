"""The tables of the ledger and the steps that bring an older database up to them."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import BigInteger, Column, Connection, Index, Integer, LargeBinary, MetaData, String, Table
from sqlalchemy.schema import CreateIndex, CreateTable

from app.errors import LedgerUnavailable

metadata = MetaData()

# `created` is in unix seconds, `size` the bytes of `value`. Sums of sizes come from the index alone.
records = Table(
    "records",
    metadata,
    Column("kind", String(16), primary_key=True),
    Column("tenant", String(64), primary_key=True),
    Column("key", String(200), primary_key=True),
    Column("created", BigInteger, nullable=False),
    Column("size", Integer, nullable=False),
    Column("value", LargeBinary, nullable=False),
    Index("records_by_kind_and_age", "kind", "created", "size"),
)

version = Table("schema_version", metadata, Column("version", Integer, nullable=False))

# Several workers may start at once; whoever comes second waits here and finds the work done.
_LOCKS = {
    "sqlite": ("BEGIN IMMEDIATE",),
    "postgresql": ("BEGIN", "SELECT pg_advisory_xact_lock(7236674)"),
}


def migrate(connection: Connection) -> None:
    """Takes each step that the database has not taken yet, all in one transaction. Raises LedgerUnavailable for a
    database that a newer program has changed. `connection` must be in autocommit mode."""
    for statement in _LOCKS[connection.dialect.name]:
        connection.exec_driver_sql(statement)
    try:
        connection.execute(CreateTable(version, if_not_exists=True))
        found = connection.execute(version.select()).scalar() or 0
        if found > len(_STEPS):
            raise LedgerUnavailable(f"its tables are of version {found}, which only a newer Dragoman knows")
        for step in _STEPS[found:]:
            step(connection)
        if found < len(_STEPS):
            connection.execute(version.delete())
            connection.execute(version.insert().values(version=len(_STEPS)))
    except BaseException:
        connection.exec_driver_sql("ROLLBACK")
        raise
    connection.exec_driver_sql("COMMIT")


def _create_records(connection: Connection) -> None:
    connection.execute(CreateTable(records))
    _create_indexes(connection)


def _index_kinds(connection: Connection) -> None:
    """Kinds have limits of their own."""
    connection.exec_driver_sql("DROP INDEX IF EXISTS records_by_age")
    _create_indexes(connection)


def _create_indexes(connection: Connection) -> None:
    for index in records.indexes:
        connection.execute(CreateIndex(index, if_not_exists=True))


# Only ever added to: a database says how many of them it has taken.
_STEPS: tuple[Callable[[Connection], None], ...] = (_create_records, _index_kinds)
