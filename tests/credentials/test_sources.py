"""Which credential is chosen, when several could be."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

from app.credentials.credential import Credential
from app.credentials.sources import endpoints_of, open_source
from app.credentials.tokens import Tokens
from app.errors import CredentialUnavailable
from app.settings import ProviderSettings
from tests.credentials.issuer import make_jwt

NESTED = json.dumps({"claudeAiOauth": {"accessToken": "from-file"}})


@dataclass(frozen=True)
class Case:
    """What there is, and the credential that is used: ("api_key" or "access_token", its value), or None."""

    id: str
    settings: dict[str, Any]
    environ: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    used: tuple[str, str] | None = None


CLAUDE_FILE = {".claude/.credentials.json": NESTED}
CREDS = json.dumps({"accessToken": "from-creds"})
KEY, TOKEN = {"ANTHROPIC_API_KEY": "key"}, {"CLAUDE_ACCESS_TOKEN": "token"}

CASES = [
    Case("claude-key-first", {"kind": "anthropic"}, KEY | TOKEN, CLAUDE_FILE, ("api_key", "key")),
    Case("claude-token-second", {"kind": "anthropic"}, TOKEN, CLAUDE_FILE, ("access_token", "token")),
    Case("claude-setup-token", {"kind": "anthropic"}, {"CLAUDE_CODE_OAUTH_TOKEN": "t"}, {}, ("access_token", "t")),
    Case(
        "claude-creds-third",
        {"kind": "anthropic"},
        {"CLAUDE_OAUTH_CREDS": CREDS},
        CLAUDE_FILE,
        ("access_token", "from-creds"),
    ),
    Case(
        "claude-creds-nested", {"kind": "anthropic"}, {"CLAUDE_OAUTH_CREDS": NESTED}, {}, ("access_token", "from-file")
    ),
    Case("claude-file-last", {"kind": "anthropic"}, {}, CLAUDE_FILE, ("access_token", "from-file")),
    Case(
        "claude-file-without-dot",
        {"kind": "anthropic"},
        {},
        {".claude/credentials.json": '{"token": "undotted"}'},
        ("access_token", "undotted"),
    ),
    Case(
        "claude-dot-name-first",
        {"kind": "anthropic"},
        {},
        CLAUDE_FILE | {".claude/credentials.json": '{"token": "undotted"}'},
        ("access_token", "from-file"),
    ),
    Case("claude-nothing", {"kind": "anthropic"}),
    Case("claude-pass-through", {"kind": "anthropic", "auth": "passthrough"}, KEY),
    Case("configured-key-before-all", {"kind": "anthropic", "api_key": "mine"}, KEY, CLAUDE_FILE, ("api_key", "mine")),
    Case("configured-token", {"kind": "oca", "access_token": "mine"}, {"OCA_TOKEN": "x"}, {}, ("access_token", "mine")),
    Case(
        "configured-file-before-environment",
        {"kind": "oca", "token_file": "HOME/given"},
        {"OCA_TOKEN": "x"},
        {"given": "from-given"},
        ("access_token", "from-given"),
    ),
    Case("oca-environment", {"kind": "oca"}, {"OCA_ACCESS_TOKEN": "t"}, {}, ("access_token", "t")),
    Case(
        "oca-named-file",
        {"kind": "oca"},
        {"OCA_ACCESS_TOKEN_FILE": "HOME/named"},
        {"named": "from-named", ".oca/token": "from-token"},
        ("access_token", "from-named"),
    ),
    Case(
        "cline-without-oca-is-passed-over",
        {"kind": "oca"},
        {},
        {".cline/data/secrets.json": '{"openAiApiKey": "sk"}', ".oca/token": "from-token"},
        ("access_token", "from-token"),
    ),
    Case(
        "cline-secrets",
        {"kind": "oca"},
        {},
        {".cline/data/secrets.json": '{"ocaApiKey": "cline"}', ".oca/token": "from-token"},
        ("access_token", "cline"),
    ),
    Case(
        "own-login-before-cline",
        {"kind": "oca"},
        {},
        {".oca/refresh_token.json": '{"access_token": "own"}', ".cline/data/secrets.json": '{"ocaApiKey": "cline"}'},
        ("access_token", "own"),
    ),
    Case(
        "codex-folder",
        {"kind": "codex"},
        {"CODEX_HOME": "HOME/other"},
        {"other/auth.json": '{"tokens": {"access_token": "codex"}}'},
        ("access_token", "codex"),
    ),
    Case("openai-key", {"kind": "openai"}, {"OPENAI_API_KEY": "sk"}, {}, ("api_key", "sk")),
    Case(
        "openai-key-for-its-own-host",
        {"kind": "openai", "base_url": "https://api.openai.com/v1"},
        {"OPENAI_API_KEY": "sk"},
        {},
        ("api_key", "sk"),
    ),
    Case(
        "openai-key-stays-away-from-others",
        {"kind": "openai", "base_url": "https://api.openai.com.example/v1"},
        {"OPENAI_API_KEY": "sk"},
    ),
    Case("unknown-kind-with-a-key", {"kind": "third_party", "api_key": "k"}, {}, {}, ("api_key", "k")),
    Case("unknown-kind-without", {"kind": "demo"}),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_first_credential_in_order_is_used(case: Case, tmp_path: Path) -> None:
    for name, text in case.files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    environ = {name: value.replace("HOME", str(tmp_path)) for name, value in case.environ.items()}
    settings = {name: value.replace("HOME", str(tmp_path)) for name, value in case.settings.items()}

    source = open_source(ProviderSettings(**settings), environ, tmp_path, requests.Session)

    if case.used is None:
        assert source is None
    else:
        assert source is not None
        assert getattr(source.snapshot(), case.used[0]) == case.used[1]


@pytest.mark.parametrize(("kind", "remedy"), [("oca", "dragoman login oca"), ("codex", "dragoman login codex")])
def test_no_login_at_all_says_how_to_get_one(kind: str, remedy: str, tmp_path: Path) -> None:
    source = open_source(ProviderSettings(kind=kind), {}, tmp_path, requests.Session)

    assert source is not None
    with pytest.raises(CredentialUnavailable, match=f"Not authenticated.*{remedy}"):
        source.snapshot()
    assert source.describe().kind == "none"


def test_claude_without_a_login_waits_for_one_where_the_clients_key_is_not_passed_on(tmp_path: Path) -> None:
    source = open_source(ProviderSettings(kind="anthropic", auth="configured"), {}, tmp_path, requests.Session)
    assert source is not None
    with pytest.raises(CredentialUnavailable, match="ANTHROPIC_API_KEY"):
        source.snapshot()

    (tmp_path / ".claude").mkdir()
    (tmp_path / ".claude" / ".credentials.json").write_text(NESTED)

    assert source.snapshot().access_token == "from-file"


def test_a_refused_key_is_final(tmp_path: Path) -> None:
    source = open_source(ProviderSettings(kind="anthropic"), {"ANTHROPIC_API_KEY": "key"}, tmp_path, requests.Session)

    assert source is not None
    with pytest.raises(CredentialUnavailable, match="ANTHROPIC_API_KEY was refused"):
        source.refresh(source.snapshot())


def test_a_status_tells_account_plan_and_expiry(tmp_path: Path) -> None:
    claims = {"https://api.openai.com/auth": {"chatgpt_account_id": "acc", "chatgpt_plan_type": "plus"}}
    path = tmp_path / "auth.json"
    path.write_text(json.dumps({"tokens": {"access_token": make_jwt(**claims), "refresh_token": "r"}}))
    source = open_source(ProviderSettings(kind="codex", credentials_file=str(path)), {}, tmp_path, requests.Session)
    assert source is not None

    status = source.describe()

    assert (status.kind, status.account, status.plan, status.renewable) == ("access_token", "acc", "plus", True)
    assert status.source == str(path)
    assert status.expires_at is not None


@dataclass(frozen=True)
class EndpointCase:
    id: str
    settings: dict[str, Any]
    audience: Any = None
    environ: dict[str, str] = field(default_factory=dict)
    token_url: str = ""
    client_id: str = ""


STAFF = "https://idcs-9dc693e80d9b469480d7afe00e743931.identity.oraclecloud.com/oauth2/v1/token"
STAFF_ID = "a8331954c0cf48ba99b5dd223a14c6ea"
CUSTOMERS = "https://login-ext.identity.oraclecloud.com/oauth2/v1/token"
CUSTOMERS_ID = "c1aba3deed5740659981a752714eba33"
OWN = "https://idcs-own.identity.oraclecloud.com"

ENDPOINT_CASES = [
    EndpointCase("staff-by-default", {"kind": "oca"}, None, {}, STAFF, STAFF_ID),
    EndpointCase("customers", {"kind": "oca", "mode": "external"}, None, {}, CUSTOMERS, CUSTOMERS_ID),
    EndpointCase("customers-by-environment", {"kind": "oca"}, None, {"OCA_MODE": "external"}, CUSTOMERS, CUSTOMERS_ID),
    EndpointCase("token-names-its-issuer", {"kind": "oca"}, ["urn:x", OWN], {}, f"{OWN}/oauth2/v1/token", "its-own"),
    EndpointCase("token-names-a-stranger", {"kind": "oca"}, "https://evil.example", {}, STAFF, STAFF_ID),
    EndpointCase(
        "token-names-a-lookalike", {"kind": "oca"}, "https://x.identity.oraclecloud.com.evil.example", {},
        STAFF, STAFF_ID,
    ),
    EndpointCase("mode-before-token", {"kind": "oca", "mode": "internal"}, OWN, {}, STAFF, STAFF_ID),
    EndpointCase(
        "configured-issuer", {"kind": "oca", "idcs_url": "http://127.0.0.1:1/"}, OWN, {},
        "http://127.0.0.1:1/oauth2/v1/token", STAFF_ID,
    ),
    EndpointCase(
        "configured-client", {"kind": "oca", "client_id": "mine"}, None, {}, STAFF, "mine"
    ),
    EndpointCase(
        "codex-override", {"kind": "codex"}, None, {"CODEX_REFRESH_TOKEN_URL_OVERRIDE": "http://127.0.0.1:1/t"},
        "http://127.0.0.1:1/t", "app_EMoamEEZ73f0CkXaXp7hrann",
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", ENDPOINT_CASES, ids=lambda case: case.id)
def test_an_issuer_is_the_configured_one_else_the_tokens_own_else_the_usual(case: EndpointCase) -> None:
    tokens = Tokens(access_token=make_jwt(aud=case.audience, client_id="its-own"))

    endpoints = endpoints_of(ProviderSettings(**case.settings), case.environ, tokens)

    assert (endpoints.token_url, endpoints.client_id) == (case.token_url, case.client_id)


def test_a_credential_shows_itself_without_its_secret() -> None:
    assert repr(Credential(api_key="sk-secret", source="s")) == (
        "Credential(api_key=<9 characters>, source='s', generation=0)"
    )
