"""This file opens the user's browser, where there is one in front of the user."""

from __future__ import annotations

import sys
import webbrowser
from collections.abc import Mapping

_DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")


def open_browser(url: str, environ: Mapping[str, str]) -> bool:
    """Whether a browser was opened.

    Without a display, and over SSH, nothing is tried: what would be found is a text browser, which takes the terminal
    that the user needs, or a window on a screen far away. A program named in $BROWSER is a wish that is granted.
    """
    if not environ.get("BROWSER") and (environ.get("SSH_CONNECTION") or not _has_display(environ)):
        return False
    try:
        return webbrowser.open(url)
    except webbrowser.Error:
        return False


def _has_display(environ: Mapping[str, str]) -> bool:
    return sys.platform == "darwin" or any(environ.get(name) for name in _DISPLAYS)
