"""A real Redis for tests, which can be killed and started again."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.clock import wait_until

if TYPE_CHECKING:
    from redis import Redis


class RedisServer:
    """Debian's redis-server on a socket below `folder`; it keeps nothing over a restart."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("redis-server") is None:
            pytest.skip("needs Debian's redis-server")
        pytest.importorskip("redis", reason="needs the extra redis")
        self._folder = folder
        self.socket = folder / "redis.sock"
        self.url = f"unix://{self.socket}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> RedisServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        self._process = subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", str(self.socket), "--save", "", "--dir", str(self._folder)],
            stdout=subprocess.DEVNULL,
        )
        wait_until(self._answers, what="its first answer")

    @property
    def pid(self) -> int:
        assert self._process is not None, "it does not run"
        return self._process.pid

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self.socket.unlink(missing_ok=True)

    def connect(self) -> Redis:
        from redis import Redis

        return Redis.from_url(self.url)

    def _answers(self) -> Any:
        from redis import RedisError

        try:
            with self.connect() as redis:
                return redis.ping()
        except (RedisError, OSError):
            return False
