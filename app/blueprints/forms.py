"""Reads web forms. Since anybody may send them, only small ones are accepted, and few at a time."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl

from flask import request

from app.blueprints.bodies import read_body
from app.blueprints.turnstile import Turnstile
from app.errors import ClientError, TooLarge, UnsupportedEncoding

# A form contains a few names, and at most a pasted address with a code.
MAX_BYTES = 16 * 1024
MAX_FIELDS = 32
# The most forms that are read at a time: without a key, anybody can send one slowly.
MAX_AT_ONCE = 16

_TYPE = "application/x-www-form-urlencoded"


_reading = Turnstile(MAX_AT_ONCE, "too many forms are being sent at once; try again soon")


def read_form() -> Mapping[str, str]:
    """The fields of the request's form, which is read once. Raises ClientError."""
    kept: dict[str, str] | None = request.environ.get("dragoman.form")
    if kept is None:
        kept = request.environ["dragoman.form"] = _read()
    return kept


def _read() -> dict[str, str]:
    if request.mimetype not in ("", _TYPE):
        raise UnsupportedEncoding(f"a form must be sent as {_TYPE}")
    if (request.content_length or 0) > MAX_BYTES:
        raise TooLarge(f"a form may have at most {MAX_BYTES // 1024} KB")
    try:
        with _reading:
            body = read_body(request.environ["wsgi.input"], request.content_length, "identity", MAX_BYTES)
        return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MAX_FIELDS))
    except ValueError as error:
        raise ClientError(f"a form may have at most {MAX_FIELDS} fields") from error
