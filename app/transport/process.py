"""Runs a program that serves as an upstream. Its output is read like a connection.

The output comes through a socket, not a pipe: sockets support time limits both under gevent and in threads. The input
is a file, so that neither side ever waits for the other to read. A program that is started before its input is known
gets it through the same socket.

A program must not outlive this process, however that ends. So each has a guard: a shell that only waits for the end of
a pipe, which stays open as long as this process lives.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

_READ_SIZE = 64 * 1024
_LAST_WORDS = 2000  # bytes at the end of a program's standard error
# Seconds between the request to end and the forced end. A program may be about to write its login.
_NOTICE = 1.0
# Seconds that a program may leave its input unread.
_WRITE_TIMEOUT = 10.0

# The shell turns into the program. Its guard, in the same process group, ends the group if we end first.
_GUARD = """
exec 3<&0
if [ -e "$TMPDIR/stdin" ]; then exec <"$TMPDIR/stdin"; else exec <&1; fi
(read -r _ <&3; trap '' TERM; kill -TERM 0; rm -rf "$TMPDIR"; sleep 1; kill -KILL 0) >/dev/null 2>&1 &
exec "$@" 3<&-
"""


class Command(Struct, frozen=True):
    """What to run. The program runs in an empty folder, or in `working`. `files` lie beside the empty folder, as
    `../NAME`. `environ` is its whole environment but for TMPDIR, which is private too. Without `stdin`, it reads what
    `Process.write` sends."""

    argv: tuple[str, ...]
    environ: dict[str, str]
    stdin: bytes | None
    files: dict[str, bytes]
    working: Path | None = None

    def __repr__(self) -> str:
        """Leaves out environment and files, which contain the credential and the conversation."""
        return f"Command({self.argv[0]})"


def make_folder() -> Path:
    """A private folder for one run of a program, which Process removes."""
    return Path(tempfile.mkdtemp(prefix="dragoman-run-"))


class Process:
    """A running program, in its own process group. The caller must call `end`, even if it has ended by itself.

    Raises OSError if no process can be started. A missing program is not an error here: it just ends at once.
    """

    def __init__(
        self, command: Command, folder: Path | None = None, on_end: Callable[[], object] | None = None
    ) -> None:
        """`folder` was created for this run by `make_folder`. `on_end` is called once the program has ended."""
        self._ended = False
        self._on_end = on_end
        self._folder = folder or make_folder()
        lifeline, self._lifeline = os.pipe()
        self._socket, output = socket.socketpair()
        try:
            # gevent's sockets are non-blocking, which a program does not expect of its output.
            os.set_blocking(output.fileno(), True)
            self._popen = self._start(command, lifeline, output.fileno())
        except BaseException:
            self._clear()
            raise
        finally:
            os.close(lifeline)
            output.close()

    def read(self, wait: float) -> bytes:
        """What the program has written, empty at the end. Raises TimeoutError after `wait` seconds of silence."""
        self._socket.settimeout(wait)
        try:
            return self._socket.recv(_READ_SIZE)
        except BlockingIOError as error:
            raise TimeoutError from error
        except ConnectionError:
            return b""

    def write(self, data: bytes) -> None:
        """Sends the whole input to a program that was started without `stdin`. Raises OSError, or TimeoutError if the
        program does not read it."""
        self._socket.settimeout(_WRITE_TIMEOUT)
        self._socket.sendall(data)
        self._socket.shutdown(socket.SHUT_WR)

    @property
    def runs(self) -> bool:
        return self._popen.poll() is None

    def wait(self, seconds: float) -> int | None:
        """The exit code, or None if the program still runs after `seconds`."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._popen.wait(seconds)
        return None

    def last_words(self) -> str:
        """The end of the program's standard error."""
        try:
            with (self._folder / "stderr").open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - _LAST_WORDS))
                return file.read().decode("utf-8", "replace").strip()
        except OSError:
            return ""

    def end(self, grace: float = 0.0) -> None:
        """Ends the program and everything it has started, after `grace` seconds in which it may end by itself. Waits
        for the end. A second call does nothing."""
        if self._ended:
            return
        self._ended = True
        if self.wait(grace) is None:
            self._signal(signal.SIGTERM)
            self.wait(_NOTICE)
        self._signal(signal.SIGKILL)
        self._popen.wait()
        self._clear()

    def _signal(self, number: int) -> None:
        """Sends a signal to the whole group, with the guard and whatever the program has left behind."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, number)

    def _start(self, command: Command, lifeline: int, output: int) -> subprocess.Popen[bytes]:
        working = command.working or self._folder / "work"
        working.mkdir(exist_ok=True)
        given = {} if command.stdin is None else {"stdin": command.stdin}
        for name, content in {**command.files, **given}.items():
            (self._folder / name).write_bytes(content)
        with (self._folder / "stderr").open("wb") as stderr:
            return subprocess.Popen(
                ["/bin/sh", "-c", _GUARD, "sh", *command.argv],
                cwd=working,
                env={**command.environ, "TMPDIR": str(self._folder)},
                stdin=lifeline,
                stdout=output,
                stderr=stderr,
                start_new_session=True,
            )

    def _clear(self) -> None:
        self._socket.close()
        os.close(self._lifeline)
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._on_end is not None:
            self._on_end()
