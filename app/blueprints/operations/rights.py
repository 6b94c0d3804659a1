"""Decides who may see what the gateway knows about requests, and answers such queries."""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
from flask import Response, copy_current_request_context, request

from app.blueprints.views import services
from app.errors import DragomanError, Forbidden
from app.headers import read_headers
from app.known_secrets import known_secrets

# Headers that proxies add. Behind a proxy, a local address is only the proxy's.
_FORWARDED = ("HTTP_FORWARDED", "HTTP_X_FORWARDED_FOR", "HTTP_X_REAL_IP", "HTTP_VIA")
# Seconds for which a caller's rights are taken as known while a stream is sent.
RIGHTS_HOLD = 2.0


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


def while_allowed(find_rights: Callable[[], object], parts: Iterator[bytes]) -> Iterator[bytes]:
    """The same stream, which ends once `find_rights` no longer answers as it does now: the key was revoked, has expired
    or has another role. Clients that still may see something connect again."""
    before, find_again, asked = find_rights(), copy_current_request_context(find_rights), time.monotonic()

    def is_allowed() -> bool:
        with contextlib.suppress(DragomanError):
            return find_again() == before
        return False

    def checked() -> Iterator[bytes]:
        nonlocal asked
        for part in parts:
            if time.monotonic() - asked >= RIGHTS_HOLD:
                if not is_allowed():
                    return
                asked = time.monotonic()
            yield part

    return checked()


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
