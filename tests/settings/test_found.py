"""What the machine has, and what oca-proxy left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.settings.loading import OCA_PROXY, load, put

FOUND: dict[str, tuple[str, str, Any, dict[str, str]]] = {
    "Cline's secrets": ("oca", ".cline/data/secrets.json", {"ocaApiKey": "x"}, {}),
    "Cline's newer file": ("oca", ".cline/data/settings/providers.json", {"providers": {"oca": {"settings": {}}}}, {}),
    "OCA login": ("oca", ".oca/refresh_token.json", {"refresh_token": "x"}, {}),
    "OCA token text": ("oca", ".oca/token", "abc", {}),
    "Claude login": ("anthropic", ".claude/.credentials.json", {}, {}),
    "Claude login without the dot": ("anthropic", ".claude/credentials.json", {}, {}),
}


@pytest.mark.parametrize(("provider", "path", "content", "environ"), FOUND.values(), ids=FOUND)
def test_a_login_of_another_program_is_found(
    home: Path, provider: str, path: str, content: Any, environ: dict[str, str]
) -> None:
    file = put(home / path, content)

    settings = load(home, **environ)

    table = settings.providers[provider]
    # A file named for OCA would be written by the next login, whoever owns it.
    named = None if provider == "oca" else str(file)
    assert (table.token_file, table.credentials_file) == (None, named)
    assert [(each.provider, each.where) for each in settings.found] == [(provider, f"~/{path}")]


@pytest.mark.parametrize(("variable", "provider"), [("CLAUDE_OAUTH_CREDS", "anthropic"), ("OCA_REFRESH_TOKEN", "oca")])
def test_a_login_in_the_environment_is_found_alone(home: Path, variable: str, provider: str) -> None:
    settings = load(home, **{variable: "sk-secret-one"})

    assert list(settings.providers) == [provider]
    assert settings.found[0].where == variable


def test_an_anthropic_key_wins_over_a_token_and_a_token_over_a_login_file(home: Path) -> None:
    put(home / ".claude" / ".credentials.json", {})

    both = load(home, ANTHROPIC_API_KEY="k", CLAUDE_ACCESS_TOKEN="t").providers["anthropic"]
    token = load(home, CLAUDE_ACCESS_TOKEN="t").providers["anthropic"]

    assert (both.api_key, both.access_token, both.credentials_file) == ("k", None, None)
    assert (token.access_token, token.credentials_file) == ("t", None)


def test_the_token_file_of_the_working_folder_comes_first(home: Path, working_folder: Path) -> None:
    put(home / ".cline" / "data" / "secrets.json", {"ocaApiKey": "x"})
    here = put(working_folder / "secrets.json", {"access_token": "x"})

    assert load(home).providers["oca"].token_file == str(here)


def test_our_own_oca_login_comes_before_those_of_cline(home: Path) -> None:
    put(home / ".cline" / "data" / "secrets.json", {"ocaApiKey": "x"})
    put(home / ".oca" / "refresh_token.json", {"refresh_token": "x"})

    settings = load(home)

    assert settings.found[0].where == "~/.oca/refresh_token.json"


def test_a_file_with_other_providers_keys_only_is_not_taken_for_an_oca_login(home: Path) -> None:
    put(home / ".cline" / "data" / "secrets.json", {"openRouterApiKey": "x"})

    assert "oca" not in load(home).providers


def test_nothing_is_looked_for_once_a_provider_is_configured(home: Path) -> None:
    settings = load(home, "[providers.demo]", OPENAI_API_KEY="k")

    assert set(settings.providers) == {"demo"}
    assert settings.found == ()


def test_oca_alone_serves_every_name_as_its_users_know_it(home: Path) -> None:
    put(home / ".oca" / "token", "abc")

    models = load(home).models

    assert (models.default, models.small, models.big) == ("oca/gpt-4.1", "oca/grok-code-fast-1", "oca/grok-code-fast-1")


def test_claude_names_stay_with_anthropic_where_it_is_found_too(home: Path) -> None:
    put(home / ".oca" / "token", "abc")

    models = load(home, ANTHROPIC_API_KEY="k").models

    assert (models.default, models.small, models.big) == ("oca/gpt-4.1", None, None)


def test_a_codex_login_is_named_but_used_only_when_configured(home: Path) -> None:
    put(home / ".codex" / "auth.json", {})

    settings = load(home)

    assert [(each.provider, each.used) for each in settings.found] == [("codex", False)]
    assert "codex" not in settings.providers


@pytest.mark.parametrize("path", [".config/oca/oca-proxy.config.json", ".oca/oca-proxy-config.json"])
def test_the_configuration_of_oca_proxy_is_taken_over(home: Path, path: str) -> None:
    put(home / ".oca" / "token", "abc")
    put(home / path, OCA_PROXY)

    settings = load(home)

    oca = settings.providers["oca"]
    assert (oca.base_url, oca.idcs_url, oca.reasoning_effort) == (
        "http://127.0.0.1:1/oca",
        "http://127.0.0.1:2",
        "medium",
    )
    assert settings.models.default == "oca/gpt-5"
    assert settings.models.routes["gpt-4"].targets == ("oca/gpt-4.1",)
    assert settings.models.routes["claude-3-opus"].targets == ("oca/openai-o3",)
    assert settings.models.routes["claude-3-opus"].reasoning_effort == "high"
    assert (settings.server.log_level, settings.server.port) == ("warn", 8669)


def test_the_port_variable_wins_over_the_port_of_oca_proxy(home: Path) -> None:
    put(home / ".oca" / "token", "abc")
    put(home / ".config" / "oca" / "oca-proxy.config.json", OCA_PROXY)

    assert load(home, PORT="7").server.port == 7
