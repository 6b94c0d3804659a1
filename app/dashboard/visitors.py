"""Identifies a dashboard visitor by cookie, what they may see, and the changes that they send by our forms."""

from __future__ import annotations

import hashlib
import hmac
import logging
import time
from collections.abc import Mapping
from typing import NamedTuple

from flask import Response, request

from app.blueprints.forms import read_form
from app.blueprints.operations.rights import check_local
from app.blueprints.views import services
from app.dashboard.tickets import read_cookie_secret
from app.errors import Forbidden, Unauthorized
from app.gateway.client_access.client_keys import ANYBODY, ClientKey
from app.logs import clean_line

COOKIE = "dragoman_dashboard"
# Browsers send the cookie to the pages but never to an API.
COOKIE_PATH = "/_/"
COOKIE_LIFE = 12 * 3600
_LONGEST = 300
log = logging.getLogger("dragoman.dashboard")


class Visitor(NamedTuple):
    """`own` restricts rows to those that the visitor may see; empty for an admin. `key` is the name of the client key
    that was shown, `client_key` its rights."""

    is_admin: bool
    own: Mapping[str, str]
    key: str = ""
    client_key: ClientKey = ANYBODY


def find_visitor() -> Visitor:
    """The sender of this request. Raises Unauthorized without a valid cookie, Forbidden for another machine if there
    are no keys."""
    access = services().access
    if not access.demands_key:
        check_local()
    signed = _read_cookie(request.cookies.get(COOKIE, "")[:_LONGEST])
    if signed is None:
        raise Unauthorized("sign in to see this")
    tenant, mark = signed
    if not access.demands_key:
        if tenant:
            raise Unauthorized("sign in to see this")
        return Visitor(is_admin=True, own={})
    hashed = access.find_hashed(tenant)
    key = next((key for digest, key in hashed.items() if is_signed(digest, mark)), None)
    if key is None:
        raise Unauthorized("the key you signed in with is no longer valid; sign in again")
    own = {} if key.role == "admin" else {"tenant": tenant}
    return Visitor(key.role == "admin", own, key.name, key)


def find_admin(what: str) -> Visitor:
    """The sender of this request. Raises Forbidden unless it is an admin, and as `find_visitor` does."""
    visitor = find_visitor()
    if not visitor.is_admin:
        raise Forbidden(f"only an admin may see {what}; sign in with an admin's key")
    return visitor


def admit(response: Response, tenant: str = "", digest: str = "") -> Response:
    """Sets the cookie for a visitor who has shown a token, or a key with the hash `digest`. The cookie contains only a
    mark of the hash: it ends with the key, and nobody can use it to guess keys."""
    message = f"{int(time.time()) + COOKIE_LIFE}.{tenant}.{sign(digest)}"
    response.set_cookie(
        COOKIE,
        f"{message}.{sign(message)}",
        max_age=COOKIE_LIFE,
        path=COOKIE_PATH,
        httponly=True,
        samesite="Strict",
        secure=request.is_secure,
    )
    return response


def dismiss(response: Response) -> Response:
    response.delete_cookie(COOKIE, path=COOKIE_PATH, httponly=True, samesite="Strict")
    return response


def sign(text: str) -> str:
    return hmac.new(_secret(), text.encode("utf-8", "replace"), hashlib.sha256).hexdigest()


def is_signed(text: str, signature: str) -> bool:
    return hmac.compare_digest(sign(text).encode(), signature.encode("utf-8", "replace"))


def _read_cookie(cookie: str) -> tuple[str, str] | None:
    """The tenant in a valid cookie of ours, and the mark of its key; None for any other."""
    signed, _, signature = cookie.rpartition(".")
    if not signed or not is_signed(signed, signature):
        return None
    match signed.split("."):
        case [until, tenant, mark] if int(until) > time.time():
            return tenant, mark
    return None  # expired, or a signed mark of something else


def _secret() -> bytes:
    """The secret that signs cookies. If no file can be stored it is derived from the keys; without keys nobody has a
    token anyway."""
    try:
        return read_cookie_secret()
    except (OSError, ValueError) as error:
        keys = services().settings.server.api_keys
        if not keys:
            raise Forbidden("the dashboard needs a data folder for the secret of its cookies") from error
        return hashlib.sha256("\0".join(("dashboard", *keys)).encode()).digest()


def form_mark() -> str:
    """The token in each of our forms, which nobody without the visitor's cookie can make."""
    return sign(_form_text())


def check_change(*, by_anybody: bool = False) -> Visitor:
    """The visitor who sent this form. Raises Forbidden for a form that is not ours, and for a visitor who is no admin,
    unless the change is open to everybody."""
    visitor = find_visitor()
    origin = request.headers.get("origin")
    # An origin in server.cors_origins may use the API, but not these pages.
    if origin is not None and origin.partition("://")[2] != request.host:
        raise Forbidden("another site's page sent this; open the dashboard itself and try again")
    if not is_signed(_form_text(), read_form().get("csrf", "")):
        raise Forbidden("this form has expired; reload the page and try again")
    if not (by_anybody or visitor.is_admin):
        raise Forbidden("only an admin may change this; sign in with an admin's key")
    return visitor


def log_change(visitor: Visitor, what: str) -> None:
    """Logs who did what, and from where."""
    log.info("dashboard: %s at %s %s", name_visitor(visitor), request.remote_addr or "-", clean_line(what[:_LONGEST]))


def name_visitor(visitor: Visitor) -> str:
    return visitor.key or "the user of this machine"


def _form_text() -> str:
    return "form " + request.cookies.get(COOKIE, "")[:_LONGEST]
