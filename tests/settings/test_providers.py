"""Routes and providers: what a kind and a name bring along."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.settings.loading import load, refused

ROUTES = {
    "text": ('"a/b"', ("a/b",)),
    "list": ('["a/b", "c/d"]', ("a/b", "c/d")),
    "table": ('{ target = "a/b" }', ("a/b",)),
    "table with fallback": ('{ target = "a/b", fallback = ["c/d"] }', ("a/b", "c/d")),
}


@pytest.mark.parametrize(("written", "targets"), ROUTES.values(), ids=ROUTES)
def test_a_route_is_written_in_three_ways(home: Path, written: str, targets: tuple[str, ...]) -> None:
    assert load(home, f"[models.routes]\nx = {written}").models.routes["x"].targets == targets


def test_a_route_carries_its_effort_and_limit(home: Path) -> None:
    file = '[models.routes]\nx = { target = "a/b", reasoning_effort = "high", max_output = 9, strict = true }'

    route = load(home, file).models.routes["x"]

    assert (route.reasoning_effort, route.max_output, route.strict, route.lenient) == ("high", 9, True, False)


def test_a_provider_named_like_its_kind_need_not_name_it(home: Path) -> None:
    assert load(home, "[providers.anthropic]").providers["anthropic"].kind == "anthropic"


DEMO = {
    "alone": ("", {}, True),
    "beside another provider": ("[providers.openai]", {}, False),
    "wanted beside another": ("[server]\ndemo=true\n[providers.openai]", {}, True),
    "unwanted": ("[server]\ndemo=false\n[providers.openai]", {}, False),
    "named by a route": ('[providers.openai]\n[models.routes]\nx="demo/demo"', {}, True),
    "named as the small model": ('[providers.openai]\n[models]\nsmall="demo/s"', {}, True),
    "configured beside another": ("[providers.openai]\n[providers.demo]", {}, True),
    "on a host with keys": ('[server]\napi_keys=["k"]', {}, False),
    "on a host with a key in the environment": ("", {"PROXY_API_KEY": "k"}, False),
    "on a host with keys that configures it": ('[server]\napi_keys=["k"]\n[providers.demo]', {}, True),
    "beside a found credential": ("", {"OPENAI_API_KEY": "k"}, False),
}


@pytest.mark.parametrize(("file", "environ", "there"), DEMO.values(), ids=DEMO)
def test_the_demo_is_offered_only_where_there_is_nothing_else_or_it_is_named(
    home: Path, file: str, environ: dict[str, str], there: bool
) -> None:
    settings = load(home, file, **environ)

    assert ("demo" in settings.providers) is there
    assert (settings.models.default == "demo/demo") is (list(settings.providers) == ["demo"])


BROUGHT = {
    "oca": ("[providers.oca]", ("oca/gpt-4.1", "oca/grok-code-fast-1", "oca/grok-code-fast-1")),
    "oca under another name": (
        '[providers.work]\nkind="oca"',
        ("work/gpt-4.1", "work/grok-code-fast-1", "work/grok-code-fast-1"),
    ),
    "openai": ("[providers.openai]", ("openai/gpt-5", "openai/gpt-5-mini", "openai/gpt-5")),
    "openai behind another address": (
        '[providers.openai]\nbase_url="http://127.0.0.1:9/v1"',
        ("openai/gpt-5", "openai/gpt-5-mini", "openai/gpt-5"),
    ),
    "anthropic": ("[providers.anthropic]", ("anthropic/claude-sonnet-4-6", None, None)),
    "the Claude program": ('[providers.c]\nkind="claude_cli"', ("c/claude-sonnet-4-6", None, None)),
    "codex": ("[providers.codex]", ("codex/gpt-5.5", None, None)),
    "any server": ('[providers.local]\nkind="openai"\nbase_url="http://127.0.0.1:9/v1"', (None, None, None)),
    "any server with a list": (
        '[providers.local]\nkind="openai"\nbase_url="http://127.0.0.1:9/v1"\nmodels=["a", "b"]',
        ("local/a", None, None),
    ),
    "a main model": ('[providers.openai]\ndefault_model="gpt-9"', ("openai/gpt-9", None, None)),
    "a list without the usual model": ('[providers.anthropic]\nmodels=["x"]', ("anthropic/x", None, None)),
    "Claude's names stay with who knows them": ("[providers.oca]\n[providers.anthropic]", ("oca/gpt-4.1", None, None)),
    "a default is a word": ('[providers.oca]\n[models]\ndefault="oca/x"', ("oca/x", None, None)),
    "a tier is one tier": (
        '[providers.oca]\n[models]\nsmall="oca/x"',
        ("oca/gpt-4.1", "oca/x", "oca/grok-code-fast-1"),
    ),
}


@pytest.mark.parametrize(("file", "models"), BROUGHT.values(), ids=BROUGHT)
def test_a_configured_kind_brings_its_models_along(
    home: Path, file: str, models: tuple[str | None, str | None, str | None]
) -> None:
    found = load(home, file).models

    assert (found.default, found.small, found.big) == models


def test_a_configured_provider_takes_the_address_that_the_environment_has(home: Path) -> None:
    environ = {
        "OCA_BASE_URL": "http://127.0.0.1:1/oca",
        "OCA_MODE": "external",
        "ANTHROPIC_API_BASE": "http://a.example",
    }

    plain = load(home, "[providers.oca]\n[providers.anthropic]", **environ).providers
    said = load(home, '[providers.oca]\nmode="internal"\n[providers.anthropic]\nbase_url="http://b.example"', **environ)

    assert (plain["oca"].base_url, plain["oca"].mode) == ("http://127.0.0.1:1/oca", "external")
    assert plain["anthropic"].base_url == "http://a.example"
    assert (said.providers["oca"].base_url, said.providers["oca"].mode) == (None, "internal")
    assert said.providers["anthropic"].base_url == "http://b.example"


TOKENS = {"no file": "", "a file that names another provider": "[providers.anthropic]", "its own": "[providers.oca]"}


@pytest.mark.parametrize("file", TOKENS.values(), ids=TOKENS)
def test_a_named_token_is_oracle_code_assist_wherever_its_file_lies(home: Path, file: str) -> None:
    overrides = {"providers": {"oca": {"token_file": "/elsewhere/token.json"}}}

    settings = load(home, file, overrides, OCA_BASE_URL="http://127.0.0.1:1/oca", OCA_TOKEN="of the environment")

    oca = settings.providers["oca"]
    assert (oca.token_file, oca.access_token) == ("/elsewhere/token.json", None)
    assert oca.base_url == "http://127.0.0.1:1/oca"
    if "anthropic" not in settings.providers:
        assert settings.models.default == "oca/gpt-4.1"
        assert settings.models.big == "oca/grok-code-fast-1"


SERVERS = {
    "as a kind": ('[providers.box]\nkind="ollama"', {}, ("http://127.0.0.1:11434/v1", "ollama", None)),
    "as a name": ("[providers.ollama]", {}, ("http://127.0.0.1:11434/v1", "ollama", None)),
    "at another address": ('[providers.ollama]\nbase_url="http://box:1/v1"', {}, ("http://box:1/v1", "ollama", None)),
    "under another spelling": ('[providers.x]\nkind="lm-studio"', {}, ("http://127.0.0.1:1234/v1", "lmstudio", None)),
    "a service with its key": (
        "[providers.openrouter]",
        {"OPENROUTER_API_KEY": "k"},
        ("https://openrouter.ai/api/v1", "openrouter", "k"),
    ),
    "a service with a key of the file": (
        '[providers.groq]\napi_key="mine"',
        {"GROQ_API_KEY": "k"},
        ("https://api.groq.com/openai/v1", None, "mine"),
    ),
    "a key stays with its service": (
        '[providers.deepseek]\nbase_url="http://elsewhere.example"',
        {"DEEPSEEK_API_KEY": "k"},
        ("http://elsewhere.example", "deepseek", None),
    ),
}


@pytest.mark.parametrize(("file", "environ", "expected"), SERVERS.values(), ids=SERVERS)
def test_a_known_server_is_configured_by_its_name(
    home: Path, file: str, environ: dict[str, str], expected: tuple[str, str | None, str | None]
) -> None:
    (provider,) = load(home, file, **environ).providers.values()

    assert provider.kind == "openai"
    assert (provider.base_url, provider.profile, provider.api_key) == expected


def test_a_misspelt_server_is_answered_with_its_name(home: Path) -> None:
    assert "did you mean ollama?" in str(refused(home, '[providers.x]\nkind="olama"'))
