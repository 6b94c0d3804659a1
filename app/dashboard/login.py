"""Web pages that log a provider in and out.

A login replaces the account that every client of this gateway uses. So a gateway that requires client keys requires one
here too, and every change is a POST that no other site can send.
"""

from __future__ import annotations

from typing import Any, cast

from flask import Blueprint, Response, current_app, redirect, request

from app.blueprints.forms import read_form
from app.blueprints.views import has_key, services
from app.credentials.oauth.login_choice import list_logins, offer_logins
from app.credentials.oauth.login_flow import LoginFailed
from app.credentials.oauth.pending_login import read_pasted
from app.credentials.oauth.web_logins import CALLBACK_PATHS, Logins, WebLogins
from app.dashboard.rendering import PAGE_HEADERS, render
from app.errors import ClientError, Forbidden
from app.gateway.client_access.access import LOOPBACK_NAMES

blueprint = Blueprint("login", __name__)

# A form on these pages redirects to an issuer, which is another site.
HEADERS = {
    **PAGE_HEADERS,
    "content-security-policy": PAGE_HEADERS["content-security-policy"].partition("; form-action")[0],
}


@blueprint.get("/login")
def ask_login() -> Response:
    """Redirects to the issuer if no choice is needed, else shows a page with the choices."""
    logins = offered()
    name = request.args.get("provider") or (next(iter(logins)) if len(logins) == 1 else None)
    if not logins:
        return show("Login", "No provider of this gateway uses a login.", 404)
    if name is not None and name not in logins:
        return show("Login", f"No provider named {name} uses a login.", 404)
    if name is None or not has_key(to_manage=True):
        return show_choice("Login", "/login", [name] if name else list(logins))
    return send_to_issuer(name, logins)


@blueprint.post("/login")
def begin_login() -> Response:
    logins = offered()
    name = check_form(logins)
    return send_to_issuer(name, logins)


@blueprint.post("/callback")
def read_pasted_code() -> Response:
    """Finishes a login with the code pasted by a user whose browser cannot return here."""
    form = read_form()
    query = read_pasted(form.get("pasted", ""))
    return finish({"state": form.get("state", ""), **query})


def read_callback() -> Response:
    """Finishes a login when the browser returns from its issuer."""
    return finish(request.args.to_dict())


for path in CALLBACK_PATHS:
    blueprint.add_url_rule(path, view_func=read_callback, methods=["GET"])


@blueprint.get("/logout")
def ask_logout() -> Response:
    """Only asks, because any page can cause a GET."""
    logins = list_logins(services().settings.providers)
    if not logins:
        return show("Logout", "No provider of this gateway uses a login.", 404)
    return show_choice("Logout", "/logout", list(logins))


@blueprint.post("/logout")
def log_out() -> Response:
    logins = list_logins(services().settings.providers)
    name = check_form(logins)
    try:
        web_logins().log_out(name, logins)
    except OSError as error:
        return show("Logout Failed", f"Cannot remove the login of {name}: {error.strerror or error}", 500)
    return show("Logged Out", f"The login of {name} was removed from this machine.")


@blueprint.errorhandler(ClientError)
def refuse_page(error: ClientError) -> Response:
    return show("Not Allowed", str(error), error.failure.http_status)


def offered() -> Logins:
    """The available logins. Without a settings file logins are detected automatically, so all are offered."""
    settings = services().settings
    return offer_logins(settings.providers) if settings.source is None else list_logins(settings.providers)


def send_to_issuer(name: str, logins: Logins) -> Response:
    begun = web_logins().begin(name, logins, local_port())
    if begun.returns:
        return dress(cast(Response, redirect(begun.pending.authorize_url)))
    pending = begun.pending
    return show(f"Sign in to {name}", url=pending.authorize_url, state=pending.state)


def finish(query: dict[str, str]) -> Response:
    try:
        web_logins().finish(query, offered())
    except LoginFailed as error:
        return show(error.title, str(error), 400)
    return show("Login Successful!", "You can close this window.")


def check_form(logins: Logins) -> str:
    """The provider named in a form. Raises Forbidden or Unauthorized if the sender may not send it. `Access.check_page`
    checks for all requests that a page of ours sent them."""
    if not has_key(to_manage=True):
        key = services().access.check_key({"x-api-key": read_form().get("key", "")})
        if not key.may_manage:
            raise Forbidden(f"the key {key.name!r} may only use models; use an admin key to change a login")
    name = read_form().get("provider") or next(iter(logins), "")
    if name not in logins:
        raise Forbidden(f"no provider named {name} uses a login")
    return name


def local_port() -> int | None:
    """The port by which a browser on this machine reached us; None for a browser elsewhere.

    `?paste` says that it is elsewhere after all: a container's ports look local from outside.
    """
    if "paste" in request.args:
        return None
    host = request.host
    name, _, port = host.rpartition(":") if not host.endswith("]") and ":" in host else (host, "", "")
    return int(port or 80) if name in LOOPBACK_NAMES else None


def show_choice(title: str, action: str, names: list[str]) -> Response:
    return show(title, action=action, names=names, asks_key=not has_key())


def show(title: str, message: str = "", status: int = 200, **values: Any) -> Response:
    nothing = {"names": [], "url": ""}
    return dress(render("login.html", status, title=title, message=message, **{**nothing, **values}))


def dress(response: Response) -> Response:
    response.headers.update(HEADERS)
    return response


def web_logins() -> WebLogins:
    return cast(WebLogins, current_app.extensions["dragoman.logins"])
