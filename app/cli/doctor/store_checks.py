"""Checks the databases, the Redis and the temporary folder that a gateway shares its state by."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from app.accounts.accounts import FILE_NAME
from app.cli.doctor.finding import Finding, Subject
from app.known_secrets import known_secrets
from app.rate_limits.redis_link import open_redis
from app.settings.places import data_folder
from app.sql import MEMORY, Connection, DatabaseFailed, read_place

# Seconds that a database may take.
TIMEOUT = 5.0


def check_files(subject: Subject) -> Iterator[Finding]:
    """Opens the databases of SQLite that are there: the gateway makes them, and not a check."""
    ledger = _find_ledger(subject)
    if not isinstance(ledger, Path) or ledger == MEMORY:
        return
    for file in (ledger, ledger.parent / FILE_NAME):
        if file.exists() and (error := _try(file, "SELECT count(*) FROM sqlite_master")) is not None:
            message = f"nothing can be stored: {subject.show(file)}: {error}"
            yield Finding("error", "database", message, f"mv {file} {file}.broken")


def check_postgres(subject: Subject) -> Iterator[Finding]:
    ledger = _find_ledger(subject)
    if not isinstance(ledger, str) or (error := _try(ledger, "SELECT 1")) is None:
        return
    if isinstance(error, ImportError):
        yield Finding("error", "database", "Postgres needs the extra postgres", "pip install 'dragoman[postgres]'")
    else:
        message = known_secrets.mask(f"nothing can be stored: Postgres does not answer: {error}"[:300])
        yield Finding("error", "database", message, "correct [ledger] url, or start that server")


def _find_ledger(subject: Subject) -> Path | str | None:
    if subject.settings is None:
        return None
    url = subject.settings.ledger.url
    return data_folder() / "ledger.sqlite3" if url is None else read_place(url)


def _try(place: Path | str, statement: str) -> Exception | None:
    try:
        connection = Connection(place, TIMEOUT)
        try:
            connection.value(statement)
        finally:
            connection.close()
    except (DatabaseFailed, OSError, ImportError) as error:
        return error
    return None


def check_redis(subject: Subject) -> Iterator[Finding]:
    url = subject.settings.shared.redis if subject.settings else None
    if url is None:
        return
    try:
        redis = open_redis(url)
        try:
            redis.ping()
        finally:
            redis.close()
    except Exception as error:  # the package's own errors, which may not be installed
        message = f"limits and upstreams' state are not shared: Redis does not answer ({type(error).__name__})"
        remedy = (
            "pip install 'dragoman[redis]'" if "extra" in str(error) else "correct [shared] redis, or start that server"
        )
        yield Finding("error", "redis", message, remedy)


def check_worker_folder(subject: Subject) -> Iterator[Finding]:
    """Workers exchange what they know through files."""
    place = subject.environ.get("XDG_RUNTIME_DIR")
    if subject.settings is None or subject.settings.server.workers < 2 or not place:
        return
    if not os.access(place, os.W_OK | os.X_OK):
        message = f"XDG_RUNTIME_DIR is {place}, which cannot be written, so each worker shows only its own requests"
        yield Finding("warning", "workers", message, "unset XDG_RUNTIME_DIR")


CHECKS = (check_files, check_worker_folder, check_postgres, check_redis)
