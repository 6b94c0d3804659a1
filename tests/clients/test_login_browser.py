"""The logins through a real browser: Chromium without a window, against a stand-in issuer whose user says yes."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.clients.chromium import DRIVER, OPTIONS, PROGRAM, Chromium
from tests.credentials.issuer import Issuer
from tests.support.fake_upstream import FakeUpstream, Reply
from tests.support.gateway_process import BIN, GatewayProcess, bare_environ, free_port

pytestmark = pytest.mark.skipif(
    not (PROGRAM and DRIVER), reason="no browser on this machine (Debian's packages: chromium, chromium-driver)"
)

FILES = {"oca": ".oca/refresh_token.json", "codex": ".codex/auth.json", "anthropic": ".claude/.credentials.json"}
PATHS = {"oca": "/callback", "codex": "/auth/callback"}
SUCCESS = "Login Successful!"
CLIENT_KEY = "key-of-the-client"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with Chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def kind() -> str:
    """Tests that want another, or several, parametrize it."""
    return "oca"


@pytest.fixture
def issuer(kind: str) -> Iterator[Issuer]:
    issuer = Issuer(kind)
    yield issuer
    issuer.stop()


def settings_for(kind: str, issuer: Issuer, redirect_port: str | int) -> str:
    """The table of a provider whose login is made at the stand-in. Claude keeps its redirect, where nobody answers."""
    lines = [f"[providers.{kind}]", 'auth = "configured"', f'oauth_token_url = "{issuer.url}/token"']
    if kind == "anthropic":
        return "\n".join([*lines, f'oauth_authorize_url = "{issuer.url}/authorize"'])
    redirect = f"http://localhost:{redirect_port}{PATHS[kind]}"
    return "\n".join([*lines, f'idcs_url = "{issuer.url}"', f'redirect_uris = ["{redirect}"]'])


def serve(folder: Path, *tables: str) -> GatewayProcess:
    (folder / "dragoman.toml").write_text("\n".join(tables))
    return GatewayProcess(folder, XDG_RUNTIME_DIR=str(folder))


def holds_login(folder: Path, kind: str, issuer: Issuer) -> bool:
    path = folder / "home" / FILES[kind]
    return path.exists() and issuer.newest in path.read_text()


@pytest.mark.parametrize("kind", PATHS)
@pytest.mark.parametrize("comes_back_to", ["gateway", "listener"])
def test_a_browser_signs_in(kind: str, comes_back_to: str, browser: Chromium, issuer: Issuer, tmp_path: Path) -> None:
    port = "${PORT}" if comes_back_to == "gateway" else free_port()

    with serve(tmp_path, settings_for(kind, issuer, port)) as gateway:
        browser.open(f"{gateway.url}/login")
        health = requests.get(f"{gateway.url}/health", timeout=5).json()

    assert browser.title == SUCCESS
    assert (str(gateway.port) in browser.address) == (comes_back_to == "gateway")
    assert holds_login(tmp_path, kind, issuer)
    assert health["authenticated"] is True


@pytest.mark.parametrize("kind", FILES)
def test_the_address_on_which_the_browser_ended_is_pasted(
    kind: str, browser: Chromium, issuer: Issuer, tmp_path: Path
) -> None:
    with serve(tmp_path, settings_for(kind, issuer, free_port())) as gateway:
        browser.open(f"{gateway.url}/login?paste")
        browser.type("[name=pasted]", browser.follow("main a", "code="))
        browser.click("button")

    assert browser.title == SUCCESS
    assert holds_login(tmp_path, kind, issuer)


def test_a_page_cannot_be_used_twice(browser: Chromium, issuer: Issuer, tmp_path: Path) -> None:
    with serve(tmp_path, settings_for("oca", issuer, "${PORT}")) as gateway:
        browser.open(f"{gateway.url}/login")
        browser.open(browser.address)

    assert browser.title == "Invalid Callback"
    assert "Invalid or expired state" in browser.text


def test_what_an_issuer_says_is_text_to_the_browser(browser: Chromium, issuer: Issuer, tmp_path: Path) -> None:
    said = "<script>document.title = 'owned'</script>"

    with serve(tmp_path, settings_for("oca", issuer, "${PORT}")) as gateway:
        browser.open(f"{gateway.url}/callback?error=access_denied&error_description={said}")

    assert browser.title == "Authentication Failed"
    assert said in browser.text


@pytest.mark.parametrize("kind", ["codex"])
def test_a_user_with_a_key_chooses_and_logs_out_again(
    kind: str, browser: Chromium, issuer: Issuer, tmp_path: Path
) -> None:
    server = f'[server]\napi_keys = ["{CLIENT_KEY}"]'
    tables = [settings_for(name, issuer, free_port()) for name in ("oca", "codex")]

    with serve(tmp_path, server, *tables) as gateway:
        browser.open(f"{gateway.url}/login")
        browser.type("[name=key]", CLIENT_KEY)
        browser.click("[value=codex]")
        signed_in = browser.title, holds_login(tmp_path, "codex", issuer)
        browser.open(f"{gateway.url}/logout")
        browser.type("[name=key]", CLIENT_KEY)
        browser.click("[value=codex]")

    assert signed_in == (SUCCESS, True)
    assert browser.title == "Logged Out"
    assert not holds_login(tmp_path, "codex", issuer)


def test_another_site_cannot_log_out(browser: Chromium, issuer: Issuer, tmp_path: Path) -> None:
    with serve(tmp_path, settings_for("oca", issuer, "${PORT}")) as gateway:
        form = f'<form method="post" action="{gateway.url}/logout"><button>Win a prize</button></form>'
        page = Reply((form.encode(),), headers={"content-type": "text/html"}, framing="length")
        with FakeUpstream(page) as other_site:
            browser.open(f"{gateway.url}/login")
            browser.open(other_site.url)
            browser.click("button")

    assert "another site's page sent this" in browser.text
    assert holds_login(tmp_path, "oca", issuer)


def test_the_command_opens_the_browser_and_hears_from_it(issuer: Issuer, tmp_path: Path) -> None:
    config = tmp_path / "dragoman.toml"
    config.write_text(settings_for("oca", issuer, free_port()))
    browser = shlex.join([str(PROGRAM), *OPTIONS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"])

    done = subprocess.run(
        [BIN / "dragoman", "login", "oca"],
        cwd=tmp_path,
        env=bare_environ(tmp_path / "home", BROWSER=f"{browser} %s"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert SUCCESS in done.stdout
    assert "Logged in to oca" in done.stdout
    assert holds_login(tmp_path, "oca", issuer)


@pytest.mark.parametrize("kind", ["anthropic"])
def test_the_command_takes_the_address_on_which_the_browser_ended(
    kind: str, browser: Chromium, issuer: Issuer, tmp_path: Path
) -> None:
    (tmp_path / "dragoman.toml").write_text(settings_for(kind, issuer, 0))
    with subprocess.Popen(
        [BIN / "dragoman", "login", "claude", "--no-browser"],
        cwd=tmp_path,
        env=bare_environ(tmp_path / "home"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as command:
        assert command.stdout is not None
        browser.open(next(line.strip() for line in command.stdout if line.startswith("http")))

        said, _ = command.communicate(f"{browser.address}\n", timeout=20)

    assert command.returncode == 0, said
    assert holds_login(tmp_path, kind, issuer)
