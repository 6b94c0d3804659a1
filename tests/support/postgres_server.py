"""A real Postgres for tests, which can be killed and started again."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest


class PostgresServer:
    """It listens on a socket in a folder of its own. To be used in a `with`."""

    def __init__(self) -> None:
        pytest.importorskip("psycopg", reason="the extra `postgres` is not installed")
        initdb, pg_ctl = shutil.which("initdb"), shutil.which("pg_ctl")
        if initdb is None or pg_ctl is None:
            pytest.skip("there is no Postgres on this machine")
        # It refuses to run as root, and another user cannot see into pytest's own folders.
        self._user = "nobody" if os.geteuid() == 0 else None
        self._initdb, self._pg_ctl = initdb, pg_ctl
        self._holder = tempfile.TemporaryDirectory()
        self.folder = Path(self._holder.name)

    @property
    def url(self) -> str:
        return f"postgresql://tester@/postgres?host={self.folder}"

    @property
    def pid(self) -> int:
        return int((self.folder / "data" / "postmaster.pid").read_text().split()[0])

    def __enter__(self) -> PostgresServer:
        if self._user is not None:
            shutil.chown(self.folder, self._user)
        self._run(self._initdb, "-D", self.folder / "data", "-U", "tester", "-A", "trust", "--no-sync")
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._holder.cleanup()

    def start(self) -> None:
        self._control("-o", f"-k {self.folder} -c listen_addresses='' -c fsync=off", "start")

    def kill(self) -> None:
        """As a crash does it: nothing is written, no client is told."""
        subprocess.run(
            [self._pg_ctl, "-D", self.folder / "data", "-m", "immediate", "-w", "stop"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, user=self._user, cwd=self.folder, check=False,
        )  # fmt: skip

    def _control(self, *arguments: str) -> None:
        self._run(self._pg_ctl, "-D", self.folder / "data", "-w", "-l", self.folder / "log", *arguments)

    def _run(self, *command: str | Path) -> None:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, user=self._user, cwd=self.folder)
