"""Reads servers.toml: what servers support."""

from __future__ import annotations

from typing import Any

from app.conversation.blocks import DialectName
from app.dialects.registry import all_traits
from app.providers.quirk_tables import Row, read_fields, read_rows, read_table
from app.settings import Profile

_TABLE = read_table("servers.toml")

# The profile of a host; with the port where the URL names one.
HOSTS: dict[str, Profile] = _TABLE["hosts"]
# What a dialect's own vendor takes.
DIALECTS: dict[DialectName, dict[str, Any]] = {
    traits.name: read_fields(traits.takes, f"traits of {traits.name}") for traits in all_traits()
}
SERVERS: tuple[Row, ...] = read_rows(_TABLE["rows"], "servers.toml")
