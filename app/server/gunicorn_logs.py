"""Masks gunicorn's own log lines, which quote clients."""

from __future__ import annotations

from typing import Any

from gunicorn.glogging import Logger

from app.logs import LineFormatter


class CleanLogger(Logger):  # type: ignore[misc]  # gunicorn is untyped
    """A logger whose lines contain no line breaks or colours from clients, and no secrets."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for log in (self.error_log, self.access_log):
            for handler in log.handlers:
                handler.setFormatter(LineFormatter(self.error_fmt, self.datefmt))
