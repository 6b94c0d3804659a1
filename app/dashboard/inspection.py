"""Presents a recording: compares the client's request with the upstream's, and renders it as commands."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from app.gateway.inspection.bodies import indent_json
from app.gateway.large_bodies.heavy_work import run_heavy

# Maximum lines compared on each side, and lines shown around a difference.
MAX_LINES = 4000
AROUND = 3
# Maximum characters of one text on a page.
MAX_SHOWN = 300_000


def render_panes(recording: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The panes of a recording in chronological order, with readable bodies."""
    return [
        {
            "name": pane["name"],
            "first": pane["first"],
            "headers": pane.get("headers", {}),
            "body": indent_json(pane.get("body", ""))[:MAX_SHOWN],
            "events": pane.get("events", []),
            "size": pane.get("size", 0),
            "cut": pane.get("cut", False),
        }
        for pane in recording["panes"]
    ]


def compare(recording: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Lines that differ between the client's request and the last one sent upstream, each with its kind: `add`, `del`,
    `place`, or empty for lines around them. Fields are sorted before the comparison."""
    sides = {pane["name"]: pane.get("body", "") for pane in recording["panes"] if "request" in pane["name"]}
    sent = [body for name, body in sides.items() if name.startswith("upstream")]
    if "client request" not in sides or not sent:
        return []
    before, after = sides["client request"], sent[-1]
    return run_heavy(len(before) + len(after), _compare, before, after)


def render_curl(recording: Mapping[str, Any], base_url: str) -> str:
    """The client's request as a shell command, with its key as a variable."""
    asked = next((pane for pane in recording["panes"] if pane["name"] == "client request"), None)
    if asked is None:
        return ""
    lines = [f"curl -N '{base_url}{recording['path']}' \\", '  -H "authorization: Bearer $DRAGOMAN_KEY" \\']
    for name in ("anthropic-version", "anthropic-beta"):
        if name in asked.get("headers", {}):
            value = asked["headers"][name].replace("'", "")
            lines.append(f"  -H '{name}: {value}' \\")
    body = asked.get("body", "").replace("'", "'\\''")
    return "\n".join([*lines, "  -H 'content-type: application/json' \\", f"  -d '{body}'"])[:MAX_SHOWN]


def _compare(before: str, after: str) -> list[tuple[str, str]]:
    sent, got = (indent_json(text, indent=1, is_sorted=True).splitlines()[:MAX_LINES] for text in (before, after))
    kinds = {"+": "add", "-": "del", "@": "place"}
    lines = difflib.unified_diff(sent, got, lineterm="", n=AROUND)
    return [(kinds.get(line[:1], ""), line[:2000]) for number, line in enumerate(lines) if number > 1]
