"""Decides who may see what this gateway knows of its requests, and answers them."""

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

# What proxies add: behind one, an address of this machine is the proxy's.
_FORWARDED = ("HTTP_FORWARDED", "HTTP_X_FORWARDED_FOR", "HTTP_X_REAL_IP", "HTTP_VIA")


def tell(answer: Callable[[Mapping[str, str]], Any], *, to_admins: bool = False) -> Response:
    """What `answer` finds among the rows that the asker may see, as JSON; else the refusal."""
    try:
        own = own_rows()
        if to_admins and own:
            raise Forbidden("this is told to an admin alone")
        body = known_secrets.mask_bytes(msgspec.json.encode(answer(own), enc_hook=str))
    except DragomanError as error:
        return refuse(family(), error.failure)
    return Response(body, content_type="application/json", headers={"cache-control": "no-store"})


def own_rows() -> Mapping[str, str]:
    """What narrows rows to those that the asker may see: nothing for an admin, a client's own key for a client.

    Where no keys are demanded, whoever sits at this machine is the admin, and nobody else sees anything. Raises
    Unauthorized or Forbidden.
    """
    access = services().access
    if access.demands_key:
        key = access.check_key(read_headers(request.environ))
        return {} if key.role == "admin" else {"tenant": key.tenant}
    if not is_local(request.environ):
        raise Forbidden("without client keys this is shown on the gateway's own machine only; set server.api_keys")
    return {}


def is_local(environ: Mapping[str, Any]) -> bool:
    """Whether a request comes from this very machine, as far as can be told."""
    if any(name in environ for name in _FORWARDED):
        return False
    peer = environ.get("REMOTE_ADDR", "")
    try:
        return not peer or ipaddress.ip_address(peer).is_loopback
    except ValueError:
        return False
