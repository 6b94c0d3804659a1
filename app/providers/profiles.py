"""Combines the quirk tables into an upstream's capabilities.

Four layers, each over the one before: what the dialect's own vendor takes (traits.py in its folder), the server's
profile (servers.toml), the model's family (models.toml), and what the configuration says (`quirks`). A profile is named
in the configuration or known by the host of the base URL; any other server is "generic".
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit

from app.conversation.blocks import DialectName
from app.conversation.capabilities import Capabilities
from app.dialects.registry import traits_of
from app.providers.models import FAMILIES, bare_name
from app.providers.quirk_tables import Row, read_fields
from app.providers.servers import DIALECTS, HOSTS, SERVERS
from app.settings import Profile


def capabilities_for(
    dialect: DialectName,
    base_url: str,
    model: str,
    profile: Profile | None = None,
    quirks: Mapping[str, Any] | None = None,
    *,
    first_party: bool | None = None,
    limits: Mapping[str, Any] | None = None,
) -> Capabilities:
    """What `model` can take behind `base_url`.

    `limits` are fields that the server's own list of models states (max_output, context_window, efforts …); `quirks`
    are fields from the configuration and have the last word. `first_party` None means: where the host is the
    dialect's own vendor. Raises ConfigError for a quirk that does not exist or is of a wrong type.
    """
    name = profile or profile_of(base_url)
    values: dict[str, Any] = dict(DIALECTS[dialect])
    for row in SERVERS:
        if row.applies(name, dialect, name):
            values.update(row.fields)
    bare = bare_name(model)
    for row in FAMILIES:
        if row.applies(bare, dialect, name):
            values.update(row.fields)
    values["first_party"] = _is_vendor(dialect, base_url) if first_party is None else first_party
    values["keep_billing"] = values["first_party"] and traits_of(dialect).keeps_billing
    values.update(limits or {})
    values.update(read_fields(quirks or {}, "quirks"))
    return Capabilities(dialect=dialect, model=model, **values)


def find_sources(
    dialect: DialectName, model: str, profile: str, quirks: Mapping[str, Any], rows: tuple[Row, ...] = ()
) -> dict[str, tuple[Any, str]]:
    """What is peculiar about an upstream: each field that a row or the configuration has set, with its value and where
    it was said last."""
    found: dict[str, tuple[Any, str]] = {}
    for row in (*_rows_of(SERVERS, profile, dialect, profile), *_rows_of(FAMILIES, bare_name(model), dialect, profile)):
        found |= {name: (value, row.source) for name, value in row.fields.items()}
    for row in _rows_of(rows, bare_name(model), dialect, profile):
        found |= {name: (value, row.source) for name, value in row.fields.items()}
    return found | {name: (value, "quirks of the provider") for name, value in quirks.items()}


def _rows_of(rows: tuple[Row, ...], name: str, dialect: DialectName, profile: str) -> list[Row]:
    return [row for row in rows if row.applies(name, dialect, profile)]


def profile_of(base_url: str) -> Profile:
    """The profile that a base URL's host and port stand for; "generic" where they stand for none."""
    place = urlsplit(base_url).netloc.rpartition("@")[2].lower()
    return next((profile for glob, profile in HOSTS.items() if fnmatchcase(place, glob)), "generic")


def _is_vendor(dialect: DialectName, base_url: str) -> bool:
    return urlsplit(base_url).hostname in traits_of(dialect).hosts
