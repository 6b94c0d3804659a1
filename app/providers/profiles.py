"""How the capabilities of an upstream are put together from the tables.

Four layers, each over the one before: what the dialect's own vendor takes and the server's profile (servers.py), the
model's family (models.py), and what the configuration says (`quirks`). A profile is named in the configuration or
known by the host of the base URL; any other server is "generic".
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, get_type_hints
from urllib.parse import urlsplit

import msgspec

from app.conversation.blocks import DialectName
from app.conversation.capabilities import Capabilities
from app.errors import ConfigError
from app.providers.models import FAMILIES, bare_name
from app.providers.servers import DIALECTS, HOSTS, SERVERS, VENDORS
from app.settings import Profile
from app.settings.checking import describe_mismatch, suggest


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
    values["keep_billing"] = values["first_party"] and dialect == "anthropic_messages"
    values.update(limits or {})
    values.update(read_quirks(quirks or {}, "quirks"))
    return Capabilities(dialect=dialect, model=model, **values)


def profile_of(base_url: str) -> Profile:
    """The profile that a base URL's host and port stand for; "generic" where they stand for none."""
    place = urlsplit(base_url).netloc.rpartition("@")[2].lower()
    return next((profile for glob, profile in HOSTS.items() if fnmatchcase(place, glob)), "generic")


def read_quirks(quirks: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Quirks from the configuration, where they stand below `key`, as values of Capabilities. Raises ConfigError with
    the quirk's name."""
    values = {}
    for name, value in quirks.items():
        if name not in _QUIRK_TYPES:
            raise ConfigError(f"there is no such quirk{suggest(name, _QUIRK_TYPES)}", key=f"{key}.{name}")
        try:
            values[name] = msgspec.convert(value, _QUIRK_TYPES[name])
        except msgspec.ValidationError as error:
            raise ConfigError(describe_mismatch(str(error)), key=f"{key}.{name}") from error
    return values


def _is_vendor(dialect: DialectName, base_url: str) -> bool:
    return urlsplit(base_url).hostname == VENDORS.get(dialect)


_QUIRK_TYPES = {
    name: kind for name, kind in get_type_hints(Capabilities).items() if name not in ("dialect", "model", "first_party")
}
