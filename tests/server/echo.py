"""A small application that says what it was asked, or fails; it runs under gunicorn."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import gevent

from app.headers import FIELDS

# What each server makes anew; of these only the presence is compared.
OBJECTS = ("wsgi.input", "wsgi.errors", "wsgi.file_wrapper", "gunicorn.socket")

Start = Callable[[str, list[tuple[str, str]]], Any]


def application(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
    return ROUTES.get(environ["PATH_INFO"], tell)(environ, start)


def tell(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
    """The environment and the body, as JSON."""
    told = {key: type(value).__name__ if key in OBJECTS else value for key, value in environ.items()}
    told.pop(FIELDS, None)  # the same once more, for the gateway alone
    # A socket with bytes put back in front, or a body read at once, are as good as any other.
    told |= {"body": environ["wsgi.input"].read().decode("latin-1"), "gunicorn.socket": "there", "wsgi.input": "there"}
    told["fileno"] = environ["gunicorn.socket"].fileno() > 0
    # An offer of gunicorn's that nothing here takes up.
    told.pop("wsgi.early_hints", None)
    body = json.dumps(told).encode()
    start("200 OK", [("content-type", "application/json"), ("content-length", str(len(body)))])
    return [body]


def fail(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
    raise RuntimeError("planted")


def fail_late(environ: dict[str, Any], start: Start) -> Iterator[bytes]:
    start("200 OK", [])
    yield b"one"
    raise RuntimeError("planted")


def end_early(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
    start("200 OK", [("content-length", "10")])
    return [b"one"]


def say_nothing(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
    start("204 No Content", [])
    return []


def ignore_body(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
    start("200 OK", [("content-length", "2")])
    return [b"ok"]


def count(environ: dict[str, Any], start: Start) -> Iterator[bytes]:
    """A second of numbers."""
    start("200 OK", [("content-type", "text/plain")])
    for number in range(10):
        yield b"%d" % number
        gevent.sleep(0.1)


def flood(environ: dict[str, Any], start: Start) -> Iterator[bytes]:
    """More than any buffer between here and the client holds."""
    start("200 OK", [])
    for _ in range(60):
        yield b"x" * 100_000


ROUTES = {
    "/fail": fail,
    "/fail-late": fail_late,
    "/end-early": end_early,
    "/nothing": say_nothing,
    "/ignore": ignore_body,
    "/count": count,
    "/flood": flood,
}
