"""Sets up the log: levels, one line a request, and no secret at any level."""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import re
import sys
import time
from typing import BinaryIO

from app.settings import ServerSettings

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}

# What looks like a credential, should one ever stand in a message that we did not write.
_SECRET = (
    r"(sk-[A-Za-z0-9_-]{8,}+|(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,}+\.[A-Za-z0-9_.-]+"
    r"|(?i:bearer)\s{1,9}[A-Za-z0-9._~+/-]{8,}+=*)"
)
_SECRETS = re.compile(_SECRET)
_SECRETS_IN_BYTES = re.compile(_SECRET.encode())

_TIME = "%Y/%m/%d %H:%M:%S"
_MOST_LINES = 256


def hide_secrets(text: str) -> str:
    """Text without what looks like a credential."""
    return _SECRETS.sub("[masked]", text)


class _TextFormatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", _TIME)

    def format(self, record: logging.LogRecord) -> str:
        return hide_secrets(super().format(record))


class _JsonFormatter(_TextFormatter):
    def format(self, record: logging.LogRecord) -> str:
        said = super().format(record).split(f" {record.levelname} ", 1)[-1]
        line = {"time": self.formatTime(record, _TIME), "level": record.levelname, "message": said}
        return json.dumps(line)


class RequestLog:
    """The lines of requests: JSON objects, written out together a few times a second.

    The standard library's logging costs more for one line than the gateway for its whole request, so these lines go
    around it. Nobody is told anything before `open`.
    """

    def __init__(self) -> None:
        self.enabled = False
        self._file: BinaryIO | None = None
        self._frame = ("", "")
        self._lines: list[bytes] = []
        self._second = 0
        self._prefix = b""

    def open(self, file: BinaryIO, *, as_json: bool) -> None:
        """Begin to write to `file`: each line whole, or within an object of its own that tells the time."""
        self._file = file
        self._frame = ('{"time":"%s","level":"INFO","message":', "}\n") if as_json else ("%s INFO ", "\n")
        self._second = 0
        self.enabled = True

    def close(self) -> None:
        self.flush()
        self.enabled = False

    def write(self, line: bytes) -> None:
        """Takes one line; it reaches the file at the next `flush`, or when many wait."""
        now = int(time.time())
        if now != self._second:
            self._second = now
            self._prefix = (self._frame[0] % time.strftime(_TIME, time.localtime(now))).encode()
        masked = _SECRETS_IN_BYTES.sub(b"[masked]", line)
        self._lines.append(self._prefix + masked + self._frame[1].encode())
        if len(self._lines) >= _MOST_LINES:
            self.flush()

    def flush(self) -> None:
        if self._lines and self._file is not None:
            lines, self._lines = self._lines, []
            # A line that cannot be written is lost, not the request that it tells of.
            with contextlib.suppress(OSError, ValueError):
                self._file.write(b"".join(lines))
                self._file.flush()


request_log = RequestLog()


def start_logs(settings: ServerSettings) -> None:
    """Info and debug go to standard output, warnings and errors to standard error."""
    # A handler that cannot write says nothing about it: it would say it there.
    logging.raiseExceptions = False
    logger = logging.getLogger("dragoman")
    logger.setLevel(LEVELS[settings.log_level])
    logger.handlers.clear()
    as_json = settings.log_format == "json"
    if LEVELS[settings.log_level] <= logging.INFO:
        request_log.open(sys.stdout.buffer, as_json=as_json)
        atexit.unregister(request_log.flush)
        atexit.register(request_log.flush)
    else:
        request_log.close()
    formatter = _JsonFormatter() if as_json else _TextFormatter()
    quiet = logging.StreamHandler(sys.stdout)
    quiet.addFilter(lambda record: record.levelno < logging.WARNING)
    loud = logging.StreamHandler(sys.stderr)
    loud.setLevel(logging.WARNING)
    for handler in (quiet, loud):
        handler.setFormatter(formatter)
        logger.addHandler(handler)
