"""Specifies how a call becomes the head of an HTTP request."""

from __future__ import annotations

import pytest
import requests

from app.errors import UpstreamUnreachable
from app.transport import Call
from app.transport.call import _PLAIN_URL, Origin, encode_head, locate


@pytest.mark.parametrize(
    ("url", "origin", "authority", "path"),
    [
        ("http://Host.test", Origin("http", "host.test", 80), "host.test", "/"),
        ("https://host.test/v1?a=b", Origin("https", "host.test", 443), "host.test", "/v1?a=b"),
        ("http://host.test:8080/a b", Origin("http", "host.test", 8080), "host.test:8080", "/a%20b"),
        ("http://[::1]:9/x", Origin("http", "::1", 9), "[::1]:9", "/x"),
        ("http://me:secret@host.test/", Origin("http", "host.test", 80), "host.test", "/"),
        ("http://bücher.test/#part", Origin("http", "xn--bcher-kva.test", 80), "xn--bcher-kva.test", "/"),
    ],
)
def test_a_url_is_taken_apart(url: str, origin: Origin, authority: str, path: str) -> None:
    target = locate(url)

    assert (target.origin, target.authority, target.path) == (origin, authority, path)


@pytest.mark.parametrize(
    "url",
    [
        "http://host.test",
        "https://host.test:8443/v1/chat/completions",
        "https://10.0.0.1/v1beta/models/gemini-2.5-pro:generateContent?alt=sse&key=a_b",
        "https://host.test/a//b/.c/..d/...?q=../x",
        "https://host.test?a=1",
        "https://host.test/~a/(b)/c;d=1,2/e@f/g$h!i'j*k+l/",
        "http://host.test:80/",
        "http://0x7f.1/",
    ],
)
def test_a_url_that_is_called_plain_is_one_that_requests_would_not_change(url: str) -> None:
    prepared = requests.Request("GET", url).prepare().url or ""

    if _PLAIN_URL.fullmatch(url):
        assert prepared in (url, url.replace("test?", "test/?"), f"{url}/")
    assert locate(url) == locate(prepared)


@pytest.mark.parametrize(
    "url",
    [
        *("http://Host.test/", "HTTP://host.test/", "http://me@host.test/", "http://host.test:080/", "http://.host/"),
        *("http://[::1]/", "http://bücher.test/", "http://host.test/a b", "http://host.test/%7ea", "ftp://host.test/"),
        *(
            "http://host.test/a/../b",
            "http://host.test/./b",
            "http://host.test/#part",
            "http://host.test/ü",
            "http:///",
        ),
        *(" http://host.test/", "http://host.test/\n", "http://host.test/a|b", "http://host.test/[x]", "host.test/"),
    ],
)
def test_any_other_url_is_prepared_by_requests(url: str) -> None:
    assert not _PLAIN_URL.fullmatch(url)


def test_the_head_names_host_length_and_the_callers_headers() -> None:
    call = Call("POST", "http://host.test:81/v1", {"X-Key": "é"}, b"12345")

    assert encode_head(call, locate(call.url)) == (
        b"POST /v1 HTTP/1.1\r\nhost: host.test:81\r\naccept-encoding: identity\r\nX-Key: \xe9\r\n"
        b"content-length: 5\r\n\r\n"
    )


def test_a_get_without_a_body_announces_none() -> None:
    call = Call("GET", "http://host.test/", {})

    assert encode_head(call, locate(call.url)) == (
        b"GET / HTTP/1.1\r\nhost: host.test\r\naccept-encoding: identity\r\n\r\n"
    )


@pytest.mark.parametrize("bad", ["a\r\nx-evil: 1", "a\nb", "a\rb", "a\0b", "\N{DRAGON}"])
@pytest.mark.parametrize("place", ["name", "value"])
def test_a_header_that_would_break_the_framing_is_not_sent(bad: str, place: str) -> None:
    headers = {bad: "x"} if place == "name" else {"x": bad}
    call = Call("POST", "http://host.test/", headers)

    with pytest.raises(UpstreamUnreachable, match="header"):
        encode_head(call, locate(call.url))


def test_a_call_shows_neither_credential_nor_conversation() -> None:
    call = Call("POST", "http://host.test/v1", {"authorization": "Bearer secret"}, b"private")

    assert repr(call) == "Call(POST http://host.test/v1)"


@pytest.mark.parametrize(
    "url", ["https://e.test/" + "a" * 9000, "https://" + "é." * 5000, "https://e.test/" + "%" * 9000]
)
def test_a_url_that_no_server_takes_is_not_looked_at(url: str) -> None:
    """To write a host of 600 KB in ASCII took 1.5 s, and what is found out about a URL is kept."""
    with pytest.raises(UpstreamUnreachable, match="longer than 8,192 characters"):
        locate(url)
