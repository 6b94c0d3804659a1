"""The accounts' database as SQLAlchemy sees it, for who asks questions: commands, pages, reports.

A worker that only writes rows does without: SQLAlchemy is as large as a third of it.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import URL, Engine, TableClause, column, create_engine, event, table

from app.accounts import schema
from app.accounts.database import spell_options, tune_sqlite


def _view(known: schema.Table) -> TableClause:
    return table(known.name, *(column(each) for each in known.columns))


name, request, attempt, hour, day, credential, client_key, session, recording = map(_view, schema.TABLES)


def open_engine(place: Path | str) -> Engine:
    """`place` is a file of SQLite, or a URL of Postgres."""
    if isinstance(place, Path):
        engine = create_engine(URL.create("sqlite", database=str(place)))
        event.listen(engine, "connect", lambda connection, _record: tune_sqlite(connection))
        return engine
    url = place.replace("postgresql://", "postgresql+psycopg://", 1)
    return create_engine(url, pool_pre_ping=True, connect_args=spell_options())
