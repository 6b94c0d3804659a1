"""Client keys made by `dragoman keys`, as known to this worker."""

from __future__ import annotations

from pathlib import Path

import msgspec

from app.accounts.apart import AccountsThread
from app.accounts.keys import list_keys, read_version
from app.gateway.client_access.access import Access
from app.gateway.client_access.client_keys import ClientKey, read_key
from app.gateway.client_access.tenants import open_tenant_marks
from app.settings import Settings

# A file beside the accounts' file, touched by `dragoman keys`.
STAMP_NAME = "keys.stamp"


class MadeKeys:
    """The made keys. Without a stamp file there are none, and the local database is not opened for them. While the
    database cannot be read, the last known keys stay valid."""

    def __init__(self) -> None:
        self._seen: object = None
        self._rows: list[tuple[str, str, ClientKey]] = []

    def follow(self, accounts: AccountsThread | None) -> bool:
        """Reads the keys if they changed; returns whether they did. Raises AccountsUnavailable."""
        if accounts is None:
            return False
        version = self._look(accounts)
        if version == self._seen:
            return False

        rows = accounts.read(list_keys)
        self._rows = [
            (key.settings.key, key.name, msgspec.structs.replace(
                read_key(key.name, "", key.settings), expires=key.expires, disabled=key.disabled
            ))
            for key in rows
        ]  # fmt: skip
        self._seen = version
        return True

    def give(self, access: Access, settings: Settings) -> None:
        """Gives the made keys to `access`. A key of the same name in the configuration takes precedence."""
        if not self._rows:
            access.set_made_keys({})
            return
        marks = open_tenant_marks(settings)
        access.set_made_keys(
            {
                hashed: msgspec.structs.replace(key, tenant=marks.mark(f"keys.{name}"))
                for hashed, name, key in self._rows
                if name not in settings.keys
            }
        )

    def _look(self, accounts: AccountsThread) -> object:
        place = accounts.accounts.place
        if isinstance(place, Path):
            try:
                return place.with_name(STAMP_NAME).stat().st_mtime_ns
            except OSError:
                return None

        return accounts.read(read_version)
