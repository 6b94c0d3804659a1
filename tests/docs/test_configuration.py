"""docs/configuration.md and the settings say the same: every key, with its default."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from app import create_app
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
    load_settings,
)
from app.settings.known_servers import KNOWN_SERVERS
from app.settings.tables import Table, UseLimits
from tests.docs.blocks import CONFIGURATION, blocks

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


# What a team sets: each of it is shown in use, in a file that starts a gateway.
TEAM: dict[str, frozenset[str]] = {
    "server": frozenset(
        {"workers", "metrics", "log_level", "log_format", "log_file", "log_file_mb", "log_files", "log_days"}
    ),
    "providers.local": frozenset(UseLimits.__struct_fields__) | {"queue_timeout", "health_check"},
    "keys.ci": frozenset(KeySettings.__struct_fields__),
    "ledger": frozenset(LedgerSettings.__struct_fields__),
    "accounts": frozenset(AccountsSettings.__struct_fields__),
    "prices.local/qwen3": frozenset(PriceSettings.__struct_fields__),
    "alerts": frozenset(AlertsSettings.__struct_fields__),
    "hooks": frozenset(HooksSettings.__struct_fields__),
    "push": frozenset(PushSettings.__struct_fields__),
    "raw_log": frozenset(RawLogSettings.__struct_fields__),
    "shared": frozenset(SharedSettings.__struct_fields__),
    "limits": frozenset(LimitsSettings.__struct_fields__),
}


def team_file() -> str:
    (block,) = (block for block in blocks(CONFIGURATION, "toml") if "[keys.anna]" in block)
    return block


@pytest.mark.parametrize("table", TEAM)
def test_every_setting_of_a_team_is_shown_in_its_file(table: str) -> None:
    shown_tables = tomllib.loads(team_file())

    section, _, name = table.partition(".")

    assert set(shown_tables[section][name] if name else shown_tables[section]) >= TEAM[table]


def test_the_file_of_a_team_starts_a_gateway_that_keeps_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    path = tmp_path / "dragoman.toml"
    path.write_text(team_file().replace("/var/", f"{tmp_path}/"))
    environ = {"HOME": str(tmp_path), "LOCAL_KEY": "sk-local", "TEAM_KEY": "dm-ci-0123456789"}

    app = create_app(load_settings(path, environ, {}))
    refused = app.test_client().get("/v1/models", headers={"x-api-key": "somebody"})
    limits = app.test_client().get("/_/api/limits", headers={"x-api-key": "dm-ci-0123456789"})
    app.runtime.services.transport.close()

    assert refused.status_code == 401
    assert {row["limit"]: row["maximum"] for row in limits.get_json()["limits"]} == {
        "budget_per_month": 100 * 10**9,
        "budget_per_day": 10 * 10**9,
        "tokens_per_day": 50_000_000,
        "requests_per_day": 10_000,
        "tokens_per_hour": 5_000_000,
        "requests_per_hour": 1000,
        "tokens_per_minute": 200_000,
        "requests_per_minute": 60,
        "max_parallel": 4,
    }
