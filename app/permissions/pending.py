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
# Requests of one tenant that may be open at once; and what is kept of one, in requests and in bytes: whoever looks
# reads all of it.
MOST_OPEN = 50
MOST_KEPT = 100
MOST_BYTES = 2 * 1024 * 1024
# Seconds between two looks at a request that somebody waits for. All who wait share them.
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

    def __init__(
        self,
        shelf: Shelf,
        settings: PermissionsSettings,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self._shelf = shelf
        self._clock = clock
        self._monotonic = monotonic
        self._seen: list[Permission] = []
        self._seen_until = 0.0
        self._read: dict[bytes, Permission] = {}

    def ask(self, tenant: str, tool_name: str, tool_input: dict[str, Any]) -> Permission:
        """A new request. Raises InvalidRequest for one that nobody could judge."""
        if not tool_name or len(tool_name) > MOST_NAME:
            raise InvalidRequest(f"tool_name has between 1 and {MOST_NAME} characters", param="tool_name")
        size = len(_encoder.encode(tool_input))
        if size > MOST_INPUT:
            raise InvalidRequest(f"the input of the tool is larger than {MOST_INPUT} bytes", param="input")
        now = self._clock()
        self._make_room(tenant, size, now)
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

    def _make_room(self, tenant: str, size: int, now: float) -> None:
        """Takes away what is over, the oldest first, where a tenant has its share. Raises InvalidRequest where all of
        it is open."""
        kept = self._shelf.scan(tenant)
        total = size + sum(len(value) for _, value in kept)
        number = len(kept) + 1
        found = [(len(value), _decoder.decode(value)) for _, value in kept]
        if sum(each.status(now) == "pending" for _, each in found) >= MOST_OPEN:
            raise InvalidRequest(f"{MOST_OPEN} requests for permission are open; answer them first")
        for length, each in found:
            if number <= MOST_KEPT and total <= MOST_BYTES:
                return
            if each.status(now) != "pending":
                self._shelf.delete(tenant, each.id)
                number, total = number - 1, total - length
        if number > MOST_KEPT or total > MOST_BYTES:
            raise InvalidRequest("the requests for permission that are open are too large together; answer them first")

    def find(self, own: Mapping[str, str]) -> list[Permission]:
        """The requests of one tenant (`{"tenant": …}`) or of all (`{}`), the oldest first."""
        return [self._decode(value) for _, value in self._shelf.scan(own.get("tenant"))]

    def look(self, own: Mapping[str, str]) -> list[Permission]:
        """The same as of a moment ago: however many look, the ledger is asked once in a while."""
        now = self._monotonic()
        if now >= self._seen_until:
            self._seen_until = now + PERIOD / 2
            read = {value: self._decode(value) for _, value in self._shelf.scan()}
            self._read, self._seen = read, list(read.values())
        tenant = own.get("tenant")
        return [each for each in self._seen if tenant is None or each.tenant == tenant]

    def _decode(self, value: bytes) -> Permission:
        return self._read.get(value) or _decoder.decode(value)

    def get(self, own: Mapping[str, str], permission_id: str) -> Permission:
        """Raises NotFound."""
        tenant = own.get("tenant")
        if tenant is None:
            found = next((each for each in self.find(own) if each.id == permission_id), None)
        else:
            value = self._shelf.get(tenant, permission_id)
            found = None if value is None else _decoder.decode(value)
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
        own = {"tenant": asked.tenant}
        found = next((each for each in self.look(own) if each.id == asked.id), None) or self.get(own, asked.id)
        return None if found.status(self._clock()) == "pending" else found

    def status(self, permission: Permission) -> Status:
        return permission.status(self._clock())

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
