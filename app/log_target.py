"""Writes log lines to a descriptor without ever blocking. A line that cannot be written is lost."""

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

# Bytes that wait for a reader who is slow; more is lost.
MOST_WAITING = 256 * 1024
# A pipe that says it can be written takes so much without waiting (PIPE_BUF of POSIX is at least this).
_SURE = 512

# Patched ones would wait in gevent's hub.
_socket = get_original("socket", "socket")
_poll = get_original("select", "poll")

_Write = Callable[[memoryview], int]


class LogTarget:
    """Bytes to one descriptor, never waiting and never raising. Lines stay whole."""

    def __init__(self, descriptor: int) -> None:
        self.lost = 0
        self._waiting = bytearray()
        self._write, self._own = _writer(descriptor)

    def close(self) -> None:
        """Lets go of what was opened for this; the descriptor itself stays open."""
        if self._own >= 0:
            os.close(self._own)
            self._own = -1

    def write(self, data: bytes) -> int:
        """Takes whole lines."""
        if self._waiting and not self.flush() and len(self._waiting) + len(data) > MOST_WAITING:
            self.lost += 1
            return len(data)
        self._waiting += data
        self.flush()
        return len(data)

    def flush(self) -> bool:
        """Writes what waits, as far as it goes; whether nothing waits any more."""
        while self._waiting:
            try:
                with memoryview(self._waiting) as view:
                    written = self._write(view)
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EINTR):
                    # Nobody reads any more, or the disk is full: what is not written now is old when it can be.
                    self._waiting.clear()
                    self.lost += 1
                return not self._waiting
            if not written:
                return False
            del self._waiting[:written]
        return True


class TargetStream(io.TextIOBase):
    """A LogTarget as a text stream, in the place of standard output or standard error."""

    def __init__(self, descriptor: int) -> None:
        self.target = LogTarget(descriptor)
        self._line = ""
        self._descriptor = descriptor

    @property
    def buffer(self) -> LogTarget:  # what binary lines are written to
        return self.target

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    def write(self, text: str) -> int:
        # A traceback comes in pieces, and lines shall stay whole.
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
    """Where the process was started without one of the three, a later file or socket would get its number, and the
    lines of the log: it gets the null device. To be called before anything is opened."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def guard_standard_streams() -> None:
    """Puts streams that hold up nobody in the place of standard output and standard error."""
    fill_standard_descriptors()
    if not isinstance(sys.stdout, TargetStream):
        sys.stdout = TargetStream(1)
    if not isinstance(sys.stderr, TargetStream):
        sys.stderr = TargetStream(2)


def flush_standard_streams() -> None:
    """What waits for a slow reader; to be called now and then, and at the end."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TargetStream):
            stream.flush()


def _writer(descriptor: int) -> tuple[_Write, int]:
    """How to write to this kind of file without waiting, and the descriptor that was opened for it, or -1."""
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISREG(mode):
            return partial(os.write, descriptor), -1
        if stat.S_ISSOCK(mode):
            # The journal of systemd is one.
            own = os.dup(descriptor)
            return partial(_send, own), own
        # A description of our own: whether it waits is a matter of the description, which we share with the shell.
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
