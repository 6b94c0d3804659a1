"""Specifies which request heads are parsed here, with gunicorn's own parser as the judge of what they say."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.http.parser import RequestParser
from gunicorn.http.wsgi import create
from hypothesis import given
from hypothesis import strategies as st

from app.server.connections.request_parser import MAX_HEAD, Shared, Site, parse_head

CLIENT, SERVER = ("127.0.0.1", 50000), ("127.0.0.1", 8080)
SECURE_FIELDS = {"HTTP_X_FORWARDED_PROTO": "https", "HTTP_X_FORWARDED_SSL": "on", "HTTP_X_FORWARDED_PROTOCOL": "ssl"}
SITE = Site(
    {"REMOTE_ADDR": "127.0.0.1", "REMOTE_PORT": "50000", "SERVER_NAME": "127.0.0.1", "SERVER_PORT": "8080"},
    SECURE_FIELDS,
    Shared({"SCRIPT_NAME": "", "wsgi.url_scheme": "http"}),
)


def make_head(*fields: str, line: str = "POST /v1/messages HTTP/1.1") -> bytes:
    return "\r\n".join([line, "Host: localhost:8080", *fields, "", ""]).encode("latin-1")


def ask_gunicorn(head: bytes) -> dict[str, Any]:
    """The environment that gunicorn makes of a head. Raises what it refuses it with."""
    config = Config()
    with socket.socket() as unused:
        request = next(RequestParser(config, iter([head]), CLIENT))
        environ = create(request, unused, CLIENT, SERVER, config)[1]
    return {key: value for key, value in environ.items() if key[:7] != "wsgi.in" and isinstance(value, str)}


def read_strings(environ: dict[str, Any]) -> dict[str, Any]:
    # The worker's base has what gunicorn says of itself.
    return environ | {"SERVER_SOFTWARE": ask_gunicorn(make_head())["SERVER_SOFTWARE"]}


@pytest.mark.parametrize(
    "head",
    [
        make_head(),
        make_head(line="GET / HTTP/1.1"),
        make_head(line="DELETE /v1/responses/resp_1 HTTP/1.1"),
        make_head(line="OPTIONS /v1/models HTTP/1.1"),
        make_head(line="GET /v1/models?limit=3&after=%20x? HTTP/1.1"),
        make_head(line="GET /v1/models? HTTP/1.1"),
        make_head(line="GET //v1//models;a=b@c:'(d)\" HTTP/1.1"),
        make_head("Content-Type: application/json", "Content-Length: 12"),
        make_head("Content-Length:   007  "),
        make_head("content-length: 007", "X-Other: 3"),
        make_head("CONTENT-LENGTH: 12"),
        make_head("Accept:\t*/* \t", "x-empty:", "X-Latin: \xe4\xf6\xfc", "x!#$&'*+.^`|~1: tokens"),
        make_head("Connection: Keep-Alive"),
        make_head("Connection: close"),
        make_head("X-Forwarded-Proto: https", "X-Forwarded-Ssl: on"),
        make_head("X-Forwarded-Proto: http"),
        make_head("X-Forwarded-Proto: HTTPS"),
    ],
)
def test_an_ordinary_head_says_the_same_as_to_gunicorn(head: bytes) -> None:
    parsed = parse_head(head, SITE)

    assert parsed is not None
    assert read_strings(parsed.environ) == ask_gunicorn(head)


@pytest.mark.parametrize(
    "head",
    [
        make_head("Transfer-Encoding: chunked"),
        make_head("Transfer-Encoding: chunked", "Content-Length: 3"),
        make_head("Content-Length: 3", "Transfer-Encoding: chunked"),
        make_head("Transfer-Encoding: identity"),
        make_head("Transfer-Encoding : chunked"),
        make_head("TE: trailers"),
        make_head("Expect: 100-continue"),
        make_head("Upgrade: h2c", "Connection: Upgrade"),
        make_head("Connection: close, keep-alive"),
        make_head("Content-Length: 3", "Content-Length: 3"),
        make_head("Content-Length: 3", "Content-Length: 4"),
        make_head("Content-Length: 3, 3"),
        make_head("Content-Length: -3"),
        make_head("Content-Length: +3"),
        make_head("Content-Length: 0x3"),
        make_head("Content-Length: 3_0"),
        make_head("Content-Length: "),
        make_head("Content-Length: \xb2"),
        make_head("Content-Length: " + "9" * 30),
        make_head("Host: other"),
        make_head("Content-Type: a/b", "Content-Type: c/d"),
        make_head("Authorization: Bearer a", "Authorization: Bearer b"),
        make_head("X-Api-Key: a", "x-api-key: b"),
        make_head("X_Api_Key: a"),
        make_head("SCRIPT_NAME: /admin"),
        make_head(": nameless"),
        make_head("No colon"),
        make_head("Spaced : value"),
        make_head(" Folded: at once"),
        make_head("X-Folded: a", " b"),
        make_head("X-Folded: a", "\tb"),
        make_head("X-Control: a\x00b"),
        make_head("X-Control: a\x1fb"),
        make_head("X-Control: a\x7fb"),
        make_head("X-Feed: a\nX-Api-Key: b"),
        make_head("X-Return: a\rX-Api-Key: b"),
        make_head("X-N\xe4me: a"),
        make_head().replace(b"\r\nHost", b"\nHost"),
        make_head().replace(b"\r\n", b"\n"),
        b"\r\n" + make_head(),
        make_head(line="HEAD / HTTP/1.1"),
        make_head(line="CONNECT localhost:80 HTTP/1.1"),
        make_head(line="OPTIONS * HTTP/1.1"),
        make_head(line="get / HTTP/1.1"),
        make_head(line="GET / HTTP/1.0"),
        make_head(line="GET / HTTP/1.10"),
        make_head(line="GET / HTTP/2.0"),
        make_head(line="GET /"),
        make_head(line="GET  / HTTP/1.1"),
        make_head(line="GET / HTTP/1.1 "),
        make_head(line="GET http://localhost/ HTTP/1.1"),
        make_head(line="GET localhost:80 HTTP/1.1"),
        make_head(line="GET /%2e%2e HTTP/1.1"),
        make_head(line="GET /a#b HTTP/1.1"),
        make_head(line="GET /a?b#c HTTP/1.1"),
        make_head(line="GET /\xe4 HTTP/1.1"),
        make_head(line="GET /a\tb HTTP/1.1"),
        make_head(line=f"GET /{'a' * 4100} HTTP/1.1"),
        make_head(*(f"X-{number}: a" for number in range(100))),
        make_head("X-Long: " + "a" * MAX_HEAD),
        make_head("X-Forwarded-Proto: https", "X-Forwarded-Ssl: off"),
        b"\r\n\r\n",
        b"",
    ],
)
def test_an_unusual_head_is_left_to_gunicorn(head: bytes) -> None:
    assert parse_head(head, SITE) is None


def test_a_proxy_that_is_not_trusted_cannot_say_how_its_client_came() -> None:
    parsed = parse_head(make_head("X-Forwarded-Proto: https"), Site(SITE.environ, shared=SITE.shared))

    assert parsed is not None
    assert parsed.environ["wsgi.url_scheme"] == "http"


@pytest.mark.parametrize(
    ("fields", "server"),
    [((), ("localhost", "8080")), (("X-Forwarded-Proto: https",), ("gateway", "443")), ((), ("gateway", "80"))],
)
def test_behind_a_unix_socket_the_server_is_named_by_the_host(fields: tuple[str, ...], server: tuple[str, str]) -> None:
    host = b"Host: localhost:8080" if server[1] == "8080" else b"Host: gateway"

    parsed = parse_head(
        make_head(*fields).replace(b"Host: localhost:8080", host), Site({"wsgi.url_scheme": "http"}, SECURE_FIELDS)
    )

    assert parsed is not None
    assert (parsed.environ["SERVER_NAME"], parsed.environ["SERVER_PORT"]) == server


def test_what_requests_have_in_common_is_not_changed_by_one_of_them() -> None:
    for length, site, scheme in (
        ("3", SITE, "https"),
        ("14", Site({"REMOTE_ADDR": "10.0.0.1"}, shared=SITE.shared), "http"),
        ("5", SITE, "https"),
    ):
        parsed = parse_head(make_head("X-Forwarded-Proto: https", f"Content-Length: {length}"), site)

        assert parsed is not None
        assert parsed.environ["CONTENT_LENGTH"] == length
        assert (parsed.environ["wsgi.url_scheme"], parsed.environ["SCRIPT_NAME"]) == (scheme, "")
        assert parsed.environ["REMOTE_ADDR"] == site.environ["REMOTE_ADDR"]


SEED = make_head(
    "Content-Type: application/json", "Connection: keep-alive", "X-Forwarded-Proto: https", "Content-Length: 12"
)
# fmt: off
PIECES = st.sampled_from([
    b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b",", b"_", b"-", b"%", b"#", b"?", b"/", b"1", b"\x00", b"\xe4", b"TE",
    b"Host: a", b"HTTP/1.1", b"chunked", b"Connection: close\r\n", b"Content-Length: 1\r\n", b"Transfer-Encoding: a",
])
# fmt: on


@given(st.lists(st.tuples(st.integers(0, len(SEED)), st.integers(0, 3), PIECES | st.binary(max_size=3)), max_size=3))
def test_whatever_is_parsed_here_says_the_same_as_to_gunicorn(changes: list[tuple[int, int, bytes]]) -> None:
    head = SEED
    for place, removed, inserted in changes:
        head = head[:place] + inserted + head[place + removed :]
    # The head ends with the first empty line; what follows would be a body.
    head = head[: head.find(b"\r\n\r\n") + 4]

    parsed = parse_head(head, SITE)

    if parsed is not None:
        assert read_strings(parsed.environ) == ask_gunicorn(head)
