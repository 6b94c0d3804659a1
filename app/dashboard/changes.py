"""Checks that a change comes from one of our forms and from somebody who may make it, and logs it."""

from __future__ import annotations

import logging

from flask import request

from app.blueprints.forms import read_form
from app.dashboard.visitors import COOKIE, Visitor, find_visitor, is_signed, sign
from app.errors import Forbidden
from app.logs import clean_line

log = logging.getLogger("dragoman.dashboard")

_LONGEST = 300


def form_mark() -> str:
    """The token in each of our forms, which nobody without the visitor's cookie can make."""
    return sign(_form_mark())


def check_change(*, by_anybody: bool = False) -> Visitor:
    """The visitor who sent this form. Raises Forbidden for a form that is not ours, and for a visitor who is no admin,
    unless the change is open to everybody."""
    visitor = find_visitor()
    origin = request.headers.get("origin")
    # An origin in server.cors_origins may use the API, but not these pages.
    if origin is not None and origin.partition("://")[2] != request.host:
        raise Forbidden("another site's page sent this; open the dashboard itself and try again")
    if not is_signed(_form_mark(), read_form().get("csrf", "")):
        raise Forbidden("this form has expired; reload the page and try again")
    if not (by_anybody or visitor.is_admin):
        raise Forbidden("only an admin may change this; sign in with an admin's key")
    return visitor


def log_change(visitor: Visitor, what: str) -> None:
    """Logs who did what, and from where."""
    log.info("dashboard: %s at %s %s", name_visitor(visitor), request.remote_addr or "-", clean_line(what[:_LONGEST]))


def name_visitor(visitor: Visitor) -> str:
    return visitor.key or "the user of this machine"


def _form_mark() -> str:
    return "form " + request.cookies.get(COOKIE, "")[:_LONGEST]
