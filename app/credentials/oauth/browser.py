"""Opens the user's browser, if there is one."""

from __future__ import annotations

import sys
from collections.abc import Mapping


def open_browser(url: str, environ: Mapping[str, str]) -> bool:
    """Opens a browser. Returns whether that worked. With some browsers, returns only after they are closed."""
    if not has_browser(environ):
        return False
    import webbrowser

    try:
        return webbrowser.open(url)
    except webbrowser.Error:
        return False


def has_browser(environ: Mapping[str, str]) -> bool:
    """Whether it makes sense to open a browser.

    Without a display, or over SSH, it would be a text browser, which takes over the user's terminal, or a window on a
    remote screen. A program named in $BROWSER is always used.
    """
    if environ.get("BROWSER"):
        return True
    if environ.get("SSH_CONNECTION"):
        return False
    return sys.platform == "darwin" or bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))
