"""Finds when a limit ends, in headers or error bodies."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from app.errors import Failure

# Seconds; no announced limit lasts longer, so anything beyond is a misread date.
LONGEST = 40 * 86400.0
_EPOCH = 1e9  # larger numbers are unix seconds, and from a thousand times this on unix milliseconds
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST_TEXT = 64
_LONGEST_MESSAGE = 4000
# Waits in messages: OpenAI and Groq "try again in 6m0.5s", Azure "retry after 45 seconds", Google "will reset after
# 1h2m3s" and, within another vendor's message, `"retryDelay": "36s"`.
_UNIT = r"(?:ms|milliseconds?|seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h|days?|d)\b"
_SPAN = rf"(?:\d{{1,9}}(?:\.\d{{1,9}})? ?(?:{_UNIT}|[hms](?=\d)),? ?(?:and )?){{1,4}}"
_SAID = re.compile(
    r"(?:try again|retry(?:ing)?|resets?|refresh(?:es)?|available(?: again)?|allowed|wait)"
    rf" (?:(?:in|after|for|about|at least|approximately) ){{0,2}}({_SPAN})"
    r"|retryDelay\W{1,8}(\d{1,9}(?:\.\d{1,9})?s)",
    re.IGNORECASE,
)
# The same in Chinese: "请在 30 秒后重试".
_SAID_IN_CHINESE = re.compile(r"(\d{1,6}) ?(毫秒|秒钟?|分钟?|小时|天)(?:之?后|以后)")
_CHINESE_UNITS = {"毫": "ms", "秒": "s", "分": "m", "小": "h", "天": "d"}
# As a field of an object quoted in a message: "retry_after: 30".
_QUOTED = re.compile(
    r"retry[-_ ]?after(?:[-_ ]?seconds)?[\"']? ?[:=] ?[\"']?(\d{1,6}(?:\.\d{1,6})?)(?![\w.])", re.IGNORECASE
)
# A date with a time zone.
_DATED = re.compile(
    r"(?:reset|resets|retry|try again|available|until|resume) (?:again )?(?:at |on |after |until )?"
    r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?) ?(Z|UTC|GMT|[+-]\d\d:?\d\d)",
    re.IGNORECASE,
)
# The latest IETF draft and the one before: `"default";r=0;t=30`, `limit=100, remaining=0, reset=30`.
_DRAFTS = re.compile(r"(?:^|[;, ])(?:t|reset)=(\d{1,9})(?:[;, ]|$)")
_PLAIN = re.compile(r"[0-9]{1,10}(?:\.[0-9]{1,9})?")
_DATE = re.compile(r"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} GMT")
_WORDS = re.compile(r"[a-z]{3,}", re.IGNORECASE)
_SHORT = {"mil": "ms", "sec": "s", "min": "m", "hou": "h", "hrs": "h", "day": "d"}


def find_retry_after(headers: Mapping[str, str], failure: Failure, now: float) -> int | None:
    """Seconds after which to retry, rounded up, if there is no `retry-after` header; None if nothing says it.

    `now` is unix seconds. Of several limits, only the exhausted ones count, if any is.
    """
    for given in (failure.retry_after, failure.resets_at):
        if given is not None and not given.startswith("-") and (seconds := read_moment(given, now)) is not None:
            return math.ceil(seconds)
    if (seconds := _read_message(failure.message[:_LONGEST_MESSAGE], now)) is not None:
        return math.ceil(seconds)
    resets: dict[str, float] = {}
    for name, value in headers.items():
        if "retry-after" in name or name == "x-ratelimit-timeremaining":
            unit = 0.001 if name.endswith("-ms") else 1.0
            if not value.startswith("-") and (seconds := read_moment(value, now)) is not None:
                return math.ceil(seconds * unit)
        elif name == "ratelimit" and (draft := _DRAFTS.search(value[:_LONGEST_MESSAGE])) is not None:
            resets[name] = float(draft[1])
        if "ratelimit" in name.replace("-limit", "limit").replace("rate-", "rate") and "reset" in name:
            seconds = read_moment(value, now)
            if seconds is not None:
                resets[name] = seconds
    spent = [seconds for name, seconds in resets.items() if headers.get(name.replace("reset", "remaining")) == "0"]
    return math.ceil(max(spent or resets.values())) if resets else None


def settle_retry_after(headers: dict[str, str], now: float) -> None:
    """Rewrites `retry-after` as clients read it: whole seconds or an HTTP date. Servers write `30s`, unix time and
    other dates. A value that is unreadable or too far away is removed, and `retry-after-ms` alone gets a `retry-after`
    in seconds too."""
    given, exact = headers.get("retry-after"), headers.get("retry-after-ms")
    if exact is not None and not is_valid_wait("retry-after-ms", exact, now):
        del headers["retry-after-ms"]
        exact = None
    if given is None:
        if exact is not None:
            headers["retry-after"] = str(math.ceil(float(exact) / 1000))
        return
    if is_valid_wait("retry-after", given, now):
        return
    seconds = None if given.lstrip().startswith("-") or given.endswith("GMT") else read_moment(given, now)
    if seconds is None:
        del headers["retry-after"]
    else:
        headers["retry-after"] = str(math.ceil(seconds))


def _read_message(message: str, now: float) -> float | None:
    """Seconds until the time given in a message, or None."""
    if (found := _SAID.search(message)) is not None:
        span = (found[1] or found[2]).lower().replace("and ", "").replace(",", "")
        span = _WORDS.sub(lambda word: _SHORT[word[0][:3]], span)
        return read_moment(span.replace(" ", ""), now)
    if (found := _SAID_IN_CHINESE.search(message)) is not None:
        return read_moment(found[1] + _CHINESE_UNITS[found[2][0]], now)
    if (found := _QUOTED.search(message)) is not None:
        return read_moment(found[1], now)
    if (found := _DATED.search(message)) is not None:
        return read_moment(found[1] + ("+00:00" if found[2].upper() in ("Z", "UTC", "GMT") else found[2]), now)
    return None


def is_valid_wait(name: str, text: str, now: float) -> bool:
    """Whether a client can obey a `retry-after` or `retry-after-ms`: a plain number or a date that is not too far away.
    Some clients sleep for whatever the header says, and some crash if they cannot read it."""
    if name == "retry-after-ms":
        return _PLAIN.fullmatch(text) is not None and float(text) / 1000 <= LONGEST
    if text.isascii() and text.isdigit():
        return len(text) <= _LONGEST_TEXT and int(text) <= LONGEST
    moment = _read_date(text, now) if len(text) <= _LONGEST_TEXT and _DATE.fullmatch(text) is not None else None
    return moment is not None and moment <= LONGEST


def read_moment(text: str, now: float) -> float | None:
    """Seconds from `now` to the moment that a text means: seconds, a span like `6m0s`, unix time, or a date. None for
    any other text, and for moments too far away."""
    text = text.strip()
    if not text or len(text) > _LONGEST_TEXT:
        return None
    seconds = _read_number(text, now)
    if seconds is None:
        seconds = _read_span(text)
    if seconds is None:
        seconds = _read_date(text, now)
    return max(0.0, seconds) if seconds is not None and math.isfinite(seconds) and seconds <= LONGEST else None


def _read_number(text: str, now: float) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    if value >= _EPOCH * 1000:
        return value / 1000 - now
    return value - now if value >= _EPOCH else value


def _read_span(text: str) -> float | None:
    """The seconds of a span like `1h2m3.5s` or `120ms`."""
    total, number, unit = 0.0, "", ""
    for letter in f"{text.lower()} ":
        if letter.isdigit() or letter == "." or letter == " ":
            if unit:
                if unit not in _UNITS or not number.replace(".", "", 1).isdigit():
                    return None
                total += float(number) * _UNITS[unit]
                number, unit = "", ""
            number += letter.strip()
        else:
            unit += letter
    return total if not number else None


def _read_date(text: str, now: float) -> float | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        try:
            moment = parsedate_to_datetime(text)
        except (ValueError, OverflowError):
            return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        return moment.timestamp() - now
    except (ValueError, OverflowError):
        return None
