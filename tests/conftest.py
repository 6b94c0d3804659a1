"""What all tests share: quiet logs, and the wire files, found by dialect, kind and name."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from app.known_secrets import known_secrets
from app.logs import request_log

# A change is judged by what it does, not by what a new draw happens to find: CI draws the same examples each time. Nor
# is it judged by how busy the machine is.
settings.register_profile("local", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("local"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")

WIRE = Path(__file__).parent / "wire"


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


@pytest.fixture(scope="session")
def read_wire() -> Callable[[str], bytes]:
    """Reads a wire file by its path below tests/wire, for example "openai_chat/streams/text.sse"."""

    def read(path: str) -> bytes:
        return (WIRE / path).read_bytes()

    return read


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Path]:
    """The folder of a server that runs for these tests alone and listens on a socket in it."""
    pytest.importorskip("psycopg", reason="the extra `postgres` is not installed")
    if not (initdb := shutil.which("initdb")) or not (pg_ctl := shutil.which("pg_ctl")):
        pytest.skip("there is no Postgres on this machine")
    # It refuses to run as root, and another user cannot see into pytest's own folders.
    user = "nobody" if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if user is not None:
            shutil.chown(folder, user)

        def run(*command: str | Path) -> None:
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, user=user, cwd=folder)

        control = (pg_ctl, "-D", folder / "data", "-w", "-l", folder / "log")
        run(initdb, "-D", folder / "data", "-U", "tester", "-A", "trust", "--no-sync")
        run(*control, "-o", f"-k {folder} -c listen_addresses='' -c fsync=off", "start")
        yield folder
        run(*control, "-m", "immediate", "stop")


@pytest.fixture
def postgres(postgres_server: Path) -> str:
    """The URL of an empty database."""
    import psycopg

    with psycopg.connect(host=str(postgres_server), user="tester", dbname="postgres", autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    return f"postgresql://tester@/postgres?host={postgres_server}"
