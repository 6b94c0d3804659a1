"""Reads an account's remaining quota from reply headers."""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

# Windows of Claude logins, by their part of the header's name.
_CLAUDE = "anthropic-ratelimit-unified-"
_CLAUDE_WINDOWS = ("5h", "7d", "7d_oi")
# Windows of ChatGPT logins; another header gives their length.
_CODEX = "x-codex-"
_CODEX_WINDOWS = ("primary", "secondary")
# Answers with window data have one of these headers.
CLAUDE_MARK = f"{_CLAUDE}status"
CODEX_MARK = f"{_CODEX}primary-used-percent"
# Headers with the remainder of a key's limits: Anthropic's, and OpenAI's, which many servers copy.
_LEFT = (
    *(f"anthropic-ratelimit-{name}-remaining" for name in ("requests", "tokens", "input-tokens", "output-tokens")),
    *(f"x-ratelimit-remaining-{name}" for name in ("requests", "tokens")),
)
_LONGEST_NUMBER = 32
# The end of the year 9999, the last date that can be shown.
_LAST_MOMENT = 253_402_300_799.0


class QuotaWindow(msgspec.Struct, frozen=True):
    """One window: its name ("5h", "7d"), the used share (1.0 is all), and when it resets, in unix seconds or None if
    unknown."""

    name: str
    used: float
    resets_at: float | None


def read_quotas(headers: Mapping[str, str], now: float) -> tuple[QuotaWindow, ...]:
    """The windows in an answer's headers; empty for other upstreams. `now` is in unix seconds."""
    if CLAUDE_MARK in headers:
        windows = [
            _window(name, headers, f"{_CLAUDE}{name}-utilization", f"{_CLAUDE}{name}-reset", 1.0, now)
            for name in _CLAUDE_WINDOWS
        ]
    elif CODEX_MARK in headers:
        windows = [
            _window(
                _name_minutes(headers.get(f"{_CODEX}{name}-window-minutes", ""), name),
                headers,
                f"{_CODEX}{name}-used-percent",
                f"{_CODEX}{name}-reset-at",
                0.01,
                now,
                headers.get(f"{_CODEX}{name}-reset-after-seconds", ""),
            )
            for name in _CODEX_WINDOWS
        ]
    else:
        return ()
    return tuple(window for window in windows if window is not None)


def find_cooldown(windows: tuple[QuotaWindow, ...], now: float) -> float | None:
    """Seconds until every exhausted window has reset; None if none is exhausted."""
    ends = [window.resets_at - now for window in windows if window.used >= 1.0 and window.resets_at is not None]
    return max(ends) if ends and max(ends) > 0 else None


def has_nothing_left(headers: Mapping[str, str]) -> bool:
    """Whether a rate limit header of an answer says that the account has nothing left."""
    return any(headers.get(name) in ("0", "0.0") for name in _LEFT)


def read_seconds(retry_after: str | None) -> float | None:
    """The seconds in a retry-after header; None if it is not a number."""
    seconds = _number(retry_after or "")
    return max(0.0, seconds) if seconds is not None else None


def _window(
    name: str, headers: Mapping[str, str], used: str, reset: str, unit: float, now: float, after: str = ""
) -> QuotaWindow | None:
    share = _number(headers.get(used, ""))
    if share is None:
        return None
    resets_at = _number(headers.get(reset, ""))
    if resets_at is not None and not 0 < resets_at < _LAST_MOMENT:
        resets_at = None
    if resets_at is None and (seconds := _number(after)) is not None:
        resets_at = now + seconds
    return QuotaWindow(name, max(0.0, share * unit), resets_at)


def _name_minutes(minutes: str, default: str) -> str:
    """The name of a window by its length: "5h", "7d"."""
    length = _number(minutes)
    if length is None or length < 1:
        return default
    hours = length / 60
    return f"{hours / 24:.0f}d" if hours >= 48 else f"{hours:.0f}h" if hours >= 1 else f"{length:.0f}min"


def _number(text: str) -> float | None:
    if not text or len(text) > _LONGEST_NUMBER:
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and abs(number) < 1e12 else None
