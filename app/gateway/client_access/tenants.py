"""Derives tenant marks by a keyed hash, so that the ledger does not reveal client keys."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from app.settings import Settings, data_folder

SECRET_NAME = "tenants.key"
_LENGTH = 32


class TenantMarks:
    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def mark(self, key: str) -> str:
        """64 hex digits for a client's key; the same in all processes that share the ledger."""
        return hmac.new(self._secret, key.encode(), hashlib.sha256).hexdigest()


def open_tenant_marks(settings: Settings) -> TenantMarks:
    """Marks with a secret shared by all processes that share the ledger.

    A database's URL, with its password, is the secret. A local ledger has a file beside it that only its owner can
    read. If no file can be kept, nothing is stored either, and the client keys themselves serve as the secret.
    """
    if settings.ledger.url:
        return TenantMarks(hashlib.sha256(settings.ledger.url.encode()).digest())
    try:
        return TenantMarks(read_or_make_secret(data_folder() / SECRET_NAME))
    except (OSError, ValueError):
        return TenantMarks(hashlib.sha256("\0".join(settings.server.api_keys).encode()).digest())


def read_or_make_secret(path: Path) -> bytes:
    """The secret in a file, which is created atomically if missing, because workers start at the same time. Raises
    OSError or ValueError."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_bytes(_LENGTH))
            with contextlib.suppress(FileExistsError):
                os.link(fresh, path)
        finally:
            os.unlink(fresh)
    # A named pipe would wait for a writer.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        if os.fstat(file.fileno()).st_mode & 0o077:
            os.fchmod(file.fileno(), 0o600)
        secret = file.read(_LENGTH + 1)
    if len(secret) != _LENGTH:
        raise ValueError(f"{path} does not contain a secret of {_LENGTH} bytes; remove it to have a new one created")
    return secret
