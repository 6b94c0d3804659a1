"""Authenticates clients, and protects a local server from web pages."""

from __future__ import annotations

import hashlib
import ipaddress
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from app.errors import Forbidden, Unauthorized
from app.gateway.client_access.client_keys import ANYBODY, ClientKey, read_key
from app.gateway.client_access.tenants import TenantMarks
from app.headers import HeaderFields
from app.settings import KeySettings, ServerSettings
from app.settings.checks.keys import HASH_MARK, hash_key
from app.settings.network import is_loopback

KEY_HEADERS = ("x-api-key", "api-key", "x-goog-api-key")
# Headers that carry the gateway's key, or anything else that an upstream must not see.
PRIVATE_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization", *KEY_HEADERS})
MAX_KNOWN_HOSTS = 64
SESSION_HEADERS = ("x-claude-code-session-id", "session-id", "session_id", "x-session-id")
MAX_QUOTED = 100
# Methods that change nothing. Pages may use them, since they cannot read the answers.
READING = frozenset({"GET", "HEAD", "OPTIONS"})
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]", "::1"})


class Admission(NamedTuple):
    """The admitted client. `session` is the client's session, if it names one; `client_headers` are the headers that
    providers may see. `plans` are the plans for requests with these headers; None until the headers are repeated."""

    key: ClientKey
    session: str | None
    client_headers: Mapping[str, str]
    plans: dict[tuple[str, bool], Any] | None = None


class Access:
    """The rules of one configuration."""

    def __init__(
        self,
        settings: ServerSettings,
        marks: TenantMarks | None = None,
        keys: Mapping[str, KeySettings] = {},
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`keys` are the keys of `[keys]` by name. `clock` returns unix time."""
        self._clock = clock
        self._marks = marks or TenantMarks(b"")
        # By hash, so that a look-up takes as long for thousands of keys as for one, and its duration reveals nothing.
        self._keys: dict[str, ClientKey] = {}
        for number, key in enumerate(settings.api_keys):
            self._keys[hash_key(key)] = ClientKey(name=f"api_keys[{number}]", tenant=self._marks.mark(key))
        for name, row in keys.items():
            self._keys[hash_key(row.key)] = read_key(name, self.mark(name), row)
        self._made: Mapping[str, ClientKey] = {}
        # Identifies the current rules and keys in cached decisions; replaced when keys change.
        self._judge = object()
        self._hosts = frozenset(host.lower() for host in settings.allowed_hosts)
        self._origins = frozenset(settings.cors_origins)
        self._known_hosts: set[str] = set()
        # Host names are checked on loopback, and wherever no key is required: a foreign page has no key.
        self._on_loopback = is_loopback(settings.host)
        self._names_matter = self._on_loopback or not self._keys

    def admit(self, headers: HeaderFields) -> Admission:
        """Identifies the client by the request's headers; the result is cached for the same headers. Raises Forbidden,
        Unauthorized."""
        judge, known = headers.admission
        if judge is self._judge:
            admission: Admission = known
            return admission
        self.check_host(headers.get("host", ""))
        key = self.check_key(headers)
        session = next((headers[name] for name in SESSION_HEADERS if name in headers), None)
        admission = Admission(key, session, self.client_headers(headers))
        if key.expires is None:  # a key that expires is checked at each request
            headers.admission = self._judge, admission._replace(plans={})
        return admission

    def mark(self, name: str) -> str:
        """The tenant of a named key. It depends on the name only, so that data survives a change of the key."""
        return self._marks.mark(f"keys.{name}")

    def set_made_keys(self, keys: Mapping[str, ClientKey]) -> None:
        """Sets the keys made by `dragoman keys`, by hash. Keys in the configuration take precedence."""
        self._made = keys
        self._judge = object()

    def limited_keys(self) -> list[ClientKey]:
        """The enabled keys with limits, those of the configuration first."""
        return [key for key in (*self._keys.values(), *self._made.values()) if key.limits and not key.disabled]

    def find_hashed(self, tenant: str) -> dict[str, ClientKey]:
        """The valid keys of a tenant, by hash, since a rotated key has the tenant of its predecessor."""
        now, found = self._clock(), {**self._made, **self._keys}
        return {digest: key for digest, key in found.items() if key.tenant == tenant and key.is_good(now)}

    @property
    def demands_key(self) -> bool:
        return bool(self._keys or self._made)

    def check_host(self, host: str, *, keyless: bool = False) -> None:
        """Refuses host names that a foreign page may have pointed at this machine (DNS rebinding).

        An address cannot be such a name: a page loaded by address came from that address. If the server is not bound to
        loopback, a key makes up for an unknown name, since no foreign page has one. A `keyless` request must use one of
        our names, or one without a dot, which nobody can register. Raises Forbidden.
        """
        if host in self._known_hosts:
            return
        name = host.lower()
        before, colon, port = name.rpartition(":")
        name = before if colon and port.isdecimal() and (not before.startswith("[") or before.endswith("]")) else name
        own = name in LOOPBACK_NAMES or name in self._hosts or host.lower() in self._hosts
        if not own and not self._hosts and not self._on_loopback:
            own = _is_address(name)
        if own and len(self._known_hosts) < MAX_KNOWN_HOSTS:
            self._known_hosts.add(host)
        if not own and (self._hosts or self._names_matter or (keyless and "." in name)):
            raise Forbidden(f"host {host!r} is not served here; if it should be, add it to server.allowed_hosts")

    def check_page(self, method: str, headers: Mapping[str, str]) -> None:
        """Refuses requests that another site's page makes the user's browser send: any page can send a POST to a local
        server, and needs no answer to do harm. Browsers say where a request comes from; other programs do not.
        `headers` is a WSGI environ. Raises Forbidden."""
        if method in READING:
            return
        origin, site = headers.get("HTTP_ORIGIN"), headers.get("HTTP_SEC_FETCH_SITE")
        if origin is not None and (origin in self._origins or "*" in self._origins):
            return
        own = origin is None or origin.partition("://")[2] == headers.get("HTTP_HOST")
        if not own or site not in (None, "same-origin", "none"):
            raise Forbidden(
                f"another site's page sent this ({(origin or site or '')[:MAX_QUOTED]!r}); "
                "add its origin to server.cors_origins if it may"
            )

    def cors_headers(self, origin: str | None) -> list[tuple[str, str]]:
        """The headers that let a page of `origin` read an answer; none if the origin is not configured."""
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
        """The headers of the answer to a browser's CORS preflight request."""
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

    def check_key(self, headers: Mapping[str, str]) -> ClientKey:
        """Returns the first valid key in the request's headers, or ANYBODY if no key is required. Raises
        Unauthorized."""
        if not (self._keys or self._made):
            return ANYBODY
        given = [headers[name] for name in KEY_HEADERS if name in headers]
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            given.append(token.strip())
        late: ClientKey | None = None
        for candidate in given:
            hashed = HASH_MARK + hashlib.sha256(candidate.encode("utf-8", "replace")).hexdigest()
            found = self._keys.get(hashed) or self._made.get(hashed)
            if found is None:
                continue
            if found.expires is None and not found.disabled:
                return found
            try:
                found.check_time(self._clock())
            except Unauthorized:
                late = found
            else:
                return found
        if late is not None:
            late.check_time(self._clock())
        what = "the client key is wrong" if any(given) else "a client key is required"
        raise Unauthorized(
            f"{what}: send one of server.api_keys, [keys] or `dragoman keys` as API key (`Authorization: Bearer …`)",
            code="invalid_api_key",
        )

    def client_headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """The headers that providers may see. Credentials are included only if this gateway requires no keys."""
        if self.demands_key:
            return {name: value for name, value in headers.items() if name not in PRIVATE_HEADERS}
        return {name: value for name, value in headers.items() if name != "cookie"}


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
