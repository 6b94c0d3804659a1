"""Sets up the log: levels, formats, masking."""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import re
import sys
import time
from collections import deque
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import msgspec

from app.known_secrets import known_secrets
from app.logs.console import at_terminal, describe_request, paint, wants_colours
from app.logs.files import LogFile, LogFileStream
from app.settings import ServerSettings

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}
_LEVEL_NAMES = {level: logging.getLevelName(level).encode() for level in LEVELS.values()}

# Text that looks like a credential, in case a foreign message contains one.
_SECRET = (
    r"(sk-[A-Za-z0-9_-]{8,}+|(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,}+\.[A-Za-z0-9_.-]+"
    r"|(?i:bearer)\s{1,9}[A-Za-z0-9._~+/-]{8,}+=*)"
)
_SECRETS = re.compile(_SECRET)
_SIGNS = ("sk-", "eyJ", "earer", "EARER")

# Characters that move a terminal's cursor, colour or reverse its text, or begin a line. With them, foreign text could
# forge lines.
_ODD = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)

_MAX_LINES = 256
# The log lines that a process remembers.
MAX_RECENT = 2000
# The most characters of a message, and of a line of a traceback.
_LONGEST_MESSAGE = 8192


def hide_secrets(text: str) -> str:
    """Text with all known secrets masked, and whatever looks like another."""
    text = known_secrets.mask(text)
    if any(map(text.__contains__, _SIGNS)):
        return _SECRETS.sub("[masked]", text)
    return text


def is_clean(text: str) -> bool:
    """Whether a short text certainly holds nothing that `clean_line` would change."""
    plain = text.isascii() and text.isprintable() and known_secrets.is_plain(text)
    return plain and not any(map(text.__contains__, _SIGNS))


def hide_in_headers(headers: dict[str, str]) -> dict[str, str]:
    """`hide_secrets` for the values of headers. Headers whose names contain a secret are removed."""
    headers = known_secrets.mask_headers(headers)
    if any(map("\n".join(headers.values()).__contains__, _SIGNS)):
        return {name: hide_secrets(value) for name, value in headers.items()}
    return headers


def clean_line(text: str) -> str:
    """Foreign text as one log line: without secrets, truncated, and with control and other odd characters escaped."""
    text = hide_secrets(text)
    if len(text) > _LONGEST_MESSAGE:
        text = f"{text[:_LONGEST_MESSAGE]}… ({len(text)} characters)"
    return escape_odd(text)


def escape_odd(text: str) -> str:
    """Text with control characters, direction marks and the like escaped, line ends too."""
    return _ODD.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found.group()):04x}"


class LineFormatter(logging.Formatter):
    """Writes each message as one clean line. Lines of a traceback are indented, so that none can pass for a message."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # the standard library's name
        record.message = clean_line(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802
        return "\n".join(f"    {clean_line(line)}" for line in super().formatException(ei).splitlines())


class RecentLines:
    """The last lines of this process's log, for pages that show them. `count` is the number of all lines so far."""

    def __init__(self) -> None:
        self.count = 0
        self._lines: deque[bytes] = deque(maxlen=MAX_RECENT)

    def add(self, *lines: bytes) -> None:
        self.count += len(lines)
        self._lines.extend(lines)

    def since(self, count: int) -> list[bytes]:
        """The lines after the first `count`, as far as they are still remembered."""
        fresh = min(self.count - count, len(self._lines))
        return list(self._lines)[-fresh:] if fresh > 0 else []


class _RecentHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        recent_lines.add(self.format(record).encode("utf-8", "replace") + b"\n")


class _TextFormatter(LineFormatter):
    """Formats lines for people: with the time of day, and warnings and errors in colour on a terminal."""

    def __init__(self, *, short: bool, colours: bool) -> None:
        super().__init__("%(message)s")
        self._short = short
        self._colours = colours

    def format(self, record: logging.LogRecord) -> str:
        now = datetime.fromtimestamp(record.created).astimezone()
        when = f"{now:%H:%M:%S}" if self._short else now.isoformat(timespec="milliseconds")
        message = super().format(record)
        return paint(f"{when} {record.levelname} {message}", record.levelname, colours=self._colours)


class _JsonFormatter(LineFormatter):
    def __init__(self) -> None:
        super().__init__("%(message)s")

    def format(self, record: logging.LogRecord) -> str:
        message = super().format(record)
        line = {"time": _rfc3339(record.created), "level": record.levelname, "message": message}
        return json.dumps(line)


class _Sink(Protocol):
    """A target of lines."""

    def write(self, data: bytes, /) -> object: ...
    def flush(self) -> object: ...


class RequestLog:
    """The log lines of requests, written together a few times a second.

    One line through the standard library's logging costs more than the gateway's work for the whole request, so these
    lines bypass it. Nothing is written before `open`.
    """

    def __init__(self) -> None:
        self.enabled = False
        self.for_people = False
        self.level = logging.INFO
        self._file: _Sink | None = None
        self._as_json = True
        self._colours: bool | None = None
        self._lines: list[bytes] = []

    def open(self, file: _Sink, *, as_json: bool, level: int = logging.INFO, colours: bool | None = None) -> None:
        """Begin to write to `file`, from `level` on. Each line is a flat JSON object; unless `as_json`, time and level
        precede it. If `colours` is not None, lines are for people at a terminal instead, with or without colours."""
        self._file = file
        self._as_json, self._colours = as_json, colours
        self.for_people = colours is not None
        self.level = level
        self.enabled = True

    def close(self) -> None:
        self.flush()
        self.enabled = False

    def tell(self, line: Mapping[str, Any], level: int = logging.INFO) -> None:
        """Logs a request, given as the fields of its line."""
        if not self.enabled or level < self.level:
            return
        if self._colours is None:
            self.write([(clean_json(_encode(line)), level)])
        else:
            text = describe_request(line, datetime.now(), colours=self._colours)
            self._append([hide_secrets(text).encode() + b"\n"])

    def write(self, lines: Iterable[tuple[bytes, int]]) -> None:
        """Logs clean JSON objects, each with its level. They reach the file at the next `flush`, or when many lines
        wait. If `lines` raises, those before are logged."""
        when, begins = _rfc3339(time.time()).encode(), dict[int, bytes]()
        written: list[bytes] = []
        try:
            for line, level in lines:
                begin = begins.get(level) or begins.setdefault(level, self._format_begin(when, level))
                if not self._as_json:
                    written.append(b"%s%s\n" % (begin, line))
                else:
                    written.append(b"%s,%s\n" % (begin, line[1:]) if len(line) > 2 else begin + b"}\n")
        finally:
            self._append(written)

    def _format_begin(self, when: bytes, level: int) -> bytes:
        name = _LEVEL_NAMES[level]
        return b'{"time":"%s","level":"%s"' % (when, name) if self._as_json else b"%s %s " % (when, name)

    def _append(self, lines: list[bytes]) -> None:
        self._lines += lines
        recent_lines.add(*lines)
        if len(self._lines) >= _MAX_LINES:
            self.flush()

    def flush(self) -> None:
        if self._lines and self._file is not None:
            lines, self._lines = self._lines, []
            # A line that cannot be written is lost. The request must not fail for it.
            with contextlib.suppress(OSError, ValueError):
                self._file.write(b"".join(lines))
                self._file.flush()


def clean_json(line: bytes) -> bytes:
    """JSON, whose control characters are already escaped, without secrets and odd characters."""
    text = line.decode("utf-8", "replace")
    clean = hide_secrets(text)
    if not clean.isascii() or "\x7f" in clean:
        clean = _ODD.sub(_escape, clean)
    return line if clean is text else clean.encode()


recent_lines = RecentLines()
request_log = RequestLog()
_encode = msgspec.json.Encoder().encode


def start_logs(settings: ServerSettings) -> None:
    """Sets up the log. Info and debug go to standard output, warnings and errors to standard error, and all lines of
    requests to standard output. With a log file, everything goes there, and warnings and errors to standard error too.
    """
    # A handler that cannot write must not report that, since it would do so on standard error.
    logging.raiseExceptions = False
    logger = logging.getLogger("dragoman")
    level = LEVELS[settings.log_level]
    logger.setLevel(level)
    logger.handlers.clear()
    seen = at_terminal()
    as_json = settings.log_format == "json" or (settings.log_format == "auto" and not seen)
    colours = wants_colours(os.environ)
    file = _open_file(settings)
    if file is not None:
        as_json = settings.log_format != "text"
    if level <= logging.WARNING:
        chosen = colours if seen and not as_json and file is None else None
        request_log.open(file or sys.stdout.buffer, as_json=as_json, level=level, colours=chosen)
    else:
        request_log.close()
    atexit.unregister(request_log.flush)
    atexit.register(request_log.flush)
    # Warnings and errors are always shown where the program was started.
    loud = logging.StreamHandler(sys.stderr)
    loud.setLevel(logging.WARNING)
    if file is None:
        quiet: logging.StreamHandler[Any] = logging.StreamHandler(sys.stdout)
        quiet.addFilter(lambda record: record.levelno < logging.WARNING)
    else:
        quiet = logging.StreamHandler(LogFileStream(file))
    for handler, descriptor in ((quiet, 1 if file is None else -1), (loud, 2)):
        own = at_terminal(descriptor)
        formatter = _JsonFormatter() if as_json else _TextFormatter(short=own, colours=colours and own)
        handler.setFormatter(formatter)
        logger.addHandler(handler)
    kept = _RecentHandler()
    kept.setFormatter(_JsonFormatter() if as_json else _TextFormatter(short=False, colours=False))
    logger.addHandler(kept)


def _open_file(settings: ServerSettings) -> LogFile | None:
    """The log file. None for standard output, which is also used if the file cannot be opened."""
    if settings.log_file is None:
        return None
    try:
        maximum = settings.log_file_mb << 20
        return LogFile(Path(settings.log_file), maximum, settings.log_files, settings.log_days)
    except OSError as error:
        print(f"dragoman: the log goes to standard output: {error}", file=sys.stderr)
        return None


def _rfc3339(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
