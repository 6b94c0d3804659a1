"""Records of requests, good and hostile, for tests of the pages that show them."""

from __future__ import annotations

import time
from typing import Any

from app.accounts.record import AttemptRecord, RequestRecord, StepRecord, Times
from app.conversation.response import Usage

REQUEST = f"{7:024x}"


PAGES = (
    "/_/",
    "/_/requests",
    f"/_/requests/{REQUEST}",
    *(f"/_/usage?by={group}" for group in ("key", "model", "target", "provider", "client", "day", "hour")),
    "/_/usage?by=key&also=day&metric=output&since=24h",
    "/_/models",
    "/_/models?try=claude-sonnet",
    "/_/sessions",
    "/_/sessions/show?session=s-1",
    "/_/permissions",
    "/_/providers",
    "/_/keys",
    "/_/logs",
    "/_/recording",
    "/_/settings/edit",
    "/_/settings",
    "/_/settings/bundle",
)


EXPORTS = (
    "/_/requests.csv",
    "/_/requests.json",
    "/_/usage.csv?by=key",
    "/_/usage.json",
    "/_/logs.txt",
    "/_/settings/bundle.json",
)


STREAMS = ("/_/live/overview", "/_/live/requests", "/_/live/permissions", "/_/logs/stream")


def record(number: int = 7, **changes: Any) -> RequestRecord:
    fields: dict[str, Any] = {
        "id": f"{number:024x}",
        "received": time.time() - 60 + number,
        "agent": "claude-cli/2.1",
        "model": "claude-sonnet",
        "rule": "models.default",
        "provider": "up",
        "target": "up/m",
        "session": "s-1",
        "attempts": (
            AttemptRecord("up/m", 429, "rate_limit", "slow down", started=1, ended=20, waited=300),
            AttemptRecord("up/m", 200, started=320, ended=900),
        ),
        "status": 200,
        "times": Times(routed=1, upstream_head=500, first_byte=510, end=900),
        "usage": Usage(fresh=1234, cache_read=40, output=20),
        "cost": 5_600_000,
        "losses": ("tools[0].cache_control",),
        "lowered": ("max_tokens from 64000 to 16384",),
    }
    return RequestRecord(**{**fields, **changes})


def hostile(text: str, **changes: Any) -> RequestRecord:
    """A record whose every text is `text`."""
    names = ("session", "key", "agent", "path", "dialect_in", "dialect_out", "model", "rule", "provider", "target")
    words = dict.fromkeys((*names, "error", "message", "origin", "upstream_request_id"), text)
    tried = AttemptRecord(text, 500, text, text, 1, 2, 3, text)
    told = {"losses": (text,), "lowered": (text,), "skipped": (text,), "steps": (StepRecord(text, text, 1, 2),)}
    return record(**words, attempts=(tried, tried), terminal="error", **told, **changes)
