"""Runs a small application under gunicorn, for tests of what happens between gunicorn and a client."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
WORKER_CLASSES = ["gevent", "app.server.gateway_worker.GatewayWorker"]


class GunicornProcess:
    """One worker on a free port; stopped, and its streams with it, at the end of the `with`.

    The checkout's own configuration is not read; `options` may name another.
    """

    def __init__(self, application: str, folder: Path, worker_class: str, *options: str, **environ: str) -> None:
        self.log = folder / "gunicorn.log"
        defaults = folder / "gunicorn.conf.py"
        defaults.touch()
        command = [
            sys.executable,
            "-m",
            "gunicorn",
            "-c",
            str(defaults),
            "--bind",
            "127.0.0.1:0",
            "--no-control-socket",
        ]
        with self.log.open("wb") as sink:
            self.process = subprocess.Popen(
                [*command, "-k", worker_class, *options, application],
                cwd=ROOT,
                env=os.environ | environ,
                stdout=sink,
                stderr=sink,
            )

    def __enter__(self) -> GunicornProcess:
        deadline = time.monotonic() + 15
        while (found := re.search(r"Listening at: http://127\.0\.0\.1:(\d+)", self.log.read_text())) is None:
            if self.process.poll() is not None or time.monotonic() > deadline:
                self._end()
                raise AssertionError(f"gunicorn did not start: {self.log.read_text()}")
            time.sleep(0.05)
        self.address = ("127.0.0.1", int(found[1]))
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=5)

    def exchange(self, sent: bytes) -> bytes:
        """Everything that comes back for these bytes, after which the client sends no more."""
        with self.connect() as client:
            client.sendall(sent)
            client.shutdown(socket.SHUT_WR)
            return read_all(client)

    def stop(self) -> None:
        """Begins a graceful stop, and returns at once."""
        self.process.send_signal(signal.SIGTERM)

    def complaints(self) -> list[str]:
        return [line for line in self.log.read_text().splitlines() if "[INFO]" not in line]

    def _end(self) -> None:
        # At once (QUIT), not when the streams of a failed test have ended.
        self.process.send_signal(signal.SIGQUIT)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def read_all(client: socket.socket) -> bytes:
    received = b""
    while data := client.recv(65536):
        received += data
    return received


def read_until(client: socket.socket, end: bytes) -> bytes:
    received = b""
    while not received.endswith(end) and (data := client.recv(65536)):
        received += data
    return received
