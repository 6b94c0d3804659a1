"""The log: levels, one line per request, no secrets.

`app/log_target.py` writes its lines. It is separate because it must be set up before anything is opened.
"""

from app.logs.log import (
    LEVELS,
    LineFormatter,
    RecentLines,
    RequestLog,
    clean_json,
    clean_line,
    escape_odd,
    hide_in_headers,
    hide_secrets,
    is_clean,
    recent_lines,
    request_log,
    start_logs,
)

__all__ = [
    "LEVELS",
    "LineFormatter",
    "RecentLines",
    "RequestLog",
    "clean_json",
    "clean_line",
    "escape_odd",
    "hide_in_headers",
    "hide_secrets",
    "is_clean",
    "recent_lines",
    "request_log",
    "start_logs",
]
