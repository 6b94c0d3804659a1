"""What a machine has is found by the start and used by requests: both look in the same places."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import requests

from app.credentials.sources import open_source
from app.settings import load_settings
from app.settings.discovered.discovery import discover

OCA = '{"ocaApiKey": "used"}'
CLAUDE = json.dumps({"claudeAiOauth": {"accessToken": "used"}})

# Each alone on a machine: variables, and files below the home.
FOUND = {
    "CLAUDE_OAUTH_CREDS nested": ("anthropic", {"CLAUDE_OAUTH_CREDS": CLAUDE}, {}),
    "CLAUDE_OAUTH_CREDS flat": ("anthropic", {"CLAUDE_OAUTH_CREDS": '{"access_token": "used"}'}, {}),
    "CLAUDE_CREDENTIALS_PATH": ("anthropic", {"CLAUDE_CREDENTIALS_PATH": "HOME/creds"}, {"creds": CLAUDE}),
    "CLAUDE_CONFIG_DIR": ("anthropic", {"CLAUDE_CONFIG_DIR": "HOME/own"}, {"own/.credentials.json": CLAUDE}),
    "CLAUDE_ACCESS_TOKEN": ("anthropic", {"CLAUDE_ACCESS_TOKEN": "used"}, {}),
    "CLAUDE_CODE_OAUTH_TOKEN": ("anthropic", {"CLAUDE_CODE_OAUTH_TOKEN": "used"}, {}),
    "ANTHROPIC_API_KEY": ("anthropic", {"ANTHROPIC_API_KEY": "used"}, {}),
    "claude": ("anthropic", {}, {".claude/.credentials.json": CLAUDE}),
    "claude without a dot": ("anthropic", {}, {".claude/credentials.json": CLAUDE}),
    "claude in .config": ("anthropic", {}, {".config/claude/.credentials.json": CLAUDE}),
    "OCA_TOKEN": ("oca", {"OCA_TOKEN": "used"}, {}),
    "OCA_ACCESS_TOKEN": ("oca", {"OCA_ACCESS_TOKEN": "used"}, {}),
    "OCA_API_KEY": ("oca", {"OCA_API_KEY": "used"}, {}),
    "OCA_ACCESS_TOKEN_FILE bare": ("oca", {"OCA_ACCESS_TOKEN_FILE": "HOME/any"}, {"any": "used"}),
    "OCA_ACCESS_TOKEN_FILE object": ("oca", {"OCA_ACCESS_TOKEN_FILE": "HOME/any"}, {"any": OCA}),
    "OCA_CACHE_DIR": ("oca", {"OCA_CACHE_DIR": "HOME/cache"}, {"cache/token.json": '{"access_token": "used"}'}),
    "CLINE_DATA_DIR": ("oca", {"CLINE_DATA_DIR": "HOME/cline"}, {"cline/secrets.json": OCA}),
    "CLINE_PROVIDER_SETTINGS_PATH": (
        "oca",
        {"CLINE_PROVIDER_SETTINGS_PATH": "HOME/p.json"},
        {"p.json": '{"providers": {"oca": {"settings": {"auth": {"accessToken": "used"}}}}}'},
    ),
    "own login": ("oca", {}, {".oca/refresh_token.json": '{"access_token": "used"}'}),
    "bare token": ("oca", {}, {".oca/token": "used\n"}),
    "bare token with a byte order mark": ("oca", {}, {".oca/token": "\ufeffused\r\n"}),
    "codex with OCA": ("oca", {}, {".codex/oca-secrets.json": OCA}),
    "OPENAI_API_KEY": ("openai", {"OPENAI_API_KEY": "used"}, {}),
}


@pytest.mark.parametrize("case", FOUND)
def test_each_place_alone_is_found_and_used(case: str, tmp_path: Path) -> None:
    kind, variables, files = FOUND[case]
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        path.chmod(0o600)
    environ = {name: value.replace("HOME", str(tmp_path)) for name, value in variables.items()}
    environ |= {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}

    settings = load_settings(None, environ, {})

    assert [name for name in settings.providers if name != "demo"] == [kind]
    source = open_source(settings.providers[kind], environ, tmp_path, requests.Session, name=kind)
    assert source is not None
    assert source.snapshot().secret == "used"
    # One name for one source, at the start and later.
    where = next(finding.where for finding in settings.found if finding.provider == kind)
    assert source.describe().source == where.replace("~", str(tmp_path), 1)


HOSTILE = {"deep": "[" * 100_000, "deep object": '{"a":' * 100_000, "huge number": "9" * 5000, "binary": "\x00\x01"}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_an_odd_file_in_the_home_holds_nothing_and_breaks_nothing(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (".cline/data/secrets.json", ".config/oca/oca-proxy.config.json", ".oca/refresh_token.json"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (tmp_path / ".oca" / "token").write_text("used")
    monkeypatch.chdir(tmp_path)

    settings = load_settings(None, {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}, {})

    assert "oca" in settings.providers


CLINE = {"version": 1, "providers": {"oca": {"settings": {"auth": {"accessToken": "t"}, "oca": {"mode": "external"}}}}}
OCA_SETTINGS: dict[str, tuple[dict[str, str], dict[str, object], dict[str, str]]] = {
    "Cline's providers": ({}, {".cline/data/settings/providers.json": CLINE}, {"mode": "external"}),
    "older Cline": (
        {},
        {".cline/data/globalState.json": {"ocaMode": "external", "ocaBaseUrl": "http://x/oca"}},
        {"mode": "external", "base_url": "http://x/oca"},
    ),
    "internal is the default": ({}, {".cline/data/globalState.json": {"ocaMode": "internal"}}, {}),
    "own file, old names": (
        {},
        {".oca/config.json": {"client_id": "c", "idcs_url": "http://i"}},
        {"client_id": "c", "idcs_url": "http://i"},
    ),
    "own file, new names": (
        {},
        {
            ".oca/config.json": {"internal_client_id": "i", "external_client_id": "e", "client_id": "old"},
            ".cline/data/globalState.json": {"ocaMode": "external"},
        },
        {"client_id": "e", "mode": "external"},
    ),
    "odd values": (
        {},
        {".oca/config.json": {"client_id": 7, "idcs_url": "ftp"}, ".cline/data/globalState.json": []},
        {},
    ),
    "other names of the address": (
        {"OCA_ENDPOINT": "http://e", "OCA_API_BASE": "http://b"},
        {},
        {"base_url": "http://b"},
    ),
    "the environment wins": (
        {"OCA_BASE_URL": "http://env", "OCA_MODE": "internal"},
        {".cline/data/globalState.json": {"ocaMode": "external", "ocaBaseUrl": "http://file"}},
        {"base_url": "http://env", "mode": "internal"},
    ),
}


@pytest.mark.parametrize("case", OCA_SETTINGS)
def test_settings_of_other_clients_of_oracle_code_assist_are_used(case: str, tmp_path: Path) -> None:
    variables, files, wanted = OCA_SETTINGS[case]
    for name, content in ({".oca/token": "t"} | files).items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))

    found = discover(variables, tmp_path, tmp_path / "work").tables["providers"]["oca"]

    assert found == wanted
