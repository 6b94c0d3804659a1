"""Fetches the model lists of all providers concurrently."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

from app.providers.provider import Provider

# Seconds that a list of models waits for upstreams: Claude Code waits three for all of it.
LISTING_LIMIT = 1.5


def fill_catalogues(providers: Iterable[Provider], *, only_new: bool = False, limit: float = LISTING_LIMIT) -> None:
    """Asks every upstream that was not asked lately; one that takes longer than `limit` seconds is not waited for.

    `only_new` waits only for those that were never asked before: what is merely old is good enough to go on with.
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
