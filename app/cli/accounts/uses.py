"""Reads how much of each limit is used, by the server's own counts."""

from __future__ import annotations

from pathlib import Path

from app.accounts.accounts import Accounts
from app.accounts.keys import list_keys
from app.cli.accounts.reading import ask
from app.cli.options import read_settings
from app.gateway.client_access.client_keys import read_key
from app.gateway.use_limits.in_force import LimitUse, find_limited, read_use
from app.rate_limits.shared_counts import SharedCounts
from app.settings import data_folder


def read_uses(path: Path | None) -> list[LimitUse]:
    """The limits of all keys, including those made by commands, and of all providers."""
    settings = read_settings(path)
    tables = dict(settings.keys)
    if settings.accounts.enabled:
        made = ask(Accounts(settings.accounts, settings.ledger.url), list_keys)
        tables = {key.name: key.settings for key in made if not key.disabled} | tables
    limited = find_limited([read_key(name, "", table) for name, table in tables.items()], settings.providers)
    counts = SharedCounts(data_folder(), settings.shared)
    try:
        return read_use(limited, counts)
    finally:
        counts.close()
