"""Who may see what this gateway knows of its requests."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from flask import request

from app.blueprints.views import services
from app.errors import Forbidden
from app.headers import read_headers

# What proxies add: behind one, an address of this machine is the proxy's.
_FORWARDED = ("HTTP_FORWARDED", "HTTP_X_FORWARDED_FOR", "HTTP_X_REAL_IP", "HTTP_VIA")


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
