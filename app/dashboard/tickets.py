"""One-time sign-in tokens for users of this machine, and the secret that signs cookies.

Both are files that only their owner can read: anyone who can create one could also read the credentials. All workers
and the command that makes a token share them.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import time
from pathlib import Path

from app.gateway.client_access.tenants import read_or_make_secret
from app.settings import data_folder

# Lifetime of a token in seconds.
TICKET_LIFE = 300.0
_LONGEST = 100


def issue_ticket() -> str:
    """A new token; its file is named by the token's hash. Raises OSError."""
    folder = _folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _sweep(folder)
    token = secrets.token_urlsafe(32)
    os.close(os.open(folder / _file_name(token), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    return token


def redeem_ticket(token: str) -> bool:
    """Whether the token is ours, fresh, and used for the first time; whoever removes its file has redeemed it."""
    path = _folder() / _file_name(token[:_LONGEST])
    try:
        made = path.stat().st_mtime
        path.unlink()
    except OSError:
        return False
    return 0 <= time.time() - made < TICKET_LIFE


def read_cookie_secret() -> bytes:
    """The secret that signs cookies, created on first use. Raises OSError or ValueError."""
    return read_or_make_secret(_folder() / "cookies.key")


def _folder() -> Path:
    return data_folder() / "dashboard"


def _file_name(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest() + ".ticket"


def _sweep(folder: Path) -> None:
    """Removes expired tokens."""
    old = time.time() - TICKET_LIFE
    for path in folder.glob("*.ticket"):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < old:
                path.unlink()
