"""What all tests share: quiet logs, and the wire files, found by dialect, kind and name."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from app.known_secrets import known_secrets
from app.logs import request_log
from tests.support.clock import Clock
from tests.support.postgres_server import PostgresServer

# A change is judged by what it does, not by what a new draw happens to find: CI draws the same examples each time. Nor
# is it judged by how busy the machine is.
settings.register_profile("local", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("local"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")

WIRE = Path(__file__).parent / "wire"


def pytest_configure() -> None:
    """Who is started in the background ignores Ctrl-C, and so would every program that a test starts and interrupts."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def silent_logs() -> Iterator[None]:
    """Logs belong to the process: none that a test has started writes to that test's output when another one runs."""
    yield
    logger = logging.getLogger("dragoman")
    logger.handlers.clear()
    logger.setLevel(logging.NOTSET)
    request_log.close()


@pytest.fixture(autouse=True, scope="module")
def own_secrets() -> Iterator[None]:
    """Secrets belong to the process too: those of one module's tests are not looked for in another's."""
    yield
    known_secrets.forget()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def read_wire() -> Callable[[str], bytes]:
    """Reads a wire file by its path below tests/wire, for example "openai_chat/streams/text.sse"."""

    def read(path: str) -> bytes:
        return (WIRE / path).read_bytes()

    return read


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Path]:
    """The folder of a server that runs for these tests alone and listens on a socket in it."""
    with PostgresServer() as server:
        yield server.folder


@pytest.fixture
def postgres(postgres_server: Path) -> str:
    """The URL of an empty database."""
    import psycopg

    with psycopg.connect(host=str(postgres_server), user="tester", dbname="postgres", autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    return f"postgresql://tester@/postgres?host={postgres_server}"
