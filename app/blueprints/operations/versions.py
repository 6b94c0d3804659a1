"""The running program's version."""

from __future__ import annotations

import functools


@functools.cache
def own_version() -> str | None:
    """None in a checkout that was never installed."""
    # Imported here: it reads mail headers for this one line, and few ask.
    from importlib import metadata

    try:
        return metadata.version("dragoman")
    except metadata.PackageNotFoundError:
        return None
