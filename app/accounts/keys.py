"""Stores client keys made by command, as rows in the accounts' database that hold only a key's hash."""

from __future__ import annotations

import secrets
from pathlib import Path

import msgspec

from app.errors import InvalidRequest
from app.settings import KeySettings
from app.settings.checks.keys import hash_key
from app.sql import Connection, list_marks

PREFIX = "dm-"
# Characters of a key that lists show, so that its owner recognises it.
_SHOWN = 8
# Touched at each change, so that workers need not open a local database to find that nothing has changed.
STAMP_NAME = "keys.stamp"


class MadeKey(msgspec.Struct, frozen=True):
    """One key of a name. During a rotation, a name has two. Times are unix time; `settings.key` is the hash; `by` says
    who made it, and is empty for keys of earlier versions."""

    name: str
    hint: str
    settings: KeySettings
    made: float
    expires: float | None = None
    disabled: bool = False
    by: str = ""

    def is_over(self, now: float) -> bool:
        return self.disabled or (self.expires is not None and self.expires <= now)

    def state(self, now: float) -> str:
        return "disabled" if self.disabled else "expired" if self.is_over(now) else "valid"


class _Maker(msgspec.Struct):
    """What is stored with a key's settings besides them."""

    by: str = ""


def create_key(connection: Connection, name: str, settings: KeySettings, now: float, by: str) -> str:
    """Creates and returns a key, which cannot be read again; `by` says who asks for it. Raises InvalidRequest if the
    name has a valid key."""
    connection.lock("client_key")
    if any(not key.is_over(now) for key in list_keys(connection, name)):
        raise InvalidRequest(f"a key named {name} already exists; to replace it, run `dragoman keys rotate {name}`")
    expires = settings.expires.timestamp() if settings.expires is not None else None
    return _insert(connection, name, settings, expires, now, by)


def rotate_key(connection: Connection, name: str, overlap: float, now: float, by: str) -> str:
    """Creates and returns a key with the rights and limits of the old one, which stays valid for `overlap` seconds.

    Raises InvalidRequest if no key of this name is valid."""
    connection.lock("client_key")
    valid = [key for key in list_keys(connection, name) if not key.is_over(now)]
    if not valid:
        raise InvalidRequest(f"no valid key is named {name}; `dragoman keys list` shows all")
    latest = valid[-1]
    for key in valid:
        end = now + overlap if key.expires is None else min(key.expires, now + overlap)
        connection.execute(
            "UPDATE client_key SET expires = ?, changed = ? WHERE hash = ?",
            (round(end * 1000), _stamp(connection, now), key.settings.key),
        )
    return _insert(connection, name, latest.settings, latest.expires, now, by)


def disable_key(connection: Connection, name: str, now: float) -> int:
    """Disables all keys of a name. Returns how many there were."""
    connection.lock("client_key")
    ended = "UPDATE client_key SET disabled = 1, changed = ? WHERE name = ? AND disabled = 0"
    return int(connection.execute(ended, (_stamp(connection, now), name)).rowcount)


def list_keys(connection: Connection, name: str | None = None) -> list[MadeKey]:
    """The keys of one name, or of all, in the order of creation."""
    theirs, values = ("", ()) if name is None else ("WHERE name = ? ", (name,))
    columns = "name, hint, settings, made, expires, disabled"
    return [
        MadeKey(
            name=owner,
            hint=hint,
            settings=msgspec.json.decode(settings, type=KeySettings),
            made=made / 1000,
            expires=None if expires is None else expires / 1000,
            disabled=bool(disabled),
            by=msgspec.json.decode(settings, type=_Maker).by,
        )
        for owner, hint, settings, made, expires, disabled in connection.tuples(
            f"SELECT {columns} FROM client_key {theirs}ORDER BY made", values
        )
    ]


def read_version(connection: Connection) -> tuple[int, int]:
    """A value that differs after each change."""
    ((count, changed),) = connection.tuples("SELECT count(*), max(changed) FROM client_key")
    return count, changed or 0


def touch_stamp(place: Path | str) -> None:
    """Signals the workers of this host that keys have changed. With Postgres, they look into the database instead."""
    if isinstance(place, Path):
        place.with_name(STAMP_NAME).touch(mode=0o600)


def _insert(
    connection: Connection, name: str, settings: KeySettings, expires: float | None, now: float, by: str
) -> str:
    key = PREFIX + secrets.token_urlsafe(32)
    hashed = hash_key(key)
    stored = msgspec.to_builtins(msgspec.structs.replace(settings, key=hashed, expires=None))
    row = {
        "hash": hashed,
        "name": name,
        "hint": key[:_SHOWN],
        "settings": msgspec.json.encode({**stored, "by": by}).decode(),
        "made": round(now * 1000),
        "expires": None if expires is None else round(expires * 1000),
        "disabled": 0,
        "changed": _stamp(connection, now),
    }
    connection.execute(
        f"INSERT INTO client_key ({', '.join(row)}) VALUES ({list_marks(tuple(row))})", tuple(row.values())
    )
    return key


def _stamp(connection: Connection, now: float) -> int:
    """A number for a change, higher than those of all changes before, even if the clock was set back."""
    _, last = read_version(connection)
    return max(round(now * 1e6), last + 1)
