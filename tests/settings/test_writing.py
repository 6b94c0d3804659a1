"""Settings that are shown and written: without secrets, and without a change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.settings import load_settings, masked, write_settings
from app.settings.differences import compare_files
from tests.settings.loading import OCA_PROXY, load, put

SECRETS = ("sk-secret-one", "sk-secret-two", "tok-secret-three", "hdr-secret-four", "hunter2")


FULL_OF_SECRETS = """
[server]
api_keys = ["sk-secret-one"]
proxies = { https = "http://me:hunter2@proxy.example" }
[providers.openai]
api_key = "sk-secret-two"
access_token = "tok-secret-three"
headers = { authorization = "hdr-secret-four" }
base_url = "http://me:hunter2@127.0.0.1/v1"
[ledger]
url = "postgresql://me:hunter2@db.example/x"
"""


@pytest.mark.parametrize("secret", SECRETS)
def test_no_repr_and_no_listing_tells_a_secret(home: Path, secret: str) -> None:
    settings = load(home, FULL_OF_SECRETS)
    shown = [repr(settings), repr(settings.server), repr(settings.providers), str(settings), f"{masked(settings)}"]

    assert [text for text in shown if secret in text] == []


def test_what_is_no_secret_stays_readable(home: Path) -> None:
    shown = masked(load(home, FULL_OF_SECRETS))

    assert shown["server"]["port"] == 8080
    assert shown["ledger"]["url"] == "postgresql://***@db.example/x"
    assert shown["providers"]["openai"]["headers"] == {"authorization": "***"}


MACHINES: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "nothing": ({}, {}),
    "a key": ({"ANTHROPIC_API_KEY": "sk-secret-one"}, {}),
    "two keys": ({"ANTHROPIC_API_KEY": "sk-secret-one", "OPENAI_API_KEY": "sk-secret-two"}, {}),
    "OCA with an address": ({"OCA_TOKEN": "tok-secret-three", "OCA_BASE_URL": "http://127.0.0.1:1/x"}, {}),
    "OCA's file": ({}, {".cline/data/secrets.json": {"ocaApiKey": "x"}}),
    "Claude's login": ({}, {".claude/.credentials.json": {}}),
    "Claude's login in a variable": ({"CLAUDE_OAUTH_CREDS": "{}"}, {}),
    "oca-proxy": ({}, {".oca/token": "abc", ".config/oca/oca-proxy.config.json": OCA_PROXY}),
    "a client key": ({"PROXY_API_KEY": "sk-secret-one", "OPENAI_API_KEY": "sk-secret-two"}, {}),
}


@pytest.mark.parametrize(("environ", "files"), MACHINES.values(), ids=MACHINES)
def test_a_written_file_changes_nothing_and_holds_no_secret(
    home: Path, environ: dict[str, str], files: dict[str, Any]
) -> None:
    for path, content in files.items():
        put(home / path, content)
    before = load(home, **environ)

    text = write_settings(before, environ, home)

    after = load(home, text, **environ)
    assert (after.server, after.providers, after.models) == (before.server, before.providers, before.models)
    assert [secret for secret in SECRETS if secret in text] == []


def test_a_written_file_keeps_what_another_file_says(home: Path) -> None:
    file = """
[server]
api_keys = ["$${literal"]
proxies = { https = "http://proxy:1" }
[providers."my.box"]
kind = "openai"
base_url = "http://127.0.0.1:9/v1"
headers = { "x-a" = "b" }
[models]
presets = ["openai-to-claude"]
default = "fast"
[models.routes]
fast = ["my.box/a", "my.box/b"]
"think*" = { target = "my.box/a", reasoning_effort = "high", strict = true }
[ledger]
ttl_days = 3
"""
    before = load(home, file)

    after = load(home, write_settings(before, {}, home))

    assert (after.server, after.providers, after.models, after.ledger) == (
        before.server,
        before.providers,
        before.models,
        before.ledger,
    )


def test_a_setting_is_read_under_its_old_name_too(tmp_path: Path) -> None:
    file = tmp_path / "dragoman.toml"
    file.write_text('[server]\nearly_head = 3.5\n[providers.p]\nkind = "openai"\nbase_url = "http://127.0.0.1:1/v1"\n')

    settings = load_settings(file, {}, {})

    assert settings.server.stream_start_timeout == 3.5


OLD_FILE = """
[server]
port = 8080
[providers.local]
base_url = "http://ana:first-password@127.0.0.1/v1"
api_key = "first-key-0123"
headers = { x-team = "team-secret-1" }
command = ["helper", "--token", "cli-secret"]
[models.routes]
"gpt*" = "local/m"
"""
NEW_FILE = (
    OLD_FILE.replace("8080", "9000")
    .replace("first-", "second-")
    .replace('"local/m"', '"local/n"')
    .replace("team-secret-1", "team-secret-2")
    .replace("cli-secret", "cli-other")
)


def test_two_files_are_compared_by_settings_and_without_secrets() -> None:
    lines = compare_files(OLD_FILE, NEW_FILE + '[keys.ana]\nkye = "dm-misspelt"\nrole = "admin"\n')

    assert [line for line in lines if "port" in line] == ["- server.port = 8080", "+ server.port = 9000"]
    assert '+ models.routes."gpt*" = "local/n"' in lines
    assert '+ keys.ana.role = "admin"' in lines
    assert '+ keys.ana.kye = "***"' in lines
    assert len([line for line in lines if "api_key" in line]) == 2
    assert [word for word in ("first-", "second-", "secret", "other", "misspelt") if word in "".join(lines)] == []
    assert compare_files(OLD_FILE, "[server") == []
