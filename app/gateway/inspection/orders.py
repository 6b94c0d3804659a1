"""Recording orders, which pages and commands pass to all workers through a file."""

from __future__ import annotations

import secrets
import time
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

import msgspec

from app.credentials.stores.private_files import write_private
from app.errors import InvalidRequest
from app.settings import ServerSettings, data_folder

# Maximum concurrent orders, and maximum duration of one in seconds, because people forget that a recording runs.
MAX_ORDERS = 10
LONGEST = 24 * 3600


class RecordingOrder(msgspec.Struct, frozen=True, omit_defaults=True):
    """`until` is unix time, None for the order of the settings, which has no end. `key` and `model` are patterns, empty
    for all. `share` percent of requests are recorded, and with `only="errors"` only those that failed."""

    id: str
    until: float | None = None
    key: str = ""
    model: str = ""
    only: Literal["all", "errors"] = "all"
    share: int = 100
    by: str = ""

    def is_for(self, key: str, model: str, *, failed: bool, dice: int) -> bool:
        """Whether the order matches a request. `dice` is a random number from 0 to 99, the same for all orders."""
        return (
            (not self.key or fnmatchcase(key, self.key))
            and (not self.model or fnmatchcase(model, self.model))
            and (failed or self.only == "all")
            and dice < self.share
        )

    def describe(self) -> str:
        what = "failed requests" if self.only == "errors" else "requests"
        whom = "".join(f" of {kind} {name}" for kind, name in (("key", self.key), ("model", self.model)) if name)
        share = f", {self.share} of 100" if self.share < 100 else ""
        return f"{what}{whom}{share}"


_orders = msgspec.json.Decoder(list[RecordingOrder])


def orders_file() -> Path:
    return data_folder() / "recording.json"


def read_orders(file: Path, now: float) -> list[RecordingOrder]:
    """The orders that have not ended; empty if the file cannot be read."""
    try:
        orders = _orders.decode(file.read_bytes())
    except (OSError, msgspec.MsgspecError):
        return []
    return [order for order in orders if order.until is not None and now < order.until][:MAX_ORDERS]


def add_order(
    seconds: int | None, key: str = "", model: str = "", *, errors: bool = False, share: int = 100, by: str = ""
) -> RecordingOrder:
    """Orders a recording for so many seconds. Raises InvalidRequest and OSError."""
    if seconds is None or not 0 < seconds <= LONGEST:
        raise InvalidRequest("the recording time must be a time span such as 15m, up to 24h", param="for")
    now, file = time.time(), orders_file()
    orders = read_orders(file, now)
    if len(orders) >= MAX_ORDERS:
        raise InvalidRequest(f"{MAX_ORDERS} recordings are already running; stop one of them", param="for")
    only: Literal["all", "errors"] = "errors" if errors else "all"
    order = RecordingOrder(secrets.token_hex(4), now + seconds, key, model, only, share, by)
    write_orders(file, [*orders, order])
    return order


def write_orders(file: Path, orders: list[RecordingOrder]) -> None:
    """Replaces the orders atomically, in a file that only this user can read. Raises OSError."""
    write_private(file, msgspec.json.encode(orders))


def order_of_settings(settings: ServerSettings) -> list[RecordingOrder]:
    """The order that `[server] record` asks for, if any."""
    return [] if settings.record == "off" else [RecordingOrder("settings", only=settings.record, by="settings")]
