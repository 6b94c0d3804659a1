"""Every form of credential file that the field writes: read, rewritten in place, and cleared."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from app.credentials.formats import claude_file, codex_file, oca_file
from app.credentials.formats.login_format import LoginFormat
from app.credentials.tokens import Tokens
from tests.credentials.issuer import make_jwt

NOW = 1_790_000_000.0
JWT = make_jwt(client_id="client")
NEW = Tokens(access_token="access-new", refresh_token="refresh-new", id_token="id-new", expires_at=NOW + 3600)


@dataclass(frozen=True)
class Case:
    """A file's content, the tokens in it, and what it is after `NEW` was put into it."""

    id: str
    format: LoginFormat
    document: Any
    access: str | None
    refresh: str | None
    after: Any


def providers(**auth: Any) -> dict[str, Any]:
    settings = {"provider": "oca", "auth": auth, "oca": {"mode": "internal"}}
    return {"version": 1, "providers": {"oca": {"settings": settings, "tokenSource": "oauth"}, "x": {"settings": {}}}}


CASES = [
    Case(
        "cline-secrets",
        oca_file,
        {"ocaApiKey": JWT, "ocaRefreshToken": "r", "openAiApiKey": "keep"},
        JWT,
        "r",
        {"ocaApiKey": "access-new", "ocaRefreshToken": "refresh-new", "openAiApiKey": "keep"},
    ),
    Case("access-token-alone", oca_file, {"access_token": "opaque"}, "opaque", None, None),
    Case("older-name", oca_file, {"ocaAccessToken": "opaque", "ocaRefreshToken": "r"}, "opaque", "r", None),
    Case(
        "token-set-as-json-text",
        oca_file,
        {"ocaTokenSet": json.dumps({"accessToken": "a", "refreshToken": "r"})},
        "a",
        "r",
        {"ocaTokenSet": '{"accessToken":"access-new","refreshToken":"refresh-new"}'},
    ),
    Case(
        "cline-providers",
        oca_file,
        providers(accessToken=JWT, refreshToken="r", expiresAt=int(NOW * 1000), accountId="me"),
        JWT,
        "r",
        providers(
            accessToken="access-new", refreshToken="refresh-new", expiresAt=int((NOW + 3600) * 1000), accountId="me"
        ),
    ),
    Case("fork", oca_file, {"accessToken": "a", "refreshToken": "r"}, "a", "r", None),
    Case(
        "oca-proxy",
        oca_file,
        {"refresh_token": "r", "created_at": "2025-01-01T00:00:00Z"},
        None,
        "r",
        {"refresh_token": "refresh-new", "created_at": "2026-09-21T14:13:20.000Z", "access_token": "access-new"},
    ),
    Case(
        "token-reply",
        oca_file,
        {"access_token": "a", "refresh_token": "r", "id_token": "i", "_expires_at": NOW, "_cached_at": 1, "scope": "s"},
        "a",
        "r",
        {
            "access_token": "access-new",
            "refresh_token": "refresh-new",
            "id_token": "id-new",
            "_expires_at": NOW + 3600,
            "_cached_at": NOW,
            "scope": "s",
        },
    ),
    Case(
        "claude-nested",
        claude_file,
        {"claudeAiOauth": {"accessToken": "a", "refreshToken": "r", "expiresAt": 1, "rateLimitTier": "t"}, "mcp": 1},
        "a",
        "r",
        {
            "claudeAiOauth": {
                "accessToken": "access-new",
                "refreshToken": "refresh-new",
                "expiresAt": int((NOW + 3600) * 1000),
                "rateLimitTier": "t",
                "subscriptionType": None,
            },
            "mcp": 1,
        },
    ),
    Case("claude-flat", claude_file, {"access_token": "a", "refresh_token": "r"}, "a", "r", None),
    Case(
        "claude-flat-in-seconds",
        claude_file,
        {"token": "a", "refresh_token": "r", "expires_at": NOW},
        "a",
        "r",
        {"token": "access-new", "refresh_token": "refresh-new", "expires_at": int(NOW + 3600)},
    ),
    Case(
        "codex-nested",
        codex_file,
        {
            "auth_mode": "chatgpt",
            "OPENAI_API_KEY": None,
            "tokens": {"id_token": "i", "access_token": JWT, "refresh_token": "r", "account_id": "acc", "x": 1},
            "last_refresh": "2025-01-01T00:00:00.123456789Z",
            "agent_identity": {"keep": True},
        },
        JWT,
        "r",
        {
            "auth_mode": "chatgpt",
            "OPENAI_API_KEY": None,
            "tokens": {
                "id_token": "id-new",
                "access_token": "access-new",
                "refresh_token": "refresh-new",
                "account_id": "acc",
                "x": 1,
            },
            "last_refresh": "2026-09-21T14:13:20Z",
            "agent_identity": {"keep": True},
        },
    ),
    Case(
        "codex-flat-becomes-nested",
        codex_file,
        {"access_token": "a", "refresh_token": "r", "id_token": "i", "expires_at": NOW, "account_id": "acc"},
        "a",
        "r",
        {
            "tokens": {
                "id_token": "id-new",
                "access_token": "access-new",
                "refresh_token": "refresh-new",
                "account_id": "acc",
            },
            "auth_mode": "chatgpt",
            "last_refresh": "2026-09-21T14:13:20Z",
        },
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_tokens_are_found_in_every_form(case: Case) -> None:
    tokens = case.format.parse_login(json.dumps(case.document).encode())

    assert (tokens.access_token, tokens.refresh_token) == (case.access, case.refresh)


@pytest.mark.parametrize("case", [case for case in CASES if case.after], ids=lambda case: case.id)
def test_new_tokens_take_the_place_of_the_old_and_all_else_stays(case: Case) -> None:
    data = case.format.render_login(json.dumps(case.document).encode(), NEW, NOW)

    assert json.loads(data) == case.after


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_what_is_written_can_be_read(case: Case) -> None:
    data = case.format.render_login(json.dumps(case.document).encode(), NEW, NOW)

    tokens = case.format.parse_login(data)
    assert (tokens.access_token, tokens.refresh_token) == ("access-new", "refresh-new")


@pytest.mark.parametrize("file_format", [oca_file, claude_file, codex_file])
def test_a_new_file_can_be_read(file_format: LoginFormat) -> None:
    data = file_format.render_login(b"", NEW, NOW)

    tokens = file_format.parse_login(data)
    assert (tokens.access_token, tokens.refresh_token) == ("access-new", "refresh-new")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_cleared_file_holds_no_token(case: Case) -> None:
    data = case.format.clear_login(json.dumps(case.document).encode())

    assert b"accessToken" not in data
    assert b"refresh" not in data.lower()
    assert not data or JWT.encode() not in data


def test_clearing_keeps_what_belongs_to_others() -> None:
    data = oca_file.clear_login(b'{"ocaApiKey": "a", "ocaRefreshToken": "r", "openAiApiKey": "keep"}')

    assert json.loads(data) == {"openAiApiKey": "keep"}


@pytest.mark.parametrize("data", [b"opaque-token", b"opaque-token\n", b'"opaque-token"'])
def test_a_bare_token_is_a_token_file(data: bytes) -> None:
    assert oca_file.parse_login(data).access_token == "opaque-token"


def test_a_bare_token_stays_bare() -> None:
    assert oca_file.render_login(b"opaque-token", NEW, NOW) == b"access-new\n"


@pytest.mark.parametrize("length", [10, len(JWT) // 2, JWT.rindex(".") + 1])
def test_half_a_jwt_is_not_a_token(length: int) -> None:
    with pytest.raises(ValueError, match="truncated"):
        oca_file.parse_login(JWT[:length].encode())


@pytest.mark.parametrize(
    ("file_format", "data", "problem"),
    [
        (oca_file, b"", "it is empty"),
        (oca_file, b'{"ocaApiKey": "secret-val', "not valid JSON"),
        (oca_file, b'["secret-value"]', "is not a JSON object"),
        (oca_file, b'{"other": "secret-value"}', "expected 'access_token' or 'ocaApiKey'"),
        (oca_file, b'{"ocaApiKey": 5}', "expected 'access_token' or 'ocaApiKey'"),
        (oca_file, b"two words of secret-value", "not valid JSON"),
        (oca_file, b"\xff\xfe\x00", "it is UTF-16; save it as UTF-8"),
        (claude_file, b'{"claudeAiOauth": {"x": "secret-value"}}', "claudeAiOauth.accessToken"),
        (codex_file, b'{"tokens": {"x": "secret-value"}}', "tokens.access_token"),
    ],
)
def test_a_file_without_a_login_is_told_apart_and_never_quoted(
    file_format: LoginFormat, data: bytes, problem: str
) -> None:
    with pytest.raises(ValueError, match=problem) as caught:
        file_format.parse_login(data)

    assert "secret" not in str(caught.value)


def test_times_in_milliseconds_and_seconds_are_told_apart() -> None:
    nested = claude_file.parse_login(b'{"claudeAiOauth": {"accessToken": "a", "expiresAt": 1790000000000}}')
    flat = claude_file.parse_login(b'{"access_token": "a", "expires_at": 1790000000}')

    assert nested.expires_at == flat.expires_at == NOW


def test_codex_names_account_and_plan_and_when_its_owner_would_renew() -> None:
    claims = {"https://api.openai.com/auth": {"chatgpt_account_id": "acc", "chatgpt_plan_type": "plus"}}
    document = {"tokens": {"access_token": make_jwt(**claims)}, "last_refresh": "2026-09-21T14:13:20Z"}

    tokens = codex_file.parse_login(json.dumps(document).encode())

    assert (tokens.account, tokens.plan) == ("acc", "plus")
    assert tokens.renew_after == NOW + 8 * 86400


def test_a_personal_access_token_of_codex_is_never_renewed() -> None:
    tokens = codex_file.parse_login(b'{"auth_mode": "chatgpt", "personal_access_token": "at-1"}')

    assert (tokens.access_token, tokens.refresh_token) == ("at-1", None)


@pytest.mark.parametrize("form", [claude_file, oca_file], ids=["claude", "oca"])
@pytest.mark.parametrize("content", [b"ya29.one\n", b'"ya29.one"', b"  ya29.one"])
def test_a_file_that_holds_one_token_is_that_token(form: LoginFormat, content: bytes) -> None:
    assert form.parse_login(content).access_token == "ya29.one"


@pytest.mark.parametrize("content", [b"", b"two words", b"\xff\xfe", b"{", b"[1]"])
def test_a_file_that_holds_something_else_is_refused(content: bytes) -> None:
    # The words fit a variable and a keyring's entry as well as a file, whose name goes before them.
    with pytest.raises(ValueError, match=r"^(it |no access token in it )(?!.*\bfile\b)"):
        claude_file.parse_login(content)
