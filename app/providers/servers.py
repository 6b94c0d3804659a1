"""What servers can take; the rows stand in servers.toml, those of models in models.toml."""

from __future__ import annotations

from typing import Any

from app.conversation.blocks import DialectName
from app.providers.quirk_tables import Row, read_fields, read_rows, read_table
from app.settings import Profile

VENDORS: dict[DialectName, str] = {
    "anthropic_messages": "api.anthropic.com",
    "openai_chat": "api.openai.com",
    "openai_responses": "api.openai.com",
}

_TABLE = read_table("servers.toml")

# The profile of a host; with the port where the URL names one.
HOSTS: dict[str, Profile] = _TABLE["hosts"]
# What a dialect's own vendor takes.
DIALECTS: dict[DialectName, dict[str, Any]] = {
    dialect: read_fields(fields, f"servers.toml.dialects.{dialect}") for dialect, fields in _TABLE["dialects"].items()
}
SERVERS: tuple[Row, ...] = read_rows(_TABLE["rows"], "servers.toml")
