"""Writes log lines to a file descriptor without ever blocking. Lines that cannot be written are lost."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import select
import socket
import stat
import sys
from collections.abc import Callable
from functools import partial

from gevent.monkey import get_original

# The most bytes that are kept for a slow reader. More are lost.
MAX_WAITING = 256 * 1024
# A pipe that polls as writable accepts this much without blocking (POSIX's least PIPE_BUF).
_SURE = 512

# gevent's patched versions would wait in its hub.
_socket = get_original("socket", "socket")
_poll = get_original("select", "poll")

_Write = Callable[[memoryview], int]


class LogTarget:
    """Writes bytes to a descriptor. Never blocks, never raises, and keeps lines whole."""

    def __init__(self, descriptor: int) -> None:
        self.lost = 0
        self._waiting = bytearray()
        self._write, self._own = _writer(descriptor)

    def close(self) -> None:
        """Closes what was opened for writing. The descriptor itself stays open."""
        if self._own >= 0:
            os.close(self._own)
            self._own = -1

    def write(self, data: bytes) -> int:
        """Accepts whole lines. They are lost if too much is waiting."""
        if self._waiting and not self.flush() and len(self._waiting) + len(data) > MAX_WAITING:
            self.lost += 1
            return len(data)
        self._waiting += data
        self.flush()
        return len(data)

    def flush(self) -> bool:
        """Writes what waits, as far as possible without blocking. Returns whether everything is written."""
        while self._waiting:
            try:
                with memoryview(self._waiting) as view:
                    written = self._write(view)
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EINTR):
                    # The reader is gone, or the disk is full. These lines would be stale by the time it is not.
                    self._waiting.clear()
                    self.lost += 1
                return not self._waiting
            if not written:
                return False
            del self._waiting[:written]
        return True


class TargetStream(io.TextIOBase):
    """A LogTarget as a text stream that replaces standard output or standard error."""

    def __init__(self, descriptor: int) -> None:
        self.target = LogTarget(descriptor)
        self._line = ""
        self._descriptor = descriptor

    @property
    def buffer(self) -> LogTarget:  # for binary lines
        return self.target

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    def write(self, text: str) -> int:
        # A traceback arrives in pieces, but lines must stay whole.
        self._line += text
        if "\n" in text:
            whole, _, self._line = self._line.rpartition("\n")
            self.target.write(f"{whole}\n".encode("utf-8", "backslashreplace"))
        return len(text)

    def flush(self) -> None:
        if self._line:
            self.target.write(self._line.encode("utf-8", "backslashreplace"))
            self._line = ""
        self.target.flush()

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        return True


def fill_standard_descriptors() -> None:
    """Opens the null device for each standard descriptor that is closed. Otherwise the next file or socket would get
    its number, and with it the lines of the log. Must be called before anything else is opened."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def guard_standard_streams() -> None:
    """Replaces standard output and standard error by streams that never block."""
    fill_standard_descriptors()
    if not isinstance(sys.stdout, TargetStream):
        sys.stdout = TargetStream(1)
    if not isinstance(sys.stderr, TargetStream):
        sys.stderr = TargetStream(2)


def flush_standard_streams() -> None:
    """Writes what waits for a slow reader. Must be called now and then, and at the end."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TargetStream):
            stream.flush()


def _writer(descriptor: int) -> tuple[_Write, int]:
    """A function that writes to this kind of file without blocking, and the descriptor opened for it, or -1."""
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISREG(mode):
            return partial(os.write, descriptor), -1
        if stat.S_ISSOCK(mode):
            # systemd's journal, for example.
            own = os.dup(descriptor)
            return partial(_send, own), own
        # Reopened: O_NONBLOCK belongs to the open file description, which we share with the shell.
        own = os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return _poll_writer(descriptor), -1
    return partial(os.write, own), own


def _send(descriptor: int, data: memoryview) -> int:
    peer = _socket(fileno=descriptor)
    try:
        return int(peer.send(data, socket.MSG_DONTWAIT))
    finally:
        peer.detach()


def _poll_writer(descriptor: int) -> _Write:
    poll = _poll()
    poll.register(descriptor, select.POLLOUT)

    def write(data: memoryview) -> int:
        return os.write(descriptor, data[:_SURE]) if poll.poll(0) else 0

    return write
