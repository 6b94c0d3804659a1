"""Decides who may see what the gateway knows about requests, and answers such queries."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from flask import Response, request

from app.blueprints.views import services
from app.errors import Forbidden
from app.headers import read_headers
from app.known_secrets import known_secrets

# Headers that proxies add. Behind a proxy, a local address is only the proxy's.
_FORWARDED = ("HTTP_FORWARDED", "HTTP_X_FORWARDED_FOR", "HTTP_X_REAL_IP", "HTTP_VIA")


def json_view(*, to_admins: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Response]]:
    """Makes a view of a function, and sends as JSON what it returns. The function gets the filter for the rows that the
    caller may see, and the variable parts of the path."""

    def decorate(answer: Callable[..., Any]) -> Callable[..., Response]:
        @functools.wraps(answer)
        def view(**parts: Any) -> Response:
            own = own_rows()
            if to_admins and own:
                raise Forbidden("only an admin may see this; send an admin's key")
            body = known_secrets.mask_bytes(msgspec.json.encode(answer(own, **parts), enc_hook=str))
            return Response(body, content_type="application/json", headers={"cache-control": "no-store"})

        return view

    return decorate


def own_rows() -> Mapping[str, str]:
    """The filter for rows that the caller may see: empty for an admin, the client's own tenant for a client.

    If no client keys are configured, every local caller is an admin, and others see nothing. Raises Unauthorized or
    Forbidden.
    """
    access = services().access
    if access.demands_key:
        key = access.check_key(read_headers(request.environ))
        return {} if key.role == "admin" else {"tenant": key.tenant}
    check_local()
    return {}


def check_local() -> None:
    """Raises Forbidden for a caller without a key on another machine."""
    if not is_local(request.environ):
        raise Forbidden(
            "without client keys, this is shown only on the gateway's own machine; "
            "to see it elsewhere, set server.api_keys"
        )


def is_own(tenant: str, own: Mapping[str, str]) -> bool:
    """Whether a caller with the filter `own`, from `own_rows`, may see this tenant's data."""
    return own.get("tenant", tenant) == tenant


def is_local(environ: Mapping[str, Any]) -> bool:
    """Whether a request comes from this machine, as far as can be known. False behind a proxy."""
    if any(name in environ for name in _FORWARDED):
        return False
    peer = environ.get("REMOTE_ADDR", "")
    try:
        return not peer or ipaddress.ip_address(peer).is_loopback
    except ValueError:
        return False
