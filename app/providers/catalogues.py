"""Fetches the model lists of all providers concurrently."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

from app.providers.provider import Provider

# Seconds to wait for upstreams' lists: Claude Code waits three seconds for the whole answer.
LISTING_LIMIT = 1.5


def fill_catalogues(providers: Iterable[Provider], *, only_new: bool = False, limit: float = LISTING_LIMIT) -> None:
    """Asks every upstream that was not asked recently, waiting at most `limit` seconds.

    `only_new` waits only for upstreams never asked before; an old list is good enough for the moment.
    """
    providers = list(providers)
    for provider in providers:
        if not provider.has_catalogue:
            provider.asking = threading.Thread(target=provider.catalogue, daemon=True)
            provider.asking.start()
    end = time.monotonic() + limit
    for provider in providers:
        if provider.asking is not None and not (only_new and provider.was_asked):
            provider.asking.join(max(0.0, end - time.monotonic()))
