"""Combines the quirk tables into an upstream's capabilities.

Four layers, each overriding the one before: what the dialect's own vendor supports (traits.py in its folder), the
server's profile (servers.toml), the model's family (models.toml), and the configuration (`quirks`). The profile is
configured or derived from the host of the base URL; any other server is "generic".
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit

from app.conversation.blocks import DialectName
from app.conversation.capabilities import Capabilities
from app.dialects.registry import all_traits, traits_of
from app.providers.names import bare_name
from app.providers.quirk_tables import Row, read_fields, read_rows, read_table
from app.settings import Profile

_TABLE = read_table("servers.toml")
# The profile by host, with the port if the URL names one.
HOSTS: dict[str, Profile] = _TABLE["hosts"]
# What each dialect's own vendor supports, and the rows of servers and model families.
DIALECTS: dict[DialectName, dict[str, Any]] = {
    traits.name: read_fields(traits.takes, f"traits of {traits.name}") for traits in all_traits()
}
SERVERS: tuple[Row, ...] = read_rows(_TABLE["rows"], "servers.toml")
FAMILIES: tuple[Row, ...] = read_rows(read_table("models.toml")["rows"], "models.toml")


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
    """The capabilities of `model` behind `base_url`.

    `limits` are fields stated by the server's own list of models (max_output, context_window, efforts …); `quirks` are
    fields from the configuration and override all others. `first_party` None derives it from the host: whether it is
    the dialect's own vendor. Raises ConfigError for a quirk that does not exist or has a wrong type.
    """
    name = profile or profile_of(base_url)
    values: dict[str, Any] = dict(DIALECTS[dialect])
    for row in _find_rows(dialect, model, name):
        values.update(row.fields)
    values["first_party"] = _is_vendor(dialect, base_url) if first_party is None else first_party
    values["keep_billing"] = values["first_party"] and traits_of(dialect).keeps_billing
    values.update(limits or {})
    values.update(read_fields(quirks or {}, "quirks"))
    return Capabilities(dialect=dialect, model=model, **values)


def find_sources(
    dialect: DialectName, model: str, profile: str, quirks: Mapping[str, Any], rows: tuple[Row, ...] = ()
) -> dict[str, tuple[Any, str]]:
    """The peculiarities of an upstream: each field set by a row or the configuration, with its value and the last
    source that set it."""
    found: dict[str, tuple[Any, str]] = {}
    for row in _find_rows(dialect, model, profile, rows):
        found |= {name: (value, row.source) for name, value in row.fields.items()}
    return found | {name: (value, "quirks of the provider") for name, value in quirks.items()}


def _find_rows(dialect: DialectName, model: str, profile: str, more: tuple[Row, ...] = ()) -> list[Row]:
    """The rows of the server and of the model, in the order in which they apply."""
    bare = bare_name(model)
    return [
        *(row for row in SERVERS if row.applies(profile, dialect, profile)),
        *(row for row in (*FAMILIES, *more) if row.applies(bare, dialect, profile)),
    ]


def profile_of(base_url: str) -> Profile:
    """The profile for a base URL's host and port; "generic" if none matches."""
    place = urlsplit(base_url).netloc.rpartition("@")[2].lower()
    return next((profile for glob, profile in HOSTS.items() if fnmatchcase(place, glob)), "generic")


def _is_vendor(dialect: DialectName, base_url: str) -> bool:
    return urlsplit(base_url).hostname in traits_of(dialect).hosts
