"""Formats the log for a terminal."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from typing import Any

_RED, _YELLOW, _GREEN, _DIM, _PLAIN = "\x1b[31m", "\x1b[33m", "\x1b[32m", "\x1b[2m", "\x1b[0m"
# The most characters of a name that a client or an upstream has chosen.
_LONGEST = 80


def at_terminal(descriptor: int = 1) -> bool:
    """Whether a descriptor is a terminal."""
    try:
        return os.isatty(descriptor)
    except OSError:
        return False


def wants_colours(environ: Mapping[str, str]) -> bool:
    """Whether to use colours: not if NO_COLOR is set (https://no-color.org), or if the terminal has none."""
    return not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def paint(text: str, level: str, *, colours: bool) -> str:
    colour = {"WARNING": _YELLOW, "ERROR": _RED, "CRITICAL": _RED}.get(level)
    return f"{colour}{text}{_PLAIN}" if colours and colour else text


def describe_request(line: Mapping[str, Any], now: datetime, *, colours: bool) -> str:
    """A request's line for people, with the time of day."""
    when = f"{now:%H:%M:%S}"
    return f"{_DIM}{when}{_PLAIN}  {sum_up(line, colours=True)}" if colours else f"{when}  {sum_up(line)}"


def sum_up(line: Mapping[str, Any], *, colours: bool = False) -> str:
    """A request in one line: path, model and upstream, status, duration, tokens, and what went wrong."""

    def dim(text: str) -> str:
        return f"{_DIM}{text}{_PLAIN}" if colours else text

    status = int(line["status"])
    failed = "error" in line
    colour = _RED if status >= 500 or (failed and status < 400) else _YELLOW if status >= 400 else _GREEN
    parts = [f"{line.get('method', 'POST')} {_clean(line.get('path', ''))}"]
    if line["model"]:
        led = f" -> {_clean(line['upstream'])}" if line["upstream"] not in ("", line["model"]) else ""
        parts.append(_clean(line["model"]) + led)
    parts.append(f"{colour}{status}{_PLAIN}" if colours else str(status))
    taken = f"{line['ms'] / 1000:.1f}s"
    if line["ttfb_ms"] is not None and line["stream"]:
        taken += f" (first {line['ttfb_ms'] / 1000:.1f})"
    parts.append(taken)
    if "tokens_in" in line:
        parts.append(f"{line['tokens_in']}->{line['tokens_out']} tok")
        if line["tokens_cached"]:
            parts.append(f"{line['tokens_cached']} cached")
    for name in ("lowered", "dropped"):
        if name in line:
            parts.append(dim(f"{name}: {_clean(', '.join(line[name]))}"))
    if line["terminal"] not in ("completed", "error"):
        parts.append(line["terminal"])
    if failed:
        message = f"{line['error']}: {_clean(line.get('message') or '', 300)}"
        parts.append(f"{colour}{message}{_PLAIN}" if colours else message)
    return "  ".join(parts)


def _clean(text: str, longest: int = _LONGEST) -> str:
    """Foreign text without characters that could control a terminal."""
    return "".join(character if character.isprintable() else "?" for character in str(text)[:longest])
