"""Signs visitors in: with a one-time token of this machine, or with a client key."""

from __future__ import annotations

import logging
import secrets
import time

from flask import Blueprint, Response, request

from app.blueprints.forms import read_form
from app.blueprints.operations.refusals import not_found
from app.blueprints.operations.rights import is_local
from app.blueprints.views import services
from app.dashboard.rendering import PAGE_HEADERS, find_version, redirect_to, render
from app.dashboard.tickets import redeem_ticket
from app.dashboard.visitors import COOKIE_PATH, admit, dismiss, is_signed, sign
from app.errors import DragomanError, Forbidden, NotFound, TooMany, Unauthorized
from app.settings.checks.keys import hash_key

log = logging.getLogger("dragoman.dashboard")

blueprint = Blueprint("dashboard_sign_in", __name__, url_prefix="/_", static_folder="static", static_url_path="/static")

# The cookie with one half of the form's mark; the other half is in the form.
FORM_COOKIE = "dragoman_form"
# Maximum wrong tries per address and minute on each worker, and addresses that are remembered.
MAX_TRIES = 5
PERIOD = 60.0
MAX_ADDRESSES = 1000

_tries: dict[str, list[float]] = {}


def need_dashboard() -> Response | None:
    """Runs before each page: 404 if the dashboard is switched off."""
    return None if services().settings.server.dashboard else not_found(NotFound("no dashboard"))


def show_error(error: DragomanError) -> Response:
    """A page with the error, or the sign-in page for a visitor who has not signed in."""
    if isinstance(error, Unauthorized):
        return show_form(str(error), 401)
    return render("message.html", error.failure.http_status, message=str(error))


def show_form(message: str = "", status: int = 200) -> Response:
    takes_key = services().access.demands_key
    mark = secrets.token_urlsafe(24)
    shown = render("sign_in.html", status, message=message, takes_key=takes_key, csrf=sign(mark) if takes_key else "")
    if takes_key:
        shown.set_cookie(
            FORM_COOKIE, mark, path=COOKIE_PATH, httponly=True, samesite="Strict", secure=request.is_secure
        )
    return shown


@blueprint.after_request
def dress(response: Response) -> Response:
    """Sets the page headers. Static files may be cached, for ever if the URL contains their hash."""
    kept = None
    if request.endpoint == "dashboard_sign_in.static":
        marked = request.args.get("v") == find_version((request.view_args or {}).get("filename", ""))
        kept = "public, max-age=31536000, immutable" if marked else response.headers.get("cache-control")
    response.headers.update(PAGE_HEADERS)
    if kept is not None:
        response.headers["cache-control"] = kept
    return response


@blueprint.get("/sign-in")
def ask() -> Response:
    return show_form()


@blueprint.get("/enter")
def enter() -> Response:
    """Signs in with the token that `dragoman dashboard` printed. A browser's prefetch (HEAD) does not use it up."""
    if services().access.demands_key:
        raise Unauthorized("this gateway requires a client key; sign in with one")
    if not is_local(request.environ):
        raise Forbidden("sign-in links work only on the gateway's own machine")
    address = request.remote_addr or ""
    _check_tries(address)
    if request.method == "HEAD" or not redeem_ticket(request.args.get("token", "")):
        if request.method != "HEAD":
            _count_try(address)
        raise Unauthorized("this link was already used or has expired; run `dragoman dashboard` again")
    log.info("somebody at %s signed in to the dashboard with a token", address)
    return admit(redirect_to(COOKIE_PATH))


@blueprint.post("/sign-in")
def sign_with_key() -> Response:
    access, address = services().access, request.remote_addr or ""
    if not access.demands_key:
        raise Forbidden("this gateway has no client keys; run `dragoman dashboard` on its machine")
    form = read_form()
    mark = request.cookies.get(FORM_COOKIE, "")[:100]
    if not mark or not is_signed(mark, form.get("csrf", "")):
        raise Forbidden("this form has expired; reload the page and try again")
    _check_tries(address)
    try:
        shown = form.get("key", "").strip()
        key = access.check_key({"x-api-key": shown})
    except Unauthorized:
        _count_try(address)
        log.warning("a sign-in to the dashboard from %s failed: wrong key", address)
        raise Unauthorized("this is not a key of this gateway") from None
    log.info("%s signed in to the dashboard from %s", key.name, address)
    return admit(redirect_to(COOKIE_PATH), key.tenant, hash_key(shown))


@blueprint.post("/sign-out")
def sign_out() -> Response:
    """Removes the cookie. That a page of ours sent this is checked for all requests alike."""
    return dismiss(redirect_to(f"{COOKIE_PATH}sign-in"))


def _check_tries(address: str) -> None:
    """Raises TooMany after too many wrong tries."""
    now = time.monotonic()
    recent = [at for at in _tries.get(address, ()) if now - at < PERIOD]
    if len(recent) >= MAX_TRIES:
        raise TooMany("too many failed attempts; wait a minute")


def _count_try(address: str) -> None:
    now = time.monotonic()
    recent = [at for at in _tries.pop(address, ()) if now - at < PERIOD]
    while len(_tries) >= MAX_ADDRESSES:
        del _tries[next(iter(_tries))]
    _tries[address] = [*recent, now]


blueprint.before_request(need_dashboard)
blueprint.register_error_handler(DragomanError, show_error)
