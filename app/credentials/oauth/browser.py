"""Opens the user's browser, where there is one."""

from __future__ import annotations

import sys
import webbrowser
from collections.abc import Mapping


def open_browser(url: str, environ: Mapping[str, str]) -> bool:
    """Whether a browser was opened; with some browsers it comes back only when that is closed."""
    if not has_browser(environ):
        return False
    try:
        return webbrowser.open(url)
    except webbrowser.Error:
        return False


def has_browser(environ: Mapping[str, str]) -> bool:
    """Whether it makes sense to look for a browser.

    Without a display, or over SSH, only a text browser would be found, which takes the terminal that the user needs, or
    a window on a screen far away. A program named in $BROWSER is a wish that is granted.
    """
    if environ.get("BROWSER"):
        return True
    if environ.get("SSH_CONNECTION"):
        return False
    return sys.platform == "darwin" or bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))
