"""docs/configuration.md and the settings say the same: every key, with its default."""

from __future__ import annotations

import re

import msgspec
import pytest

from app.providers.registry import KINDS
from app.settings import (
    AccountsSettings,
    AlertsSettings,
    HooksSettings,
    KeySettings,
    LedgerSettings,
    LimitsSettings,
    ModelsSettings,
    PriceSettings,
    ProviderSettings,
    PushSettings,
    RawLogSettings,
    RouteSettings,
    ServerSettings,
    SharedSettings,
)
from app.settings.known_servers import KNOWN_SERVERS
from app.settings.tables import Table
from tests.docs.blocks import CONFIGURATION

SECTIONS: dict[str, type[Table]] = {
    "[server]": ServerSettings,
    "[providers.NAME]": ProviderSettings,
    "[models]": ModelsSettings,
    "[models.routes]": RouteSettings,
    "[ledger]": LedgerSettings,
    "[limits]": LimitsSettings,
    "[accounts]": AccountsSettings,
    "[hooks]": HooksSettings,
    "[alerts]": AlertsSettings,
    "[push]": PushSettings,
    "[raw_log]": RawLogSettings,
    "[prices]": PriceSettings,
    "[keys.NAME]": KeySettings,
    "[shared]": SharedSettings,
}
# A route is written with other keys than it is kept with.
WRITTEN = {"[models.routes]": {"targets": ("target", "fallback")}}
# What the default says in words.
IN_WORDS = {"kind", "target", "input", "output", "key"}

_ROW = re.compile(r"^\| `(\w+)` \| (.*?) \| (.+) \|$", re.MULTILINE)


def documented(section: str) -> dict[str, str]:
    """The keys of a section's table, with their defaults as they are written."""
    text = CONFIGURATION.read_text().split(f"## `{section}`\n", 1)[1].split("\n## ", 1)[0]
    return {key: default for key, default, _ in _ROW.findall(text)}


def shown(default: object) -> str:
    if default is None:
        return "none"
    return f"`{msgspec.json.encode(default).decode()}`"


@pytest.mark.parametrize("section", SECTIONS)
def test_every_setting_is_documented_and_nothing_else(section: str) -> None:
    written = WRITTEN.get(section, {})

    keys = [each for field in SECTIONS[section].__struct_fields__ for each in written.get(field, (field,))]

    assert sorted(documented(section)) == sorted(keys)


@pytest.mark.parametrize("section", SECTIONS)
def test_every_documented_default_is_the_real_one(section: str) -> None:
    fields = {field.name: field for field in msgspec.structs.fields(SECTIONS[section])}

    for key, default in documented(section).items():
        if key in fields and key not in IN_WORDS:
            field = fields[key]
            real = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
            assert default == shown(real), key


def test_every_kind_of_provider_that_is_documented_exists_and_nothing_else() -> None:
    (row,) = re.findall(r"^\| `kind` \| .*$", CONFIGURATION.read_text(), re.MULTILINE)

    assert set(re.findall(r"`(\w+)`", row)) - {"kind"} == set(KINDS)


def test_every_known_server_is_documented_with_its_address_and_key() -> None:
    text = CONFIGURATION.read_text().split("## Servers by their names\n", 1)[1].split("\n## ", 1)[0]
    rows = [line for line in text.splitlines() if line.startswith("| `")]

    for name, server in KNOWN_SERVERS.items():
        (row,) = (row for row in rows if row.startswith(f"| `{name}`"))
        assert server.base_url is None or f"`{server.base_url}`" in row
        assert server.key is None or f"`{server.key}`" in row
    assert len(rows) == len(KNOWN_SERVERS)
