"""Decides who may see what the gateway knows about requests, and answers such queries."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from flask import Response, request

from app.blueprints.views import family, refuse, services
from app.errors import DragomanError, Forbidden
from app.headers import read_headers
from app.known_secrets import known_secrets

# Headers that proxies add. Behind a proxy, a local address is only the proxy's.
_FORWARDED = ("HTTP_FORWARDED", "HTTP_X_FORWARDED_FOR", "HTTP_X_REAL_IP", "HTTP_VIA")


def render_json(answer: Callable[[Mapping[str, str]], Any], *, to_admins: bool = False) -> Response:
    """The result of `answer` as JSON, or the refusal. `answer` gets the filter for the rows that the caller may see."""
    try:
        own = own_rows()
        if to_admins and own:
            raise Forbidden("only an admin may see this; send an admin's key")
        body = known_secrets.mask_bytes(msgspec.json.encode(answer(own), enc_hook=str))
    except DragomanError as error:
        return refuse(family(), error.failure)
    return Response(body, content_type="application/json", headers={"cache-control": "no-store"})


def own_rows() -> Mapping[str, str]:
    """The filter for rows that the caller may see: empty for an admin, the client's own tenant for a client.

    If no client keys are configured, every local caller is an admin, and others see nothing. Raises Unauthorized or
    Forbidden.
    """
    access = services().access
    if access.demands_key:
        key = access.check_key(read_headers(request.environ))
        return {} if key.role == "admin" else {"tenant": key.tenant}
    if not is_local(request.environ):
        raise Forbidden(
            "without client keys, this is shown only on the gateway's own machine; "
            "to see it elsewhere, set server.api_keys"
        )
    return {}


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
