"""The version of the program that runs."""

from __future__ import annotations

import functools
from importlib import metadata


@functools.cache
def own_version() -> str | None:
    """None in a checkout that was never installed."""
    try:
        return metadata.version("dragoman")
    except metadata.PackageNotFoundError:
        return None
