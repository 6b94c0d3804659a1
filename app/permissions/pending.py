"""Stores permission requests in the ledger, so that any worker and host can show and answer them."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

from app.errors import Conflict, InvalidRequest, NotFound
from app.known_secrets import known_secrets
from app.ledger.ledger import Shelf
from app.settings import PermissionsSettings

audit = logging.getLogger("dragoman.audit")

# Bytes of a tool's input that are kept and shown; a person decides by no more.
MOST_INPUT = 256 * 1024
MOST_NAME = 256
# Requests of one tenant that may be open at once.
MOST_OPEN = 50
# Seconds between two looks at a request that somebody waits for.
PERIOD = 0.25

Status = Literal["pending", "allowed", "denied", "expired"]


class Permission(msgspec.Struct, frozen=True):
    """One request. Times are unix seconds; `input` is what the tool would be given, `message` what its refusal says."""

    id: str
    tenant: str
    tool_name: str
    input: dict[str, Any]
    created_at: float
    expires_at: float
    answered: Literal["allowed", "denied"] | None = None
    resolved_at: float | None = None
    message: str = ""

    def status(self, now: float) -> Status:
        return self.answered or ("pending" if now < self.expires_at else "expired")


_decoder = msgspec.json.Decoder(Permission)
_encoder = msgspec.json.Encoder()


class Permissions:
    """All requests of all tenants. Every method raises LedgerUnavailable; `clock` gives unix seconds."""

    def __init__(self, shelf: Shelf, settings: PermissionsSettings, clock: Callable[[], float] = time.time) -> None:
        self.settings = settings
        self._shelf = shelf
        self._clock = clock

    def ask(self, tenant: str, tool_name: str, tool_input: dict[str, Any]) -> Permission:
        """A new request. Raises InvalidRequest for one that nobody could judge."""
        if not tool_name or len(tool_name) > MOST_NAME:
            raise InvalidRequest(f"tool_name has between 1 and {MOST_NAME} characters", param="tool_name")
        if len(_encoder.encode(tool_input)) > MOST_INPUT:
            raise InvalidRequest(f"the input of the tool is larger than {MOST_INPUT} bytes", param="input")
        now = self._clock()
        waiting = [each for each in self.find({"tenant": tenant}) if each.status(now) == "pending"]
        if len(waiting) >= MOST_OPEN:
            raise InvalidRequest(f"{MOST_OPEN} requests for permission are open; answer them first")
        asked = Permission(
            id=secrets.token_hex(16),
            tenant=tenant,
            tool_name=tool_name,
            input=tool_input,
            created_at=now,
            expires_at=now + self.settings.timeout_seconds,
        )
        self._shelf.put(tenant, asked.id, _encoder.encode(asked))
        return asked

    def find(self, own: Mapping[str, str]) -> list[Permission]:
        """The requests of one tenant (`{"tenant": …}`) or of all (`{}`), the oldest first."""
        tenant = own.get("tenant")
        return [_decoder.decode(value) for owner, value in self._shelf.scan() if tenant is None or owner == tenant]

    def get(self, own: Mapping[str, str], permission_id: str) -> Permission:
        """Raises NotFound."""
        found = next((each for each in self.find(own) if each.id == permission_id), None)
        if found is None:
            raise NotFound("Permission request not found")
        return found

    def answer(
        self, own: Mapping[str, str], permission_id: str, *, allowed: bool, message: str = "", by: str = ""
    ) -> Permission:
        """Raises NotFound, or Conflict where it was answered already or nobody waits any more."""
        found = self.get(own, permission_id)
        now = self._clock()

        def resolve(value: bytes) -> bytes | None:
            current = _decoder.decode(value)
            if current.status(now) != "pending":
                return None
            answered: Literal["allowed", "denied"] = "allowed" if allowed else "denied"
            return _encoder.encode(
                msgspec.structs.replace(current, answered=answered, resolved_at=now, message=message)
            )

        value = self._shelf.update(found.tenant, found.id, resolve)
        if value is None:
            status = self.get(own, permission_id).status(now)
            raise Conflict(f"this permission request is {status} already")
        resolved = _decoder.decode(value)
        audit.info("permission %s: %s was %s by %s", resolved.id, resolved.tool_name, resolved.answered, by or "-")
        return resolved

    def wait(self, asked: Permission) -> Permission | None:
        """The request once it is answered or has expired; None when `PERIOD` passed before."""
        time.sleep(PERIOD)
        found = self.get({"tenant": asked.tenant}, asked.id)
        return None if found.status(self._clock()) == "pending" else found

    def describe(self, permission: Permission) -> dict[str, Any]:
        """What a client sees of a request, without secrets of this gateway."""
        now = self._clock()
        told = known_secrets.mask(_encoder.encode(permission.input).decode())
        try:
            shown = msgspec.json.decode(told)
        except msgspec.DecodeError:  # a secret in the place of a number, say
            shown = told
        return {
            "request_id": permission.id,
            "tool_name": permission.tool_name,
            "input": shown,
            "status": permission.status(now),
            "created_at": permission.created_at,
            "expires_at": permission.expires_at,
            "time_remaining": max(0.0, permission.expires_at - now),
        }
