"""Makes HTML of templates: whatever is put into one is text without secrets, escaped, and not endless."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from flask import Response
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from app.blueprints.operations.versions import own_version
from app.known_secrets import known_secrets

# Characters of one value that are looked at, and that are shown.
MOST_READ = 8000
MOST_SHOWN = 2000
# Control characters, and marks that turn the order of letters round: a name could look like another one.
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


def _finalize(value: Any) -> Any:
    if isinstance(value, Markup):
        return value
    return known_secrets.mask(str(value)[:MOST_READ]).translate(_UNSHOWN)[:MOST_SHOWN]


def _spell_time(unix: float) -> str:
    return datetime.datetime.fromtimestamp(unix, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")


def _spell_cost(cost: int | None) -> str:
    return "no price" if cost is None else f"${cost / _DOLLAR:,.4f}"


def _spell_count(count: int | None) -> str:
    return "-" if count is None else f"{count:,}"


def _spell_ms(ms: int | None) -> str:
    return "-" if ms is None else f"{ms:,} ms" if ms < 10_000 else f"{ms / 1000:,.1f} s"


def _spell_link(query: Mapping[str, Any]) -> str:
    """The query of a link, without what is not set. A value loses its secrets before it is spelled for a URL."""
    return urlencode({name: _finalize(value) for name, value in query.items() if value})


_environment = Environment(
    loader=PackageLoader("app.dashboard"),
    autoescape=True,
    undefined=StrictUndefined,
    finalize=_finalize,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters.update(
    time=_spell_time,
    cost=_spell_cost,
    count=_spell_count,
    ms=_spell_ms,
    terminal=lambda word: _TERMINALS.get(word, word),
    query=_spell_link,
)


def render(template: str, status: int = 200, **values: Any) -> Response:
    html = _environment.get_template(template).render(version=own_version() or "", page=template, **values)
    return Response(html, status, PAGE_HEADERS, content_type="text/html; charset=utf-8")
