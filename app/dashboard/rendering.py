"""Renders templates: every inserted value is masked, escaped and cut.

URLs of static files have a content hash that lets browsers cache them forever.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode

from flask import Response, redirect
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from app.blueprints.operations.versions import own_version
from app.dashboard import formats
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
FOLDER = Path(__file__).parent / "static"
_SHOWN = 12


def _finalize(value: Any) -> Any:
    if isinstance(value, Markup):
        return value
    text = str(value)[:MAX_READ]
    if len(text) < SHORTEST and text.isprintable():
        return text
    return known_secrets.mask(text).translate(_UNSHOWN)[:MAX_SHOWN]


def _format_link(query: Mapping[str, Any]) -> str:
    """The query of a link, without empty values. Secrets are masked before a value is URL-encoded."""
    return urlencode({name: _finalize(value) for name, value in query.items() if value})


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
    time=formats.format_time,
    clock=formats.format_clock,
    ago=formats.format_ago,
    hour=formats.format_hour,
    span=formats.format_span,
    cost=formats.format_cost,
    dollars=formats.format_dollars,
    count=formats.format_count,
    short=formats.format_short,
    bytes=formats.format_bytes,
    ms=formats.format_ms,
    dialect=lambda name: name.rpartition("_")[2],
    terminal=lambda word: _TERMINALS.get(word, word),
    query=_format_link,
    line=formats.draw_line,
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
