"""Validates client keys."""

from __future__ import annotations

import datetime
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from app.errors import ConfigError
from app.settings.tables import KeySettings, UseLimits

# Marks a key that is given as its hash.
HASH_MARK = "sha256:"
_HASH = re.compile(r"[0-9a-f]{64}")
KEY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# The names of a key's settings that limit its use.
LIMITS = tuple(field for field in KeySettings.__struct_fields__ if "_per_" in field or field == "max_parallel")
# Dollars. Costs are counted in billionths of one.
LEAST_BUDGET = 1e-9
# A placeholder in the settings of a key that has not been created yet.
NO_KEY = "none yet"
REDIS_SCHEMES = ("redis", "rediss", "unix")
LEDGER_SCHEMES = frozenset({"postgresql", "postgresql+psycopg"})


def hash_key(key: str) -> str:
    """The hash of a key as in the settings, `sha256:` and hexadecimal digits. A key that is already a hash is only
    lowercased."""
    if key.startswith(HASH_MARK):
        return key.lower()
    return HASH_MARK + hashlib.sha256(key.encode()).hexdigest()


def parse_expiry(table: Any, name: str) -> Any:
    """A key's table with `expires`, if present, as a time with a zone. A date means its start; the default zone is UTC.

    Raises ConfigError for text that is not a date.
    """
    if not isinstance(table, dict) or "expires" not in table:
        return table
    return table | {"expires": read_date(table["expires"], f"keys.{name}.expires")}


def read_date(value: Any, key: str) -> datetime.datetime:
    if isinstance(value, str):
        try:
            value = datetime.datetime.fromisoformat(value.strip())
        except ValueError as error:
            message = f"{value[:40]!r} is not a date such as 2027-01-31 or 2027-01-31T18:00:00Z"
            raise ConfigError(message, key=key) from error
    if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        value = datetime.datetime(value.year, value.month, value.day)
    if not isinstance(value, datetime.datetime):
        raise ConfigError("it must be a date such as 2027-01-31 or 2027-01-31T18:00:00Z", key=key)
    return value if value.tzinfo else value.replace(tzinfo=datetime.UTC)


def check_key(name: str, settings: KeySettings) -> KeySettings:
    """A key's settings with the key stripped of white space, and a hash in lower case. Raises ConfigError."""
    if not KEY_NAME.fullmatch(name):
        message = "a key's name may have up to 64 letters, digits, dots, underscores and hyphens"
        raise ConfigError(message, key=f"keys.{name}")
    key = settings.key.strip()
    if not key:
        raise ConfigError("a key is empty, which would let everyone in", key=f"keys.{name}.key")
    if key.lower().startswith(HASH_MARK):
        key = key.lower()
        if not _HASH.fullmatch(key.removeprefix(HASH_MARK)):
            message = f"{HASH_MARK} must be followed by 64 hexadecimal digits, as `dragoman keys hash` prints them"
            raise ConfigError(message, key=f"keys.{name}.key")
    for field in ("models", "providers"):
        if "" in getattr(settings, field):
            raise ConfigError("a pattern is empty; it would match nothing", key=f"keys.{name}.{field}")
    check_budgets(settings, f"keys.{name}")
    return msgspec.structs.replace(settings, key=key)


def check_budgets(limits: UseLimits, key: str) -> None:
    """Raises ConfigError for a budget of 0, or of less than is counted."""
    for field in ("budget_per_day", "budget_per_month"):
        budget = getattr(limits, field)
        if budget is not None and budget < LEAST_BUDGET:
            raise ConfigError("a budget of 0 allows no requests; remove the whole table instead", key=f"{key}.{field}")


def check_keys_differ(keys: Mapping[str, KeySettings], unnamed: Sequence[str]) -> None:
    """Raises ConfigError if one key is configured twice, and so would have two sets of rights."""
    seen = {hash_key(key): "server.api_keys" for key in unnamed}
    for name, settings in keys.items():
        hashed = hash_key(settings.key)
        if hashed in seen:
            raise ConfigError(f"it is the same key as {seen[hashed]}", key=f"keys.{name}.key")
        seen[hashed] = f"keys.{name}"


def check_redis_url(url: str) -> None:
    """Raises ConfigError for an unusable Redis URL. The message never quotes the URL, which may hold a password."""
    if "://" not in url or _scheme_of(url) not in REDIS_SCHEMES:
        raise ConfigError("it must be an address such as redis://host:6379/0", key="shared.redis")


def check_ledger_url(url: str) -> None:
    """Raises ConfigError for an unusable database URL, also without quoting it."""
    if url != "sqlite://" and not url.startswith("sqlite:///") and _scheme_of(url) not in LEDGER_SCHEMES:
        raise ConfigError("it must be sqlite:////path or postgresql://user@host:5432/name", key="ledger.url")


def _scheme_of(url: str) -> str:
    """The scheme of a URL, or empty if it is not valid."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return ""
    return parts.scheme
