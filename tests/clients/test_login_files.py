"""Login files that we wrote, by a renewal or a login: the programs that they belong to go on with them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests

from app.credentials.oauth.login_flow import open_flow
from app.credentials.oauth.pending_login import read_pasted
from app.credentials.sources import open_source
from app.settings import ProviderSettings
from tests.clients.claude_code import ENVIRON, PROMPT
from tests.clients.programs import CLAUDE_CODE, CODEX, install_npm
from tests.clients.standins.anthropic_messages import AnthropicStandIn
from tests.clients.standins.openai_responses import ResponsesStandIn
from tests.clients.standins.scripted_model import ScriptedModel
from tests.clients.test_claude_code import READ_MARKER as RUN_BASH
from tests.clients.test_codex import READ_MARKER as RUN_COMMAND
from tests.clients.workspace import Workspace
from tests.credentials.issuer import Issuer, make_jwt

MakeLogin = Callable[[str], str]

# The programs look up accounts and news at their vendors; nobody answers there.
NO_NETWORK = {"HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"}

CODEX_CONFIG = """
model = "gpt-5.4"
model_provider = "standin"
check_for_update_on_startup = false
analytics.enabled = false
features.plugins = false
features.apps = false

[model_providers.standin]
name = "standin"
base_url = "{url}/v1"
wire_api = "responses"
requires_openai_auth = true
"""


class SubscriptionStandIn(AnthropicStandIn):
    """Admits the access token of a login, as the vendor does: as bearer, under a beta."""

    def __init__(self, token: str, script: ScriptedModel) -> None:
        super().__init__(script)
        self.token = token

    def is_proven(self, headers: dict[str, str]) -> bool:
        asked = "oauth-2025-04-20" in headers.get("anthropic-beta", "")
        return asked and headers.get("authorization") == f"Bearer {self.token}"


class ChatGptStandIn(ResponsesStandIn):
    """Admits the access token of a login, together with its account."""

    def __init__(self, token: str, script: ScriptedModel) -> None:
        super().__init__(script)
        self.token = token

    def is_proven(self, headers: dict[str, str]) -> bool:
        return headers.get("authorization") == f"Bearer {self.token}" and headers.get("chatgpt-account-id") == "acc-1"


# An expired login as its owner wrote it, by kind: where it is kept, and what is in it.
EXPIRED: dict[str, tuple[str, dict[str, Any]]] = {
    "anthropic": (
        ".claude/.credentials.json",
        {
            "claudeAiOauth": {
                "accessToken": "sk-ant-oat01-expired",
                "refreshToken": "refresh-secret-0",
                "expiresAt": 1_700_000_000_000,
                "scopes": ["user:inference", "user:profile"],
                "subscriptionType": "max",
                "rateLimitTier": None,
            },
            "mcpOAuth": {},
        },
    ),
    "codex": (
        ".codex/auth.json",
        {
            "auth_mode": "chatgpt",
            "OPENAI_API_KEY": None,
            "tokens": {
                "id_token": make_jwt(-100, email="me@example.com"),
                "access_token": make_jwt(-100),
                "refresh_token": "refresh-secret-0",
                "account_id": "acc-1",
            },
            "last_refresh": "2026-01-01T00:00:00Z",
        },
    ),
}


def renew(kind: str, issuer: Issuer, home: Path, environ: dict[str, str]) -> None:
    """An expired login is there, and a request has it renewed."""
    place, login = EXPIRED[kind]
    path = home / place
    path.parent.mkdir()
    path.write_text(json.dumps(login))
    source = open_source(
        ProviderSettings(kind=kind, oauth_token_url=f"{issuer.url}/token"), environ, home, requests.Session
    )
    assert source is not None
    source.snapshot()


def log_in(kind: str, issuer: Issuer, home: Path, environ: dict[str, str]) -> None:
    """Nothing is there, and a user logs in."""
    flow = open_flow(
        ProviderSettings(kind=kind, oauth_token_url=f"{issuer.url}/token"), environ, home, requests.Session
    )
    begun = flow.begin()
    came_back = issuer.authorize(dict(parse_qsl(urlsplit(begun.authorize_url).query)))
    flow.finish(read_pasted(came_back))


@pytest.fixture(params=[renew, log_in], ids=["renewed", "made"])
def make_login(request: pytest.FixtureRequest, workspace: Workspace, tmp_path: Path) -> Iterator[MakeLogin]:
    """Has our code write the login of a kind into the workspace's home; gives its access token."""
    issuers: list[Issuer] = []

    def make(kind: str) -> str:
        issuers.append(Issuer(kind))
        request.param(kind, issuers[-1], workspace.home, {"XDG_RUNTIME_DIR": str(tmp_path)})
        (token,) = issuers[-1].live
        return token

    yield make
    for issuer in issuers:
        issuer.stop()


def test_claude_says_that_it_is_logged_in(make_login: MakeLogin, workspace: Workspace) -> None:
    claude = install_npm(CLAUDE_CODE, "claude")
    make_login("anthropic")

    printed = workspace.run([claude, "auth", "status"], **ENVIRON, **NO_NETWORK)

    status = json.loads(printed)
    assert (status["loggedIn"], status["authMethod"]) == (True, "claude.ai")


def test_claude_works_with_our_token(make_login: MakeLogin, workspace: Workspace) -> None:
    claude = install_npm(CLAUDE_CODE, "claude")
    command = [str(claude), "-p", PROMPT, "--allowedTools", "Bash", "--no-session-persistence"]

    with SubscriptionStandIn(make_login("anthropic"), ScriptedModel(RUN_BASH)) as upstream:
        printed = workspace.run(command, ANTHROPIC_BASE_URL=upstream.url, **ENVIRON, **NO_NETWORK)

    assert printed.strip() == f"The tool said: {workspace.secret}"
    assert upstream.refused == []


def test_codex_says_that_it_is_logged_in(make_login: MakeLogin, workspace: Workspace) -> None:
    codex = install_npm(CODEX, "codex")
    make_login("codex")

    said = workspace.run(["sh", "-c", '"$0" login status 2>&1', codex], **NO_NETWORK)

    assert "Logged in using ChatGPT" in said


def test_codex_works_with_our_token(make_login: MakeLogin, workspace: Workspace) -> None:
    codex = install_npm(CODEX, "codex")
    flags = ["--skip-git-repo-check", "--ephemeral", "--sandbox", "danger-full-access"]
    command = [str(codex), "exec", *flags, "Tell what the marker says."]

    with ChatGptStandIn(make_login("codex"), ScriptedModel(RUN_COMMAND)) as upstream:
        (workspace.home / ".codex" / "config.toml").write_text(CODEX_CONFIG.format(url=upstream.url))
        printed = workspace.run(command, **NO_NETWORK)

    assert workspace.secret in printed
    assert upstream.refused == []
