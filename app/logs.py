"""This file sets up the log: levels, one line a request, and no secret at any level."""

from __future__ import annotations

import logging
import re
import sys

from app.settings import ServerSettings

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}

# What looks like a credential, should one ever stand in a message that we did not write.
_SECRETS = re.compile(
    r"(sk-[A-Za-z0-9_-]{8,}|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_.-]+|(?i:bearer)\s+[A-Za-z0-9._~+/-]{8,}=*)"
)


class _Masked(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return _SECRETS.sub("[masked]", super().format(record))


def start_logs(settings: ServerSettings) -> None:
    """Info and debug go to standard output, warnings and errors to standard error."""
    logger = logging.getLogger("dragoman")
    logger.setLevel(LEVELS[settings.log_level])
    logger.handlers.clear()
    if settings.log_format == "json":
        pattern = '{"time":"%(asctime)s","level":"%(levelname)s","message":%(message)s}'
    else:
        pattern = "%(asctime)s %(levelname)s %(message)s"
    formatter = _Masked(pattern, "%Y/%m/%d %H:%M:%S")
    quiet = logging.StreamHandler(sys.stdout)
    quiet.addFilter(lambda record: record.levelno < logging.WARNING)
    loud = logging.StreamHandler(sys.stderr)
    loud.setLevel(logging.WARNING)
    for handler in (quiet, loud):
        handler.setFormatter(formatter)
        logger.addHandler(handler)
