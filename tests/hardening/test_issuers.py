"""Issuers are foreign servers too: whatever one answers, the login stays, and the sentence says what came."""

from __future__ import annotations

import gzip
import json
import logging
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from urllib3.util import Timeout

from app.credentials.sources import open_source
from app.errors import CredentialPostponed, CredentialUnavailable
from app.settings import ProviderSettings
from app.transport import Transport, TransportSettings
from tests.credentials.issuer import make_jwt
from tests.support.clock import wait_until
from tests.support.fake_upstream import CUT, STALL, FakeUpstream, Reply, json_reply, raw

Figure = Callable[[str, object, object], None]

HTML = b"<!doctype html><html><title>Sign in to the guest network</title>" + b"<p>" * 1000
GOOD = {"access_token": "at", "refresh_token": "rt", "expires_in": 3600}


def whole(body: bytes, status: int = 200, **headers: str) -> Reply:
    named = {"content-type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return Reply((body,), status, named, framing="length")


# What an issuer may answer, and a word of the sentence that says so. None of it is a set of tokens.
SHAPES: dict[str, tuple[Reply, str]] = {
    "HTML with 200": (whole(HTML), "an HTML page"),
    "HTML with 401, of a proxy": (whole(HTML, 401), "an HTML page"),
    "HTML with 502": (whole(HTML, 502), "an HTML page"),
    "nothing": (whole(b""), "an empty body"),
    "white space": (whole(b" \r\n\t"), "an empty body"),
    "a list": (json_reply([GOOD]), "other than a JSON object"),
    "a text": (json_reply("tokens"), "other than a JSON object"),
    "null": (json_reply(None), "other than a JSON object"),
    "deep lists": (whole(b"[" * 200_000), "other than a JSON object"),
    "deep objects": (whole(b'{"a":' * 200_000), "other than a JSON object"),
    "deep and closed": (whole(b'{"access_token":' + b"[" * 90_000 + b"]" * 90_000 + b"}"), "other than a JSON object"),
    "half of a JSON": (whole(b'{"access_token": "a'), "other than a JSON object"),
    "bytes of no text": (whole(b"\xff\xfe\x00" * 100), "other than a JSON object"),
    "an empty object": (json_reply({}), "without usable tokens"),
    "tokens as numbers": (json_reply({"access_token": 7, "refresh_token": 8}), "without usable tokens"),
    "tokens as lists": (json_reply({"access_token": ["a"], "refresh_token": {}}), "without usable tokens"),
    "a token with a line end": (json_reply({"access_token": "a\r\nx-admin: 1"}), "without usable tokens"),
    "a token with a space": (json_reply({"access_token": "a b"}), "without usable tokens"),
    "a token with a colour": (json_reply({"access_token": "\x1b[31ma"}), "without usable tokens"),
    "a token beyond ASCII": (json_reply({"access_token": "tök€n"}), "without usable tokens"),
    "a token without end": (json_reply({"access_token": "a" * 500_000}), "without usable tokens"),
    "an empty token": (json_reply({"access_token": "", "refresh_token": None}), "without usable tokens"),
    "a redirect": (whole(b"", 302, location="https://elsewhere.example/token"), "elsewhere.example"),
    "a redirect that keeps the method": (whole(b"", 307, location="https://elsewhere.example/"), "elsewhere.example"),
    "a redirect to nowhere": (whole(b"", 301, location="http://["), "another address"),
    "an unknown status": (json_reply({"error": "odd"}, 599), "599"),
    "a wrong client": (json_reply({"error": "invalid_client"}, 401), "invalid_client"),
    "an error that quotes": (json_reply({"error": "Token rt-planted-1 is unknown"}, 400), "HTTP 400"),
    "an error as a number": (json_reply({"error": 17}, 400), "HTTP 400"),
    "an error as a list": (json_reply({"error": ["invalid_grant"]}, 400), "HTTP 400"),
    "too many requests": (json_reply({}, 429, {"retry-after": "7"}), "429"),
    "too many requests, for ever": (json_reply({}, 429, {"retry-after": "inf"}), "429"),
    "too many requests, in no time": (json_reply({}, 503, {"retry-after": "nan" * 50}), "503"),
    "no HTTP": (raw(b"SSH-2.0-OpenSSH_9.6\r\n"), "cannot be reached"),
    "a status that is none": (raw(b"HTTP/1.1 abc OK\r\n\r\n"), "cannot be reached"),
    "a head without end": (raw(b"HTTP/1.1 200 OK\r\n" + b"x-a: " + b"b" * 2_000_000), "cannot be reached"),
    "a cut head": (raw(b"HTTP/1.1 200 OK\r\ncontent-le", CUT), "cannot be reached"),
    "a cut body": (raw(b'HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{"access_token"', CUT), "cannot be reached"),
    "a body without end": (Reply((b" " * 65536,) * 200, framing="chunked"), "sent more than"),
    "a body that grows": (
        Reply((gzip.compress(b" " * 300_000_000),), headers={"content-encoding": "gzip"}, framing="length"),
        "sent more than",
    ),
    "bad chunks": (raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n"), "cannot be reached"),
}

SLOW: dict[str, Reply] = {
    "silent from the start": raw(STALL),
    "silent after the head": raw(b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n", STALL),
    "dripping the head": raw(b"HTTP/1.1 200 OK\r\n", *([b"x", 0.05] * 400)),
    "dripping the body": raw(b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n", *([b" ", 0.05] * 400)),
}


@pytest.fixture
def transport() -> Iterator[Transport]:
    transport = Transport(TransportSettings())
    yield transport
    transport.close()


class Login:
    """A login of Claude in a file, whose issuer is `issuer`."""

    def __init__(self, folder: Path, issuer: FakeUpstream, transport: Transport, left: float) -> None:
        self.path = folder / ".credentials.json"
        held = {"accessToken": "at-planted-0", "refreshToken": "rt-planted-1"}
        self.path.write_text(json.dumps({"claudeAiOauth": held | {"expiresAt": int((time.time() + left) * 1000)}}))
        self.path.chmod(0o600)
        self.before = self.path.read_bytes()
        settings = ProviderSettings(
            kind="anthropic", credentials_file=str(self.path), oauth_token_url=f"{issuer.url}/token"
        )
        source = open_source(settings, {"XDG_RUNTIME_DIR": str(folder)}, folder, lambda: transport.session)
        assert source is not None
        self.source = source


@pytest.mark.parametrize("shape", SHAPES)
def test_an_odd_answer_is_one_clear_sentence_and_costs_no_login(
    shape: str, tmp_path: Path, transport: Transport, caplog: pytest.LogCaptureFixture
) -> None:
    reply, word = SHAPES[shape]
    with FakeUpstream(reply) as issuer:
        login = Login(tmp_path, issuer, transport, left=-60)

        with pytest.raises(CredentialPostponed) as caught:
            login.source.snapshot()

    said = str(caught.value)
    assert word in said
    assert len(said) < 500
    assert "planted" not in said.replace(str(tmp_path), "")
    assert caught.value.failure.http_status == 503
    assert login.path.read_bytes() == login.before
    assert not [each for each in caplog.records if each.exc_info or each.levelno >= logging.ERROR]


@pytest.mark.parametrize("shape", ["HTML with 200", "deep objects", "a redirect", "no HTTP", "a token with a line end"])
def test_the_old_token_is_used_as_long_as_it_is_valid(shape: str, tmp_path: Path, transport: Transport) -> None:
    with FakeUpstream(SHAPES[shape][0]) as issuer:
        login = Login(tmp_path, issuer, transport, left=120)

        first = login.source.snapshot()
        wait_until(lambda: issuer.seen)
        then = login.source.snapshot()

    assert first.access_token == then.access_token == "at-planted-0"


@pytest.mark.parametrize("pace", SLOW)
def test_a_slow_issuer_holds_a_request_no_longer_than_its_time(
    pace: str, tmp_path: Path, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = Timeout(connect=1.0, read=0.5, total=1.0)
    monkeypatch.setattr("app.credentials.oauth.token_endpoint._TOKEN_TIMEOUT", limit)
    with FakeUpstream(SLOW[pace]) as issuer:
        login = Login(tmp_path, issuer, transport, left=-60)
        began = time.monotonic()

        with pytest.raises(CredentialPostponed, match="cannot be reached"):
            login.source.snapshot()

    assert time.monotonic() - began < 3.0


# Lifetimes that a server may write for "an hour", "for ever" or "no idea".
LIFETIMES: dict[str, Any] = {
    "text": "3600", "float": 3600.5, "negative": -5, "zero": 0, "huge": 10**400, "huge text": "9" * 5000, "nan": "nan",
    "infinite": "1e999", "true": True, "list": [3600], "object": {}, "milliseconds": 3_600_000_000_000, "null": None,
}  # fmt: skip


@pytest.mark.parametrize("lifetime", LIFETIMES)
def test_any_lifetime_gives_a_date_that_can_be_shown(lifetime: str, tmp_path: Path, transport: Transport) -> None:
    with FakeUpstream(json_reply(GOOD | {"expires_in": LIFETIMES[lifetime]})) as issuer:
        login = Login(tmp_path, issuer, transport, left=-60)

        got = login.source.snapshot()

    assert got.access_token == "at"
    assert got.expires_at is not None
    assert time.time() < got.expires_at <= time.time() + 11 * 366 * 86400


DOCUMENTS: dict[str, Reply] = {
    "HTML": whole(HTML),
    "deep": whole(b"[" * 200_000),
    "a list": json_reply(["token_endpoint"]),
    "a number": json_reply({"token_endpoint": 5}),
    "no URL": json_reply({"token_endpoint": "http://["}),
    "another scheme": json_reply({"token_endpoint": "file:///etc/passwd"}),
    "a redirect": whole(b"", 302, location="http://169.254.169.254/"),
    "without end": Reply((b" " * 65536,) * 200, framing="chunked"),
    "an error": json_reply({}, 500),
}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_an_odd_discovery_leaves_the_address_that_is_known(document: str, tmp_path: Path, transport: Transport) -> None:
    with FakeUpstream(DOCUMENTS[document], json_reply(GOOD | {"access_token": make_jwt()})) as issuer:
        path = tmp_path / "token.json"
        path.write_text(json.dumps({"access_token": make_jwt(-60), "refresh_token": "rt"}))
        settings = ProviderSettings(kind="oca", token_file=str(path), idcs_url=issuer.url)
        source = open_source(settings, {"XDG_RUNTIME_DIR": str(tmp_path)}, tmp_path, lambda: transport.session)
        assert source is not None

        source.snapshot()

    assert [seen.path for seen in issuer.seen] == ["/.well-known/openid-configuration", "/oauth2/v1/token"]


def test_a_dead_login_is_one_that_its_issuer_names_so(tmp_path: Path, transport: Transport) -> None:
    with FakeUpstream(json_reply({"error": "invalid_grant"}, 400)) as issuer:
        login = Login(tmp_path, issuer, transport, left=-60)

        with pytest.raises(CredentialUnavailable, match="no longer accepts") as caught:
            login.source.snapshot()

    assert not isinstance(caught.value, CredentialPostponed)
    assert caught.value.failure.http_status == 401


def test_logins_go_by_the_proxy_that_calls_to_models_take(tmp_path: Path) -> None:
    with FakeUpstream(json_reply(GOOD)) as proxy:
        transport = Transport(TransportSettings(proxies={"http": proxy.url}))
        path = tmp_path / ".credentials.json"
        path.write_text(json.dumps({"claudeAiOauth": {"accessToken": "a", "refreshToken": "r", "expiresAt": 1000}}))
        settings = ProviderSettings(
            kind="anthropic", credentials_file=str(path), oauth_token_url="http://issuer.example/token"
        )
        source = open_source(settings, {"XDG_RUNTIME_DIR": str(tmp_path)}, tmp_path, lambda: transport.session)
        assert source is not None

        got = source.snapshot()
        transport.close()

    assert got.access_token == "at"
    assert proxy.seen[0].path == "http://issuer.example/token"


def test_an_answer_of_any_size_takes_little_memory(tmp_path: Path, transport: Transport, figure: Figure) -> None:
    peaks = []
    for shape in ("a body without end", "a body that grows", "a head without end", "deep objects"):
        with FakeUpstream(SHAPES[shape][0]) as issuer:
            folder = tmp_path / shape.replace(" ", "-")
            folder.mkdir()
            login = Login(folder, issuer, transport, left=-60)
            tracemalloc.start()
            with pytest.raises(CredentialPostponed):
                login.source.snapshot()
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()

    figure("memory for an issuer's answer, at most", f"{max(peaks) / 2**20:.0f} MiB", "16 MiB")
    figure("issuers' odd answers tried / logins lost", f"{len(SHAPES) + len(SLOW) + len(DOCUMENTS)} / 0", "0 lost")
    assert max(peaks) < 16 * 2**20
