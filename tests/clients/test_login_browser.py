"""The logins through a real browser: Chromium without a window, against a stand-in issuer whose user says yes."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests

from tests.credentials.issuer import Issuer
from tests.support.gateway_process import GatewayProcess, free_port

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (Debian's package: chromium)")

FILES = {"oca": ".oca/refresh_token.json", "codex": ".codex/auth.json", "anthropic": ".claude/.credentials.json"}


@pytest.fixture(params=FILES)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def issuer(kind: str) -> Iterator[Issuer]:
    issuer = Issuer(kind)
    yield issuer
    issuer.stop()


@pytest.fixture
def gateway(kind: str, tmp_path: Path, issuer: Issuer) -> Iterator[GatewayProcess]:
    redirects = {"oca": "/callback", "codex": "/auth/callback"}
    lines = ['auth = "configured"', f'oauth_token_url = "{issuer.url}/token"']
    if kind == "anthropic":
        lines.append(f'oauth_authorize_url = "{issuer.url}/authorize"')
    else:
        redirect = f"http://localhost:{free_port()}{redirects[kind]}"
        lines += [f'idcs_url = "{issuer.url}"', f'redirect_uris = ["{redirect}"]']
    (tmp_path / "dragoman.toml").write_text(f"[providers.{kind}]\n" + "\n".join(lines))
    with GatewayProcess(tmp_path, XDG_RUNTIME_DIR=str(tmp_path)) as gateway:
        yield gateway


def browse(url: str, profile: Path) -> str:
    """The page on which the browser ends."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}", "--timeout=15000"]
    done = subprocess.run(
        [str(CHROMIUM), *options, "--dump-dom", url], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


def test_a_browser_signs_in(kind: str, gateway: GatewayProcess, issuer: Issuer, tmp_path: Path) -> None:
    page = browse(f"{gateway.url}/login", tmp_path / "profile")

    if kind == "anthropic":
        page = paste(page, gateway)
    assert "Login Successful!" in page
    assert issuer.newest in json.dumps(json.loads((tmp_path / "home" / FILES[kind]).read_text()))
    assert requests.get(f"{gateway.url}/health", timeout=5).json()["authenticated"] is True


def paste(page: str, gateway: GatewayProcess) -> str:
    """Sign in where the page's link leads, and send its form with the code that is shown there."""
    begun = page.split('href="', 1)[1].split('"', 1)[0].replace("&amp;", "&")
    shown = requests.get(begun, allow_redirects=False, timeout=5).headers["location"]
    form = {"state": dict(parse_qsl(urlsplit(begun).query))["state"], "pasted": shown}
    return requests.post(f"{gateway.url}/callback", data=form, timeout=5).text
