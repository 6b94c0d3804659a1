"""Renders templates: every inserted value is masked, escaped and cut.

URLs of static files have a content hash that lets browsers cache them forever.
"""

from __future__ import annotations

import datetime
import functools
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode

from flask import Response, redirect
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from app.blueprints.operations.versions import own_version
from app.known_secrets import SHORTEST, known_secrets

# Maximum characters of one value that are processed, and that are shown.
MAX_READ = 8000
MAX_SHOWN = 2000
# Control characters, and marks that reverse the order of letters, by which a name could look like another.
_UNSHOWN = {
    **dict.fromkeys((*range(9), 11, 12, *range(14, 32), 127), None),
    **dict.fromkeys((*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F), None),
}
PAGE_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    ),
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
}
_TERMINALS = {
    "completed": "✓ complete",
    "error": "✗ failed",
    "client_closed": "○ client left",
    "upstream_cut": "✗ upstream cut off",
    "stopped": "✗ gateway stopped",
    "running": "… running",
}
_DOLLAR = 1e9
_KILO = 1000
FOLDER = Path(__file__).parent / "static"
_SHOWN = 12


def _finalize(value: Any) -> Any:
    if isinstance(value, Markup):
        return value
    text = str(value)[:MAX_READ]
    if len(text) < SHORTEST and text.isprintable():
        return text
    return known_secrets.mask(text).translate(_UNSHOWN)[:MAX_SHOWN]


def _format_time(unix: float) -> str:
    return datetime.datetime.fromtimestamp(unix, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")


def _format_clock(when: float | str) -> str:
    """The time for today, else date and time. `when` is a unix time, or a time as /health gives it."""
    unix = datetime.datetime.fromisoformat(when).timestamp() if isinstance(when, str) else when
    moment, today = (datetime.datetime.fromtimestamp(each, datetime.UTC) for each in (unix, time.time()))
    return moment.strftime("%H:%M:%S" if moment.date() == today.date() else "%b %d, %H:%M")


def _format_ago(unix: float) -> str:
    seconds = int(time.time() - unix)
    if seconds < 0:
        return f"in {_format_span(-seconds)}"
    return "just now" if seconds < 5 else f"{_format_span(seconds)} ago"


def _format_hour(unix: float) -> str:
    """How long ago an hour was, of which only the beginning is known."""
    hours = int(time.time() - unix) // 3600
    return "in this hour" if hours < 1 else f"{_format_span(hours * 3600)} ago"


def _format_span(seconds: float) -> str:
    """A duration in its largest unit and the next smaller one."""
    whole = int(seconds)
    for size, unit, below, part in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // below
            return f"{whole // size} {unit}" + (f" {rest} {part}" if rest and whole < 10 * size else "")
    return f"{whole} s"


def _format_cost(cost: int | None) -> str:
    return "no price" if cost is None else f"${cost / _DOLLAR:,.4f}"


def _format_dollars(cost: int) -> str:
    return f"${cost / _DOLLAR:,.2f}" if cost >= _DOLLAR or not cost else f"${cost / _DOLLAR:.4f}"


def _format_count(count: int | None) -> str:
    return "-" if count is None else f"{count:,}"


def _format_short(count: float | None) -> str:
    """A count in few digits."""
    if count is None:
        return "-"
    for unit in ("", "k", "M", "G"):
        if count < _KILO:
            return f"{count:.0f}{unit}" if not unit or count >= 100 else f"{count:.1f}{unit}"
        count /= _KILO
    return f"{count:.1f}T"


def _format_bytes(size: int | None) -> str:
    return "-" if size is None else f"{size:,} B" if size < 10_000 else f"{size / 1024:,.0f} KB"


def _format_ms(ms: int | None) -> str:
    return "-" if ms is None else f"{ms:,} ms" if ms < 10_000 else f"{ms / 1000:,.1f} s"


def _format_link(query: Mapping[str, Any]) -> str:
    """The query of a link, without empty values. Secrets are masked before a value is URL-encoded."""
    return urlencode({name: _finalize(value) for name, value in query.items() if value})


def draw_line(values: Sequence[float]) -> str:
    """Points of a line in a box of 100 x 30, for SVG."""
    maximum, last = max(values, default=0) or 1, max(1, len(values) - 1)
    return " ".join(f"{at * 100 / last:.1f},{29 - value * 27 / maximum:.1f}" for at, value in enumerate(values))


def _format_long(text: str) -> Markup:
    """A long text that was masked when it was recorded; secrets known by now are masked again."""
    return Markup(escape(known_secrets.mask(text).translate(_UNSHOWN)))  # it is escaped right here


def find_version(name: str) -> str | None:
    """The hash of a file's content; None for a file that does not exist. Anybody may ask, for any name."""
    return _read_versions().get(name)


@functools.cache
def _read_versions() -> dict[str, str]:
    return {
        path.relative_to(FOLDER).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()[:_SHOWN]
        for path in FOLDER.rglob("*")
        if path.is_file()
    }


def asset_url(name: str) -> str:
    version = find_version(name)
    assert version is not None, name
    return f"/_/static/{name}?v={version}"


_environment = Environment(
    loader=PackageLoader("app.dashboard"),
    autoescape=True,
    auto_reload=False,
    undefined=StrictUndefined,
    finalize=_finalize,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters.update(
    time=_format_time,
    clock=_format_clock,
    ago=_format_ago,
    hour=_format_hour,
    span=_format_span,
    cost=_format_cost,
    dollars=_format_dollars,
    count=_format_count,
    short=_format_short,
    bytes=_format_bytes,
    ms=_format_ms,
    dialect=lambda name: name.rpartition("_")[2],
    terminal=lambda word: _TERMINALS.get(word, word),
    query=_format_link,
    line=draw_line,
    long=_format_long,
    json=lambda value: json.dumps(value, indent=2, ensure_ascii=False, default=str),
)
_environment.globals["asset"] = asset_url


def render(template: str, status: int = 200, **values: Any) -> Response:
    html = _environment.get_template(template).render(version=own_version() or "", **values)
    return Response(html, status, PAGE_HEADERS, content_type="text/html; charset=utf-8")


def redirect_to(path: str, **query: str) -> Response:
    """Redirects the browser to a page, by GET."""
    return cast(Response, redirect(f"{path}?{urlencode(query)}" if query else path, 303))


def render_part(template: str, macro: str, *arguments: Any) -> str:
    """A rendered macro of a template, for updates of an open page."""
    module = _environment.get_template(template).module
    return str(getattr(module, macro)(*arguments))
