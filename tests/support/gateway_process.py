"""Runs the real `dragoman serve` on a free port, for tests of what only a process shows."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

BIN = Path(sys.executable).parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def bare_environ(home: Path, **more: str) -> dict[str, str]:
    """The environment of a user with an empty home and our command on the path."""
    home.mkdir(parents=True, exist_ok=True)
    return {"HOME": str(home), "PATH": f"{BIN}:{os.environ['PATH']}"} | more


class GatewayProcess:
    """`dragoman serve` in a folder, ready once the `with` is entered; stopped, and its streams with it, at its end.

    `command` is run instead where it is given; it must end up serving on $PORT in the same process.
    """

    def __init__(self, folder: Path, *, command: Sequence[str] = ("dragoman", "serve"), **environ: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "gateway.log"
        home = folder / "home"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env=bare_environ(home, PORT=str(self.port)) | environ,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __enter__(self) -> GatewayProcess:
        deadline = time.monotonic() + 20
        while not self.healthy():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self._end()
                raise AssertionError(f"it does not answer; it said: {self.log.read_text()}")
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=1) as reply:
                return bool(reply.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def signal(self, number: signal.Signals) -> None:
        """Signals the process that was started, which gunicorn's master has become."""
        self.process.send_signal(number)

    def wait(self, seconds: float = 20) -> int:
        return self.process.wait(seconds)

    def _end(self) -> None:
        """The whole group, so that no worker outlives its test."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
