"""`dragoman login`, `logout` and `status`, with an issuer on loopback and a browser whose user always says yes."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
from click.testing import CliRunner

from app.cli import main
from app.cli.logins.status import describe_source
from app.credentials.credential import SourceStatus
from tests.cli.machine import Machine
from tests.credentials.issuer import Issuer, make_jwt
from tests.support.fake_upstream import FakeUpstream, Reply, json_reply
from tests.support.gateway_process import BIN, bare_environ


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    issuer = Issuer("codex")
    yield issuer
    issuer.stop()


@pytest.fixture
def configured(machine: Machine, issuer: Issuer, port: int) -> Path:
    """Settings whose logins are all made at the stand-in."""
    return machine.write(
        "dragoman.toml",
        f"""
        [providers.oca]
        idcs_url = "{issuer.url}"
        redirect_uris = ["http://localhost:{port}/callback"]
        [providers.chatgpt]
        kind = "codex"
        idcs_url = "{issuer.url}"
        redirect_uris = ["http://localhost:{port}/auth/callback"]
        [providers.anthropic]
        auth = "configured"
        oauth_authorize_url = "{issuer.url}/authorize"
        oauth_token_url = "{issuer.url}/token"
        """,
    )


class Browser:
    """Opens what it is told to, as a user would who signs in; `opened` are the addresses."""

    def __init__(self) -> None:
        self.opened: list[str] = []

    def __call__(self, url: str) -> bool:
        self.opened.append(url)
        threading.Thread(target=requests.get, args=(url,), kwargs={"timeout": 10}).start()
        return True


@pytest.fixture
def browser(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Browser:
    """In front of a user at `machine`; nobody is waited for longer than a test may last."""
    monkeypatch.setattr("app.cli.logins.login.LIFETIME", 15.0)
    browser = Browser()
    monkeypatch.setattr("webbrowser.open", browser)
    monkeypatch.setenv("DISPLAY", ":0")
    return browser


@pytest.mark.usefixtures("configured")
def test_a_login_opens_the_browser_once_and_saves_what_comes_back(
    machine: Machine, browser: Browser, issuer: Issuer
) -> None:
    result = machine.run("login", "oca")

    assert result.exit_code == 0, result.output
    assert len(browser.opened) == 1
    assert browser.opened[0] in result.output
    saved = json.loads((machine.home / ".oca" / "refresh_token.json").read_text())
    assert saved["refresh_token"] == issuer.newest
    assert "Logged in to oca" in result.output
    assert issuer.newest not in result.output


@pytest.mark.usefixtures("configured")
def test_codex_is_found_by_the_word_for_its_login_whatever_its_name_is(machine: Machine, browser: Browser) -> None:
    result = machine.run("auth", "login-openai")

    assert result.exit_code == 0, result.output
    assert "Logged in to chatgpt as" in result.output
    assert "(plus)" in result.output
    assert (machine.home / ".codex" / "auth.json").is_file()


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize("environ", [{}, {"DISPLAY": ":0", "SSH_CONNECTION": "1 2 3 4"}], ids=["no display", "ssh"])
def test_no_browser_is_opened_where_nobody_sees_it(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]
) -> None:
    browser = Browser()
    monkeypatch.setattr("webbrowser.open", browser)

    machine.run("login", "claude", **environ)

    assert browser.opened == []


class Terminal:
    """A `dragoman login` in a terminal of its own. `url` is the address that it printed."""

    def __init__(self, machine: Machine, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [BIN / "dragoman", "login", *arguments],
            cwd=machine.folder,
            env=bare_environ(machine.home),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = next(line.strip() for line in self.process.stdout if line.startswith("http"))

    def sign_in(self) -> str:
        """The address on which a browser ends that cannot come back."""
        return requests.get(self.url, allow_redirects=False, timeout=5).headers["location"]

    def paste(self, text: str) -> str:
        """What the command says to that until its end."""
        return self.process.communicate(f"{text}\n", timeout=20)[0]


@pytest.mark.usefixtures("configured")
def test_a_code_is_pasted_where_the_issuer_only_shows_it(machine: Machine, issuer: Issuer) -> None:
    issuer.kind = "anthropic"
    terminal = Terminal(machine, "claude")
    query = dict(parse_qsl(urlsplit(terminal.sign_in()).query))

    said = terminal.paste(f"{query['code']}#{query['state']}")

    assert terminal.process.returncode == 0, said
    saved = json.loads((machine.home / ".claude" / ".credentials.json").read_text())
    assert saved["claudeAiOauth"]["refreshToken"] == issuer.newest


@pytest.mark.usefixtures("configured")
def test_an_address_is_pasted_when_the_browser_is_on_another_machine(machine: Machine, issuer: Issuer) -> None:
    terminal = Terminal(machine, "oca", "--no-browser")

    said = terminal.paste(terminal.sign_in())

    assert terminal.process.returncode == 0, said
    assert json.loads((machine.home / ".oca" / "refresh_token.json").read_text())["refresh_token"] == issuer.newest


@pytest.mark.usefixtures("configured")
def test_a_code_of_nobody_ends_the_login_with_the_reason(machine: Machine) -> None:
    result = CliRunner().invoke(main, ["login", "claude"], input="made-up-code\n")

    assert result.exit_code == 1
    assert "Authentication Failed" in result.output


@pytest.mark.usefixtures("configured")
def test_a_word_that_means_no_login_is_answered_with_those_that_do(machine: Machine) -> None:
    result = machine.run("login", "nobody")

    assert result.exit_code == 1
    assert "oca, claude, codex, chatgpt" in result.stderr


@pytest.mark.usefixtures("browser")
def test_a_login_that_no_setting_uses_is_said_to_be_unused(machine: Machine, issuer: Issuer, port: int) -> None:
    machine.write(
        "dragoman.toml",
        f"""
        [providers.oca]
        access_token = "opaque-secret"
        [providers.codex]
        idcs_url = "{issuer.url}"
        redirect_uris = ["http://localhost:{port}/auth/callback"]
        """,
    )

    result = machine.run("login", "codex", CODEX_API_KEY="sk-key-secret")

    assert "Note: requests use CODEX_API_KEY, which takes precedence over this login." in result.output


@pytest.mark.usefixtures("configured", "browser")
def test_a_logout_removes_what_the_login_saved(machine: Machine) -> None:
    machine.run("login", "oca")

    first, second = machine.run("logout", "oca"), machine.run("logout", "oca")

    assert "Logged out of oca" in first.output
    assert "There was no login" in second.output
    assert not (machine.home / ".oca" / "refresh_token.json").exists()


def test_a_logout_says_which_login_of_another_program_is_left(machine: Machine) -> None:
    cline = machine.home / ".cline" / "data" / "secrets.json"
    cline.parent.mkdir(parents=True)
    cline.write_text(json.dumps({"ocaApiKey": make_jwt(), "ocaRefreshToken": "refresh-secret"}))

    result = machine.run("logout", "oca")

    assert f"requests still use {cline}" in result.output
    assert "refresh-secret" in cline.read_text()


@pytest.mark.usefixtures("configured", "browser")
def test_the_status_tells_everything_but_the_token(machine: Machine, issuer: Issuer) -> None:
    machine.run("login", "chatgpt")
    machine.run("login", "oca")

    result = machine.run("status")

    assert "chatgpt: logged in\n" in result.output
    assert "  plan     PLUS" in result.output
    assert "59 min left" in result.output
    assert f"  source   {machine.home / '.codex' / 'auth.json'}" in result.output
    assert "  renewal  automatic" in result.output
    assert "anthropic: not logged in" in result.output
    assert not [secret for secret in (*issuer.live, "refresh-secret") if secret in result.output]


def test_the_status_asks_the_gateway_that_runs_here_how_its_requests_fare(machine: Machine) -> None:
    told = {"last_success": "2026-01-01T00:00:00+00:00"}
    failed = {"time": "2026-01-02T00:00:00+00:00", "kind": "upstream_auth", "message": "this key was revoked"}
    health = {"service": "dragoman", "providers": {"own": told | {"last_failure": failed}}}
    with FakeUpstream(json_reply(health)) as gateway:
        port = gateway.url.rpartition(":")[2]
        machine.write(
            "dragoman.toml", f'[server]\nport = {port}\n[providers.own]\nkind = "openai"\napi_key = "sk-secret"\n'
        )

        result = machine.run("status")

    assert gateway.seen[0].path == "/health"
    assert "own: API key\n  source   providers.own.api_key\n" in result.output
    assert "  success  last at 2026-01-01T00:00:00+00:00\n" in result.output
    assert "  failure  last at 2026-01-02T00:00:00+00:00, upstream_auth: this key was revoked\n" in result.output


@pytest.mark.parametrize("body", [b"[" * 100_000, b"<html>", b"[]", b'{"service": "dragoman", "providers": []}'])
def test_another_program_at_the_port_does_not_disturb_the_status(machine: Machine, body: bytes) -> None:
    with FakeUpstream(Reply((body,), framing="length")) as other:
        port = other.url.rpartition(":")[2]
        machine.write(
            "dragoman.toml", f'[server]\nport = {port}\n[providers.own]\nkind = "openai"\napi_key = "sk-secret"\n'
        )

        result = machine.run("status")

    assert result.exit_code == 0
    assert result.output == "own: API key\n  source   providers.own.api_key\n"


def test_the_status_under_its_other_name_is_the_same(machine: Machine) -> None:
    assert machine.run("auth", "status").output == machine.run("status").output
    assert machine.run("auth", "providers").output.split() == ["oca", "claude", "codex"]


EXPIRIES = {
    "long": (90061.0, True, "logged in", "(1 d 1 h left)"),
    "over, renewable": (-5.0, True, "logged in, renewed at the next request", "(over)"),
    "over": (-5.0, False, "expired", "(over)"),
}


@pytest.mark.parametrize(("left", "renewable", "summary", "shown"), EXPIRIES.values(), ids=EXPIRIES)
def test_the_status_says_how_long_a_token_lives(left: float, renewable: bool, summary: str, shown: str) -> None:
    known = SourceStatus(source="f", kind="access_token", expires_at=1e9 + left, renewable=renewable)

    lines = list(describe_source("oca", known, 1e9))

    assert lines[0] == f"oca: {summary}"
    assert shown in lines[1]
