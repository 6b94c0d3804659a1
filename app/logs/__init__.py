"""The log: levels, one line per request, no secrets.

Where its lines go is another matter (`app/log_target.py`), which has to be settled before anything is opened.
"""

from app.logs.log import (
    LineFormatter,
    RecentLines,
    RequestLog,
    clean_line,
    hide_secrets,
    recent_lines,
    request_log,
    start_logs,
)

__all__ = [
    "LineFormatter",
    "RecentLines",
    "RequestLog",
    "clean_line",
    "hide_secrets",
    "recent_lines",
    "request_log",
    "start_logs",
]
