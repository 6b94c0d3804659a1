"""Logging in and out: through a browser that comes back, through a pasted code, and what may go wrong."""

from __future__ import annotations

import json
import socket
import stat
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from app.credentials.oauth.callback_listener import CallbackListener
from app.credentials.oauth.endpoints import find_endpoints
from app.credentials.oauth.login_flow import LoginFailed, LoginFlow, open_flow
from app.credentials.oauth.pending_login import PendingLogin, PendingLogins, begin_login, read_pasted
from app.credentials.sources import open_source
from app.credentials.stores.stored_login import LoginMissing
from app.settings import ProviderSettings
from tests.credentials.issuer import Issuer, make_jwt


def settings_for(kind: str, issuer: Issuer, **more: Any) -> ProviderSettings:
    authorize = f"{issuer.url}/authorize"
    if kind == "anthropic":
        return ProviderSettings(kind=kind, oauth_token_url=f"{issuer.url}/token", oauth_authorize_url=authorize, **more)
    return ProviderSettings(kind=kind, idcs_url=issuer.url, **more)


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"XDG_RUNTIME_DIR": str(tmp_path)}


@pytest.fixture
def flow(kind: str, issuer: Issuer, tmp_path: Path, environ: dict[str, str]) -> LoginFlow:
    return open_flow(settings_for(kind, issuer), environ, tmp_path, requests.Session)


def sign_in(issuer: Issuer, pending: PendingLogin) -> dict[str, str]:
    """The query of the callback, after the user said yes."""
    address = issuer.authorize(query_of(pending.authorize_url))
    return query_of(address)


def query_of(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def test_a_login_gives_credentials_that_a_running_gateway_takes_up(
    kind: str, flow: LoginFlow, issuer: Issuer, tmp_path: Path, environ: dict[str, str]
) -> None:
    flow.finish(sign_in(issuer, flow.begin()))

    source = open_source(settings_for(kind, issuer), environ, tmp_path, requests.Session)
    assert source is not None
    assert source.snapshot().access_token in issuer.live
    assert source.describe().renewable


def test_a_login_is_saved_where_its_own_programs_look_and_for_its_owner_only(
    kind: str, flow: LoginFlow, issuer: Issuer, tmp_path: Path
) -> None:
    flow.finish(sign_in(issuer, flow.begin()))

    path = (
        tmp_path
        / {"oca": ".oca/refresh_token.json", "anthropic": ".claude/.credentials.json", "codex": ".codex/auth.json"}[
            kind
        ]
    )
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_new_login_keeps_what_else_is_in_the_file(kind: str, flow: LoginFlow, issuer: Issuer) -> None:
    path = Path(flow.login.label)
    path.parent.mkdir()
    path.write_text('{"otherKey": "keep"}')

    flow.finish(sign_in(issuer, flow.begin()))

    assert json.loads(path.read_text())["otherKey"] == "keep"
    assert flow.login.read().access_token in issuer.live


def test_a_broken_file_is_not_overwritten_by_a_login(flow: LoginFlow, issuer: Issuer) -> None:
    path = Path(flow.login.label)
    path.parent.mkdir()
    path.write_text('{"half')

    with pytest.raises(LoginFailed, match="not valid JSON") as caught:
        flow.finish(sign_in(issuer, flow.begin()))

    assert caught.value.reason == "not_saved"
    assert path.read_text() == '{"half'


def test_a_code_is_exchanged_in_the_encoding_that_the_issuer_wants(kind: str, flow: LoginFlow, issuer: Issuer) -> None:
    pending = flow.begin()

    flow.finish(sign_in(issuer, pending))

    form = issuer.forms[0]
    assert issuer.encodings == [{"oca": "form", "anthropic": "json", "codex": "form"}[kind]]
    assert form["code_verifier"] == pending.verifier
    assert ("state" in form) == (kind == "anthropic")


def test_a_state_is_good_for_one_callback(flow: LoginFlow, issuer: Issuer) -> None:
    query = sign_in(issuer, flow.begin())
    flow.finish(query)

    with pytest.raises(LoginFailed, match="Invalid or expired state") as caught:
        flow.finish(query)

    assert caught.value.reason == "unknown_state"
    assert caught.value.title == "Invalid Callback"


def test_any_worker_can_finish_a_login(
    kind: str, flow: LoginFlow, issuer: Issuer, tmp_path: Path, environ: dict[str, str]
) -> None:
    other = open_flow(settings_for(kind, issuer), environ, tmp_path, requests.Session)

    other.finish(sign_in(issuer, flow.begin()))

    assert flow.login.read().access_token in issuer.live


def test_of_many_workers_with_one_callback_one_finishes(flow: LoginFlow, issuer: Issuer) -> None:
    query = sign_in(issuer, flow.begin())

    def finish(_: int) -> bool:
        try:
            flow.finish(query)
        except LoginFailed:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(finish, range(8))) == 1


@pytest.mark.parametrize(
    ("query", "reason", "words"),
    [
        ({"error": "access_denied", "error_description": "<b>no</b>"}, "denied", "<b>no</b>"),
        ({"error": "access_denied"}, "denied", "access_denied"),
        ({"state": "x"}, "incomplete", "has no code or no state"),
        ({"code": "x"}, "incomplete", "has no code or no state"),
        ({"code": "x", "state": "unknown"}, "unknown_state", "Invalid or expired state"),
    ],
)
@pytest.mark.parametrize("kind", ["oca"])
def test_each_way_in_which_a_callback_fails_is_told_apart(
    flow: LoginFlow, query: Mapping[str, str], reason: str, words: str
) -> None:
    with pytest.raises(LoginFailed) as caught:
        flow.finish(query)

    assert caught.value.reason == reason
    assert words in str(caught.value)


@pytest.mark.parametrize("kind", ["oca"])
def test_an_expired_login_is_refused(issuer: Issuer, tmp_path: Path, environ: dict[str, str]) -> None:
    now = 1000.0
    flow = open_flow(settings_for("oca", issuer), environ, tmp_path, requests.Session, clock=lambda: now)
    query = sign_in(issuer, flow.begin())
    now += 601

    with pytest.raises(LoginFailed, match="Invalid or expired state"):
        flow.finish(query)


@pytest.mark.parametrize("kind", ["oca"])
def test_a_code_that_the_issuer_refuses_is_no_login(flow: LoginFlow, issuer: Issuer) -> None:
    query = sign_in(issuer, flow.begin()) | {"code": "another"}

    with pytest.raises(LoginFailed, match="invalid_grant") as caught:
        flow.finish(query)

    assert caught.value.reason == "no_tokens"


@pytest.mark.parametrize("kind", ["oca"])
def test_an_answer_without_a_refresh_token_is_no_login(
    flow: LoginFlow, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(issuer, "_exchange", lambda form: (200, {"access_token": make_jwt()}, {}))

    with pytest.raises(LoginFailed, match="No refresh token received") as caught:
        flow.finish(sign_in(issuer, flow.begin()))

    assert caught.value.reason == "no_refresh_token"


@pytest.mark.parametrize("kind", ["oca"])
def test_an_answer_for_another_login_is_refused(
    flow: LoginFlow, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = {"access_token": make_jwt(), "refresh_token": "r", "id_token": make_jwt(nonce="another")}
    monkeypatch.setattr(issuer, "_exchange", lambda form: (200, tokens, {}))

    with pytest.raises(LoginFailed, match="belongs to another login"):
        flow.finish(sign_in(issuer, flow.begin()))


STAFF = ("idcs-9dc693e80d9b469480d7afe00e743931.identity.oraclecloud.com", "a8331954c0cf48ba99b5dd223a14c6ea")
CUSTOMERS = ("login-ext.identity.oraclecloud.com", "c1aba3deed5740659981a752714eba33")


@pytest.mark.parametrize(("mode", "host", "client_id"), [("internal", *STAFF), ("external", *CUSTOMERS)])
def test_an_oca_login_asks_for_everything_that_the_issuer_wants(mode: str, host: str, client_id: str) -> None:
    endpoints = find_endpoints("oca", mode=mode)

    pending = begin_login(endpoints, endpoints.redirect_uris[0], now=0.0)

    assert urlsplit(pending.authorize_url)[:3] == ("https", host, "/oauth2/v1/authorize")
    query = query_of(pending.authorize_url)
    assert query.pop("code_challenge")
    assert query == {
        "client_id": client_id,
        "response_type": "code",
        "redirect_uri": "http://localhost:8669/callback",
        "scope": "openid offline_access",
        "code_challenge_method": "S256",
        "state": pending.state,
        "nonce": pending.nonce,
    }
    assert (len(pending.state), len(pending.nonce), len(pending.verifier)) == (32, 32, 128)
    assert pending.verifier not in repr(pending)


def test_the_other_logins_have_their_vendors_parameters() -> None:
    claude = find_endpoints("anthropic")
    codex = find_endpoints("codex")

    asked_claude = query_of(begin_login(claude, claude.redirect_uris[0], now=0.0).authorize_url)
    asked_codex = query_of(begin_login(codex, codex.redirect_uris[0], now=0.0).authorize_url)

    assert asked_claude["code"] == "true"
    assert asked_claude["redirect_uri"] == "https://platform.claude.com/oauth/code/callback"
    assert asked_codex["redirect_uri"] == "http://localhost:1455/auth/callback"
    assert asked_codex["id_token_add_organizations"] == asked_codex["codex_cli_simplified_flow"] == "true"
    assert asked_codex["scope"].startswith("openid profile email offline_access")


@pytest.mark.parametrize("kind", ["oca"])
def test_a_redirect_that_is_not_registered_is_refused_here(flow: LoginFlow) -> None:
    with pytest.raises(LoginFailed, match="does not redirect browsers"):
        flow.begin("http://localhost:8080/callback")


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("abc#st", {"code": "abc", "state": "st"}),
        ("  abc \n", {"code": "abc"}),
        ("http://localhost:8669/callback?code=abc&state=st", {"code": "abc", "state": "st"}),
        ("/callback?code=abc&state=st", {"code": "abc", "state": "st"}),
        ("code=abc&state=st", {"code": "abc", "state": "st"}),
        ("http://localhost:1455/auth/callback?error=access_denied", {"error": "access_denied"}),
    ],
)
def test_a_pasted_code_is_read_in_every_form(text: str, query: dict[str, str]) -> None:
    assert read_pasted(text) == query


def test_a_pasted_code_without_its_state_belongs_to_the_login_at_hand(flow: LoginFlow, issuer: Issuer) -> None:
    pending = flow.begin()
    code = sign_in(issuer, pending)["code"]

    flow.finish(read_pasted(code), pending)

    assert flow.login.read().access_token in issuer.live


def test_pending_logins_are_kept_for_a_while_and_not_without_end(tmp_path: Path) -> None:
    endpoints = find_endpoints("oca")
    for kept in (PendingLogins(tmp_path), PendingLogins()):
        first = begin_login(endpoints, endpoints.redirect_uris[0], now=0.0)
        kept.add(first, 0.0)
        for _ in range(120):
            kept.add(begin_login(endpoints, endpoints.redirect_uris[0], now=0.0), 0.0)

        assert kept.take(first.state, 0.0) is None
    assert len(list(tmp_path.glob("login-*.json"))) <= 100


@pytest.fixture
def ports() -> list[int]:
    """Two ports that are free."""
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return [one.getsockname()[1], other.getsockname()[1]]


@pytest.fixture
def listened(
    issuer: Issuer, ports: list[int], tmp_path: Path, environ: dict[str, str]
) -> Iterator[tuple[LoginFlow, CallbackListener]]:
    redirects = tuple(f"http://localhost:{port}/callback" for port in ports)
    flow = open_flow(settings_for("oca", issuer, redirect_uris=redirects), environ, tmp_path, requests.Session)
    with CallbackListener(flow.loopback_redirects, flow.finish) as listener:
        yield flow, listener


@pytest.mark.parametrize("kind", ["oca"])
def test_a_browser_that_comes_back_to_a_listener_ends_the_login(
    listened: tuple[LoginFlow, CallbackListener], issuer: Issuer
) -> None:
    flow, listener = listened
    pending = flow.begin(listener.redirect_uri)

    page = requests.get(issuer.authorize(query_of(pending.authorize_url)), timeout=5)

    tokens = listener.wait(5)
    assert tokens is not None
    assert tokens.access_token in issuer.live
    assert "Login Successful!" in page.text
    assert page.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("kind", ["oca"])
def test_a_listener_shows_what_went_wrong_escaped_and_goes_on_waiting(
    listened: tuple[LoginFlow, CallbackListener], issuer: Issuer
) -> None:
    flow, listener = listened
    pending = flow.begin(listener.redirect_uri)

    denied = requests.get(
        listener.redirect_uri, params={"error": "x", "error_description": "<script>alert(1)</script>"}, timeout=5
    )
    elsewhere = requests.get(listener.redirect_uri.replace("/callback", "/favicon.ico"), timeout=5)
    requests.get(issuer.authorize(query_of(pending.authorize_url)), timeout=5)

    assert denied.status_code == 400
    assert "Authentication Failed" in denied.text
    assert "<script>" not in denied.text
    assert elsewhere.status_code == 404
    assert listener.wait(5) is not None


@pytest.mark.parametrize("kind", ["oca"])
def test_a_taken_port_leads_to_the_next(issuer: Issuer, ports: list[int], flow: LoginFlow) -> None:
    redirects = [f"http://localhost:{port}/callback" for port in ports]

    with CallbackListener(redirects, flow.finish), CallbackListener(redirects, flow.finish) as second:
        assert second.redirect_uri == redirects[1]
        with pytest.raises(OSError, match="in use"):
            CallbackListener(redirects, flow.finish)


@pytest.mark.parametrize("kind", ["oca"])
def test_a_login_that_nobody_finishes_ends_the_wait(listened: tuple[LoginFlow, CallbackListener]) -> None:
    assert listened[1].wait(0.01) is None


def test_claude_has_no_redirect_to_this_machine(tmp_path: Path) -> None:
    assert open_flow(ProviderSettings(kind="anthropic"), {}, tmp_path, requests.Session).loopback_redirects == ()
    assert (
        open_flow(ProviderSettings(kind="codex"), {}, tmp_path, requests.Session)
        .loopback_redirects[0]
        .startswith("http://localhost:")
    )


def test_a_logout_removes_the_login_and_tells_the_issuer_where_it_listens(
    kind: str, flow: LoginFlow, issuer: Issuer
) -> None:
    flow.finish(sign_in(issuer, flow.begin()))

    flow.log_out()

    assert not Path(flow.login.label).exists()
    assert issuer.revoked == (["refresh-secret-1"] if kind == "codex" else [])
    with pytest.raises(LoginMissing):
        flow.login.read()


@pytest.mark.parametrize("kind", ["oca", "anthropic"])
def test_a_logout_leaves_what_belongs_to_others(flow: LoginFlow, issuer: Issuer) -> None:
    path = Path(flow.login.label)
    path.parent.mkdir()
    path.write_text('{"otherKey": "keep"}')
    flow.finish(sign_in(issuer, flow.begin()))

    flow.log_out()

    assert json.loads(path.read_text()) == {"otherKey": "keep"}


def test_a_second_logout_is_none(flow: LoginFlow) -> None:
    flow.log_out()
    flow.log_out()
