"""Login files after our renewal: the programs that own them go on with the renewed tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

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


@pytest.fixture
def claude_login(workspace: Workspace, tmp_path: Path) -> Iterator[str]:
    login = {
        "accessToken": "sk-ant-oat01-expired",
        "refreshToken": "refresh-secret-0",
        "expiresAt": 1_700_000_000_000,
        "scopes": ["user:inference", "user:profile"],
        "subscriptionType": "max",
        "rateLimitTier": None,
    }
    path = workspace.home / ".claude" / ".credentials.json"
    yield from renew("anthropic", path, {"claudeAiOauth": login, "mcpOAuth": {}}, workspace.home, tmp_path)


@pytest.fixture
def codex_login(workspace: Workspace, tmp_path: Path) -> Iterator[str]:
    tokens = {
        "id_token": make_jwt(-100, email="me@example.com"),
        "access_token": make_jwt(-100),
        "refresh_token": "refresh-secret-0",
        "account_id": "acc-1",
    }
    login = {"auth_mode": "chatgpt", "OPENAI_API_KEY": None, "tokens": tokens, "last_refresh": "2026-01-01T00:00:00Z"}
    yield from renew("codex", workspace.home / ".codex" / "auth.json", login, workspace.home, tmp_path)


def renew(kind: str, path: Path, login: dict[str, Any], home: Path, runtime: Path) -> Iterator[str]:
    """Writes an expired login, has our code renew it, and gives the new access token."""
    path.parent.mkdir()
    path.write_text(json.dumps(login))
    path.chmod(0o600)
    issuer = Issuer(kind)
    settings = ProviderSettings(kind=kind, oauth_token_url=f"{issuer.url}/token")
    source = open_source(settings, {"XDG_RUNTIME_DIR": str(runtime)}, home)
    assert source is not None
    yield source.snapshot().secret
    issuer.stop()


def test_claude_says_that_it_is_logged_in(claude_login: str, workspace: Workspace) -> None:
    claude = install_npm(CLAUDE_CODE, "claude")

    printed = workspace.run([claude, "auth", "status"], **ENVIRON, **NO_NETWORK)

    status = json.loads(printed)
    assert (status["loggedIn"], status["authMethod"], status["subscriptionType"]) == (True, "claude.ai", "max")


def test_claude_works_with_the_renewed_token(claude_login: str, workspace: Workspace) -> None:
    claude = install_npm(CLAUDE_CODE, "claude")
    command = [str(claude), "-p", PROMPT, "--allowedTools", "Bash", "--no-session-persistence"]

    with SubscriptionStandIn(claude_login, ScriptedModel(RUN_BASH)) as upstream:
        printed = workspace.run(command, ANTHROPIC_BASE_URL=upstream.url, **ENVIRON, **NO_NETWORK)

    assert printed.strip() == f"The tool said: {workspace.secret}"
    assert upstream.refused == []


def test_codex_says_that_it_is_logged_in(codex_login: str, workspace: Workspace) -> None:
    codex = install_npm(CODEX, "codex")

    said = workspace.run(["sh", "-c", '"$0" login status 2>&1', codex], **NO_NETWORK)

    assert "Logged in using ChatGPT" in said


def test_codex_works_with_the_renewed_token(codex_login: str, workspace: Workspace) -> None:
    codex = install_npm(CODEX, "codex")
    flags = ["--skip-git-repo-check", "--ephemeral", "--sandbox", "danger-full-access"]
    command = [str(codex), "exec", *flags, "Tell what the marker says."]

    with ChatGptStandIn(codex_login, ScriptedModel(RUN_COMMAND)) as upstream:
        (workspace.home / ".codex" / "config.toml").write_text(CODEX_CONFIG.format(url=upstream.url))
        printed = workspace.run(command, **NO_NETWORK)

    assert workspace.secret in printed
    assert upstream.refused == []
