"""The pages in a real browser, offline: nothing is loaded from elsewhere, nothing breaks the policy, and anybody can
read them. Pictures of each page, and what axe finds, lie in $ARTIFACTS_DIR afterwards, or in `artifacts`; `make
screenshots` puts those that the documentation shows into `docs/screenshots`."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from app.accounts.accounts import Accounts
from app.settings import AccountsSettings
from tests.clients.chromium import DRIVER, PROGRAM, Chromium
from tests.clients.programs import AXE, install_modules
from tests.dashboard.sample import make_records
from tests.support.artifacts import artifacts_folder
from tests.support.clock import wait_until
from tests.support.gateway_process import BIN, GatewayProcess, bare_environ

pytestmark = pytest.mark.skipif(
    not (PROGRAM and DRIVER), reason="no browser on this machine (Debian's packages: chromium, chromium-driver)"
)

ROOT = Path(__file__).parents[2]
DOCUMENTED = ROOT / "docs" / "screenshots"
# Those that the documentation shows, where they are to be taken anew.
WRITTEN = (
    set(re.findall(r"screenshots/([\w-]+\.webp)", (ROOT / "docs" / "dashboard.md").read_text()))
    if os.environ.get("SCREENSHOTS") == "write"
    else set()
)
ROWS = 1500
FILE = """\
[server]
demo = true

[providers.anthropic]
kind = "anthropic"
base_url = "http://127.0.0.1:9"
api_key = "sk-ant-planted-0123456789"
models = ["claude-opus-4-5", "claude-sonnet-4-5-20250929"]
context_window = 200000

[providers.openai]
kind = "openai"
base_url = "http://127.0.0.1:9/v1"
api_key = "sk-planted-0123456789"
models = ["gpt-5.5-codex", "gpt-5.5-mini"]
context_window = 272000

[providers.local]
kind = "ollama"
base_url = "http://127.0.0.1:9"
models = ["qwen3-coder:30b"]
context_window = 131072
requests_per_minute = 60

[models]
default = "demo/demo"
small = "local/qwen3-coder:30b"   # near and cheap

[models.routes]
"gpt-5.5-codex" = "openai/gpt-5.5-codex"
"opus" = { target = "anthropic/claude-opus-4-5", max_output = 32000 }
"""
PAGES = {
    "overview": "/_/",
    "requests": "/_/requests",
    "sessions": "/_/sessions",
    "usage": "/_/usage",
    "models": "/_/models?try=opus",
    "permissions": "/_/permissions",
    "providers": "/_/providers",
    "keys": "/_/keys",
    "inspector": "/_/recording",
    "logs": "/_/logs",
    "settings": "/_/settings",
    "edit": "/_/settings/edit",
    "report": "/_/settings/bundle",
}
# Width and height of a desk and of a phone.
DESK, PHONE = (1280, 900), (390, 844)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("gateway")
    if WRITTEN:  # the pages show its path
        folder = Path(tempfile.gettempdir()) / "demo"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    (folder / "dragoman.toml").write_text(FILE)
    data = folder / "data" / "dragoman"
    accounts = Accounts(AccountsSettings(), f"sqlite:///{data}/ledger.sqlite3")
    for record in make_records(ROWS, time.time() - 60):
        accounts.take([record])
    accounts.close()
    with GatewayProcess(folder, XDG_RUNTIME_DIR=str(folder), XDG_DATA_HOME=str(folder / "data")) as process:
        yield process


@pytest.fixture(scope="module")
def browser(gateway: GatewayProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """Somebody who has signed in."""
    folder = gateway.log.parent
    environ = bare_environ(folder / "home", XDG_DATA_HOME=str(folder / "data"), PORT=str(gateway.port))
    command = [str(BIN / "dragoman"), "dashboard", "--no-browser"]
    url = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=True).stdout.strip()
    with Chromium(tmp_path_factory.mktemp("profile")) as browser:
        browser.open(url)
        yield browser


@pytest.fixture(scope="module")
def pages(gateway: GatewayProcess) -> dict[str, str]:
    """All pages, with one request that was recorded and one session."""
    folder = gateway.log.parent
    environ = bare_environ(folder / "home", XDG_DATA_HOME=str(folder / "data"))
    subprocess.run([str(BIN / "dragoman"), "record", "--for", "1h"], cwd=folder, env=environ, check=True)
    time.sleep(1.2)
    newest = requests.get(f"{gateway.url}/_/api/sessions", timeout=10).json()["sessions"]
    session = max(newest, key=lambda row: row["requests"])["session"]
    asked = ask(gateway)
    wait_until(lambda: requests.get(f"{gateway.url}/_/api/requests/{asked}", timeout=10).status_code == 200)
    time.sleep(1.0)
    return {**PAGES, "request": f"/_/requests/{asked}", "session": f"/_/sessions/show?session={session}"}


def ask(gateway: GatewayProcess, text: str = "What is the weather in Paris?") -> str:
    tool = {"name": "get_weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}
    body = {"model": "weather", "max_tokens": 100, "stream": True, "tools": [tool]}
    body["messages"] = [{"role": "user", "content": text}]
    answer = requests.post(f"{gateway.url}/v1/messages", json=body, timeout=10)
    assert answer.status_code == 200
    return answer.headers["x-request-id"]


def show(browser: Chromium, size: tuple[int, int], scheme: str) -> None:
    browser.resize(*size)
    browser.prefer(scheme)


def list_addresses(browser: Chromium) -> set[str]:
    """Where the browser has asked for anything since the last look."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.read_log("performance")]
    asked = (each["params"] for each in messages if each["method"] == "Network.requestWillBeSent")
    return {each["request"]["url"] for each in asked}


@pytest.mark.parametrize(("size", "scheme"), [(DESK, "light"), (DESK, "dark"), (PHONE, "light"), (PHONE, "dark")])
def test_each_page_is_whole_and_loads_nothing_from_elsewhere(
    gateway: GatewayProcess, browser: Chromium, pages: dict[str, str], size: tuple[int, int], scheme: str
) -> None:
    pictures = artifacts_folder("screenshots")
    show(browser, size, scheme)
    browser.read_log("performance")
    faults: list[Any] = []

    for name, page in pages.items():
        browser.open(gateway.url + page)
        kind = "phone" if size == PHONE else "desk"
        (pictures / f"{name}-{kind}-{scheme}.png").write_bytes(browser.take_picture())
        shown = {"desk-light": f"{name}.webp", "phone-dark": f"{name}-phone.webp"}.get(f"{kind}-{scheme}")
        if shown in WRITTEN:
            (DOCUMENTED / shown).write_bytes(browser.take_picture("webp"))
        faults += [(name, entry["message"]) for entry in browser.read_log("browser")]
        width = browser.run("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
        faults += [(name, f"{width} pixels too wide")] if width > 0 else []

    assert faults == []
    assert [url for url in list_addresses(browser) if not url.startswith((gateway.url, "data:"))] == []


def test_charts_are_drawn_from_the_tables_below_them(
    gateway: GatewayProcess, browser: Chromium, pages: dict[str, str]
) -> None:
    show(browser, DESK, "light")
    for page in ("/_/usage", "/_/requests?since=7d"):
        browser.open(gateway.url + page)

        assert browser.wait("return document.querySelectorAll('figure canvas').length") == 1
        assert browser.run("return document.querySelectorAll('figure tbody tr').length") > 5


def test_where_no_script_runs_nothing_is_shown_that_needs_one(
    gateway: GatewayProcess, browser: Chromium, pages: dict[str, str]
) -> None:
    show(browser, DESK, "light")
    browser.allow_scripts(False)
    try:
        for page in pages.values():
            browser.open(gateway.url + page)

            assert len(browser.text) > 200, page
            assert "Theme" not in browser.text, page
            assert "Pause" not in browser.text, page
    finally:
        browser.allow_scripts(True)


def test_a_line_of_the_log_opens_to_its_fields(
    gateway: GatewayProcess, browser: Chromium, pages: dict[str, str]
) -> None:
    browser.open(f"{gateway.url}/_/logs")
    browser.wait("return document.getElementById('said').textContent === 'live'")

    asked = ask(gateway)
    lines = f"[...document.querySelectorAll('#log > details')].filter((line) => line.textContent.includes('{asked}'))"
    browser.wait(f"return {lines}.length > 0")
    browser.run(f"{lines}[0].querySelector('summary').click()")

    assert browser.run(f"return {lines}[0].open")
    assert browser.run(f"return JSON.parse({lines}[0].querySelector('pre').textContent).id") == asked
    assert browser.run(f"return {lines}[0].querySelector('a').getAttribute('href')") == f"/_/requests/{asked}"


def test_lists_are_live(gateway: GatewayProcess, browser: Chromium, pages: dict[str, str]) -> None:
    show(browser, DESK, "light")
    browser.open(f"{gateway.url}/_/requests")
    browser.wait("return document.documentElement.dataset.live")
    time.sleep(1.0)  # what is there already is looked at once

    asked = ask(gateway)

    assert browser.wait(f"return document.querySelector('a[href=\"/_/requests/{asked}\"]') !== null")
    assert browser.run("return document.querySelectorAll('#rows > tr').length") > 10


def test_the_keyboard_gets_to_the_content_first(gateway: GatewayProcess, browser: Chromium) -> None:
    browser.open(f"{gateway.url}/_/")

    first = browser.run("return document.querySelector('a, button, input').textContent")

    assert first == "To the content"


def test_a_theme_that_was_chosen_stays(gateway: GatewayProcess, browser: Chromium) -> None:
    show(browser, DESK, "light")
    browser.open(f"{gateway.url}/_/")
    browser.run("document.getElementById('theme').click(); document.getElementById('theme').click();")

    browser.open(f"{gateway.url}/_/usage")
    theme = browser.run("return document.documentElement.dataset.theme")
    browser.run("localStorage.removeItem('theme')")

    assert theme == "dark"


@pytest.mark.parametrize(("size", "scheme"), [(DESK, "light"), (DESK, "dark"), (PHONE, "light")])
def test_axe_finds_no_serious_fault(
    gateway: GatewayProcess, browser: Chromium, pages: dict[str, str], size: tuple[int, int], scheme: str
) -> None:
    reports = artifacts_folder("axe")
    show(browser, size, scheme)
    program = (install_modules(AXE) / "axe-core" / "axe.min.js").read_text()
    found: list[str] = []

    for name, page in pages.items():
        browser.open(gateway.url + page)
        browser.run(program)
        browser.run("window.found = null; axe.run().then((all) => { window.found = all.violations; });")
        violations = browser.wait("return window.found && [window.found]")[0]
        kind = "phone" if size == PHONE else "desk"
        (reports / f"{name}-{kind}-{scheme}.json").write_text(json.dumps(violations, indent=2))
        for each in violations:
            if each["impact"] in ("serious", "critical"):
                places = [node["html"][:160] for node in each["nodes"][:3]]
                found.append(f"{name}: {each['id']}: {places}")

    assert found == []
