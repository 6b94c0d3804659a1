"""Decides who may ask: client keys, and guards against web pages that reach for a local server."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Mapping

from app.errors import Forbidden, Unauthorized
from app.settings import ServerSettings

KEY_HEADERS = ("x-api-key", "api-key", "x-goog-api-key")
# These carry the gateway's own key, or nothing that an upstream should see.
PRIVATE_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization", *KEY_HEADERS})
MOST_KNOWN_HOSTS = 64
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]", "::1"})


class Access:
    """The rules of one configuration."""

    def __init__(self, settings: ServerSettings) -> None:
        self._tenants = {key.encode(): hashlib.sha256(key.encode()).hexdigest() for key in settings.api_keys}
        self._names = {tenant: f"api_keys[{number}]" for number, tenant in enumerate(self._tenants.values())}
        self._hosts = frozenset(host.lower() for host in settings.allowed_hosts)
        self._origins = frozenset(settings.cors_origins)
        self._known_hosts: set[str] = set()
        self._loopback_only = _is_loopback(settings.host) and not settings.trusted_proxies

    def name_key(self, tenant: str) -> str | None:
        """How the log names a client's key: by its place in the settings."""
        return self._names.get(tenant)

    @property
    def demands_key(self) -> bool:
        return bool(self._tenants)

    def check_host(self, host: str) -> None:
        """Refuses names that a page elsewhere may have pointed at this machine (DNS rebinding).

        Only a server on loopback knows which names are right; behind a proxy the proxy does. Raises Forbidden.
        """
        if host in self._known_hosts:
            return
        name = host.lower()
        name = name[: name.rindex("]") + 1] if name.startswith("[") and "]" in name else name.partition(":")[0]
        own = name in LOOPBACK_NAMES or name in self._hosts or host.lower() in self._hosts
        if own and len(self._known_hosts) < MOST_KNOWN_HOSTS:
            self._known_hosts.add(host)
        if not own and (self._hosts or self._loopback_only):
            raise Forbidden(f"host {host!r} is not served here; add it to server.allowed_hosts if it should be")

    def cors_headers(self, origin: str | None) -> list[tuple[str, str]]:
        """What lets a page of `origin` read an answer; nothing for an origin that is not configured."""
        if origin is None or not (origin in self._origins or "*" in self._origins):
            return []
        return [
            ("access-control-allow-origin", origin),
            (
                "access-control-expose-headers",
                "x-request-id, request-id, retry-after, x-dragoman-dropped, x-dragoman-lowered",
            ),
            ("vary", "origin"),
        ]

    def preflight_headers(self, origin: str | None) -> list[tuple[str, str]]:
        """The answer to a browser that asks before it sends."""
        allowed = self.cors_headers(origin)
        if not allowed:
            return []
        methods = ("access-control-allow-methods", "GET, POST, DELETE, OPTIONS")
        return [
            *allowed,
            methods,
            ("access-control-allow-headers", "*, authorization"),
            ("access-control-max-age", "600"),
        ]

    def check_key(self, headers: Mapping[str, str]) -> str:
        """Accepts a request when any of its headers carries a valid key, and answers with the name under which its
        things are kept: a hash of the key, empty where none is demanded. Raises Unauthorized."""
        if not self._tenants:
            return ""
        given = [headers[name].encode() for name in KEY_HEADERS if name in headers]
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            given.append(token.strip().encode())
        found = None
        for key, tenant in self._tenants.items():
            for candidate in given:
                if hmac.compare_digest(key, candidate):
                    found = tenant
        if found is None:
            what = "the client key is wrong" if any(given) else "a client key is required"
            raise Unauthorized(
                f"{what}: send one of server.api_keys as the API key (`Authorization: Bearer …`)",
                code="invalid_api_key",
            )
        return found

    def client_headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """What providers may look at. Credentials are left only when none of them is a key of this gateway."""
        if self._tenants:
            return {name: value for name, value in headers.items() if name not in PRIVATE_HEADERS}
        return {name: value for name, value in headers.items() if name != "cookie"}


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
