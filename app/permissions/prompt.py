"""Tells programs where to ask for permission: an address, and a ticket that names the tenant."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Any

import msgspec

SERVER = "confirmation"
TOOL = f"mcp__{SERVER}__check_permission"
# Seconds for which a ticket is valid: as long as one reply may take.
LIFETIME = 24 * 3600


class PermissionPrompt(msgspec.Struct, frozen=True):
    """`url` is the gateway's own MCP server. `secret` is the key with which its workers sign tickets."""

    url: str
    secret: bytes

    def __repr__(self) -> str:
        return f"PermissionPrompt({self.url})"

    def describe(self, tenant: str, now: float) -> dict[str, Any]:
        """The server's entry in a configuration of MCP servers."""
        ticket = write_ticket(self.secret, tenant, now)
        return {"type": "http", "url": self.url, "headers": {"Authorization": f"Bearer {ticket}"}}


def write_ticket(secret: bytes, tenant: str, now: float) -> str:
    payload = f"{tenant}.{int(now) + LIFETIME}.{secrets.token_hex(8)}"
    return f"{payload}.{_sign(secret, payload)}"


def read_ticket(secret: bytes, ticket: str, now: float) -> str | None:
    """The tenant that a ticket of ours names. None for any other text, or if the ticket has expired."""
    payload, _, signature = ticket[:400].rpartition(".")
    if not signature.isascii() or not hmac.compare_digest(signature, _sign(secret, payload)):
        return None
    tenant, expires, _ = payload.rsplit(".", 2)
    return tenant if now < int(expires) else None


def _sign(secret: bytes, payload: str) -> str:
    return hmac.new(secret, payload.encode("utf-8", "replace"), hashlib.sha256).hexdigest()
