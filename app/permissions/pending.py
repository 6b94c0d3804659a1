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
from app.ledger.ledger import Collection, read_record
from app.settings import PermissionsSettings

audit = logging.getLogger("dragoman.audit")

# The most bytes of a tool's input. Nobody could judge more.
MAX_INPUT = 256 * 1024
MAX_NAME = 256
# The most open requests of one tenant, and the most requests and bytes that are stored of it, since each look reads all
# of them.
MAX_OPEN = 50
MAX_KEPT = 100
MAX_BYTES = 2 * 1024 * 1024
# Seconds between two looks at a request that a program waits for. All waiting programs share these looks.
PERIOD = 0.25

Status = Literal["pending", "allowed", "denied", "expired"]


class Permission(msgspec.Struct, frozen=True):
    """A permission request. Times are in unix seconds. `input` is the tool's input, `message` the text of a refusal."""

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
    """All requests of all tenants. Every method raises LedgerUnavailable. `clock` returns unix seconds."""

    def __init__(
        self,
        collection: Collection,
        settings: PermissionsSettings,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self._collection = collection
        self._clock = clock
        self._monotonic = monotonic
        self._seen: list[Permission] = []
        self._seen_until = 0.0
        self._read: dict[bytes, Permission] = {}

    def ask(self, tenant: str, tool_name: str, tool_input: dict[str, Any]) -> Permission:
        """Stores and returns a new request. Raises InvalidRequest if its name or input is too long, or too many are
        open."""
        if not tool_name or len(tool_name) > MAX_NAME:
            raise InvalidRequest(f"tool_name must have between 1 and {MAX_NAME} characters", param="tool_name")
        size = len(_encoder.encode(tool_input))
        if size > MAX_INPUT:
            raise InvalidRequest(f"the input of the tool is larger than {MAX_INPUT} bytes", param="input")
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
        self._collection.put(tenant, asked.id, _encoder.encode(asked))
        return asked

    def _make_room(self, tenant: str, size: int, now: float) -> None:
        """Deletes resolved requests, oldest first, if a tenant has reached its share. Raises InvalidRequest if the open
        ones alone exceed it."""
        kept = self._collection.scan(tenant)
        total = size + sum(len(value) for _, value in kept)
        number = len(kept) + 1
        found = [(len(value), each) for _, value in kept if (each := self._decode(value)) is not None]
        if sum(each.status(now) == "pending" for _, each in found) >= MAX_OPEN:
            raise InvalidRequest(f"{MAX_OPEN} permission requests are open; answer them first")
        for length, each in found:
            if number <= MAX_KEPT and total <= MAX_BYTES:
                return
            if each.status(now) != "pending":
                self._collection.delete(tenant, each.id)
                number, total = number - 1, total - length
        if number > MAX_KEPT or total > MAX_BYTES:
            raise InvalidRequest("the open permission requests are too large in total; answer them first")

    def find(self, own: Mapping[str, str]) -> list[Permission]:
        """The requests of one tenant (`{"tenant": …}`) or of all (`{}`), oldest first."""
        records = self._collection.scan(own.get("tenant"))
        return [found for _, value in records if (found := self._decode(value)) is not None]

    def look(self, own: Mapping[str, str]) -> list[Permission]:
        """`find` as of up to PERIOD / 2 ago. However many callers look, the ledger is read only once in that time."""
        now = self._monotonic()
        if now >= self._seen_until:
            self._seen_until = now + PERIOD / 2
            records = self._collection.scan()
            read = {value: found for _, value in records if (found := self._decode(value)) is not None}
            self._read, self._seen = read, list(read.values())
        tenant = own.get("tenant")
        return [each for each in self._seen if tenant is None or each.tenant == tenant]

    def _decode(self, value: bytes) -> Permission | None:
        return self._read.get(value) or read_record(_decoder, value)

    def get(self, own: Mapping[str, str], permission_id: str) -> Permission:
        """One request. Raises NotFound."""
        tenant = own.get("tenant")
        if tenant is None:
            found = next((each for each in self.find(own) if each.id == permission_id), None)
        else:
            value = self._collection.get(tenant, permission_id)
            found = None if value is None else read_record(_decoder, value)
        if found is None:
            raise NotFound("Permission request not found")
        return found

    def answer(
        self, own: Mapping[str, str], permission_id: str, *, allowed: bool, message: str = "", by: str = ""
    ) -> Permission:
        """Answers a request and returns it. Raises NotFound, or Conflict if it was already answered or has expired."""
        found = self.get(own, permission_id)
        now = self._clock()

        def resolve(value: bytes) -> bytes | None:
            current = read_record(_decoder, value)
            if current is None or current.status(now) != "pending":
                return None
            answered: Literal["allowed", "denied"] = "allowed" if allowed else "denied"
            return _encoder.encode(
                msgspec.structs.replace(current, answered=answered, resolved_at=now, message=message)
            )

        value = self._collection.update(found.tenant, found.id, resolve)
        if value is None:
            status = self.get(own, permission_id).status(now)
            raise Conflict(f"this permission request is already {status}")
        resolved = _decoder.decode(value)
        audit.info("permission %s: %s was %s by %s", resolved.id, resolved.tool_name, resolved.answered, by or "-")
        return resolved

    def wait(self, asked: Permission) -> Permission | None:
        """Waits for PERIOD. Returns the request if it is then answered or expired, else None."""
        time.sleep(PERIOD)
        own = {"tenant": asked.tenant}
        found = next((each for each in self.look(own) if each.id == asked.id), None) or self.get(own, asked.id)
        match found.status(self._clock()):
            case "pending":
                return None
            case "expired":
                audit.info("permission %s: %s was denied, since nobody answered in time", found.id, found.tool_name)
        return found

    def status(self, permission: Permission) -> Status:
        return permission.status(self._clock())

    def describe(self, permission: Permission) -> dict[str, Any]:
        """A request as clients see it, with the gateway's secrets masked."""
        now = self._clock()
        masked_input = known_secrets.mask(_encoder.encode(permission.input).decode())
        try:
            shown = msgspec.json.decode(masked_input)
        except msgspec.DecodeError:  # for example because a secret was a number
            shown = masked_input
        return {
            "request_id": permission.id,
            "tool_name": permission.tool_name,
            "input": shown,
            "status": permission.status(now),
            "created_at": permission.created_at,
            "expires_at": permission.expires_at,
            "time_remaining": max(0.0, permission.expires_at - now),
        }
