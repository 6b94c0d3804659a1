"""The version of the running program."""

from __future__ import annotations

import functools


@functools.cache
def own_version() -> str | None:
    """The installed version, or None in a checkout that was never installed."""
    # Imported here because it loads a parser of mail headers, and few callers need the version.
    from importlib import metadata

    try:
        return metadata.version("dragoman")
    except metadata.PackageNotFoundError:
        return None
