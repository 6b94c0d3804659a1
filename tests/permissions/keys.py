"""Client keys of an admin and of two others."""

from app.settings import KeySettings

KEYS = {
    "admin": KeySettings(key="key-of-admin", role="admin"),
    "ana": KeySettings(key="key-of-ana-1"),
    "bob": KeySettings(key="key-of-bob-1"),
}
