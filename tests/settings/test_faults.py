"""Errors that name what is wrong, and who may reach a gateway."""

from __future__ import annotations

from email.message import Message
from importlib import metadata
from pathlib import Path

import pytest

from app.settings import find_document
from tests.settings.loading import load, refused

WRONG = {
    "unknown section": ("[sever]\nport=1", "sever", "did you mean server?"),
    "unknown key": ("[server]\nprot=1", "server.prot", "did you mean port?"),
    "unknown provider key": ('[providers.openai]\nbase_ulr="x"', "providers.openai.base_ulr", "did you mean base_url?"),
    "unknown route key": (
        '[models.routes]\nx={target="a/b", max_ouput=1}',
        'models.routes."x".max_ouput',
        "max_output",
    ),
    "text for a number": ('[server]\nport="eighty"', "server.port", "a whole number, got text"),
    "port too high": ("[server]\nport=70000", "server.port", "65535"),
    "time of zero": ("[providers.openai]\nidle_timeout=0", "providers.openai.idle_timeout", "> 0"),
    "value for a table": ("server=1", "server", "table"),
    "text for a list": ('[server]\napi_keys="one"', "server.api_keys", "a list"),
    "value for a provider": ("[providers]\nx=1", "providers.x", "table"),
    "level that is none": ('[server]\nlog_level="loud"', "server.log_level", "debug, info, warn, error"),
    "text for a number that may be left out": (
        '[models.routes]\nx={target="a/b", max_output="many"}',
        'models.routes."x".max_output',
        "expected a whole number, got text",
    ),
    "profile that is none": ('[providers.openai]\nprofile="vlm"', "providers.openai.profile", "vllm"),
    "kind that is none": ('[providers.x]\nkind="opnai"', "providers.x.kind", "did you mean openai?"),
    "kind left out": ('[providers.x]\nbase_url="http://h"', "providers.x.kind", "oca, anthropic"),
    "dialect of another kind": (
        '[providers.anthropic]\ndialect="openai_chat"',
        "providers.anthropic.dialect",
        "anthropic_messages",
    ),
    "URL without scheme": ('[providers.openai]\nbase_url="localhost:1"', "providers.openai.base_url", "http://"),
    "name with a slash": ('[providers."a/b"]\nkind="demo"', "providers.a/b", "letters"),
    "route to nothing": ("[models.routes]\nx=[]", 'models.routes."x"', "target"),
    "strict and lenient": (
        '[models.routes]\nx={target="a/b", strict=true, lenient=true}',
        'models.routes."x"',
        "either",
    ),
    "no provider left": ("[server]\ndemo=false", "providers", "demo"),
}


@pytest.mark.parametrize(("file", "key", "said"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_refused_by_key(home: Path, file: str, key: str, said: str) -> None:
    error = refused(home, file)

    assert error.key == key
    assert said in str(error)


def test_an_unknown_key_in_a_variable_is_refused_too(home: Path) -> None:
    assert refused(home, DRAGOMAN__SERVER__PROT="1").key == "server.prot"


@pytest.mark.parametrize("variable", ["DRAGOMAN__SERVER__API_KEYS", "DRAGOMAN__MODELS__ROUTES"])
def test_broken_json_in_a_variable_names_the_variable(home: Path, variable: str) -> None:
    assert refused(home, **{variable: '["a"'}).key == variable


def test_a_configuration_that_cannot_be_looked_at_is_not_passed_over(home: Path) -> None:
    too_long = f"/{'x' * 300}"

    assert "cannot be read" in str(refused(home, XDG_CONFIG_HOME=too_long))


def test_credentials_that_cannot_be_looked_at_are_not_found(home: Path) -> None:
    too_long = f"/{'x' * 300}"

    settings = load(home, CLINE_DATA_DIR=too_long, CLAUDE_CONFIG_DIR=too_long, CODEX_HOME=too_long)

    assert set(settings.providers) == {"demo"}


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "gateway.example", "unix:/run/dragoman.sock"])
def test_other_machines_are_not_served_without_a_key(home: Path, host: str) -> None:
    assert refused(home, DRAGOMAN__SERVER__HOST=host).key == "server.api_keys"


@pytest.mark.parametrize("host", ["x86_64-conda-linux-gnu", "my-workstation", "gateway.example", "[::1", "10.0.0"])
def test_a_host_of_the_shell_that_is_no_address_is_ignored_and_said(
    home: Path, host: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = load(home, '[server]\nhost = "127.0.0.9"', HOST=host)

    assert settings.server.host == "127.0.0.9"
    assert f"HOST={host}" in caplog.text


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ("model_list:\n  - model_name: x\n", "LiteLLM"),
        ('{"Providers": [], "Router": {}}', "claude-code-router"),
        ('{"$schema": "https://opencode.ai/config.json"}', "opencode"),
        ('{"anything": 1}', "JSON"),
    ],
)
def test_the_file_of_another_program_is_known_as_such(home: Path, text: str, program: str) -> None:
    said = str(refused(home, text))

    assert program in said
    assert "dragoman config init" in said


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("openai", 'command = "helper"'),
        ("claude_cli", 'idcs_url = "https://issuer.example"'),
        ("openai", "cli_refresh = true"),
        ("anthropic", 'mode = "external"'),
        ("anthropic", "max_processes = 2"),
        ("demo", 'client_id = "x"'),
    ],
)
def test_a_setting_that_would_do_nothing_is_refused(home: Path, kind: str, line: str) -> None:
    error = refused(home, f'[providers.a]\nkind = "{kind}"\n{line}')

    assert error.key == f"providers.a.{line.partition(' ')[0]}"
    assert "has no effect" in str(error)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "::1", "localhost"])
def test_this_machine_is_served_without_a_key(home: Path, host: str) -> None:
    assert load(home, HOST=host).server.host == host


@pytest.mark.parametrize("more", [{"PROXY_API_KEY": "k"}, {"DRAGOMAN__SERVER__ALLOW_OPEN": "true"}])
def test_a_key_or_the_word_of_the_operator_opens_the_gateway(home: Path, more: dict[str, str]) -> None:
    assert load(home, HOST="0.0.0.0", **more).server.host == "0.0.0.0"


def test_all_faults_are_told_at_once_with_file_and_line(home: Path) -> None:
    file = """
port = 9000
[server]
prot = 1
workers = "many"
[providers.local]
kind = "opnai"
[providers."two"]
kind = "openai"
base_url = "localhost:1"
[models.routes]
"a*" = { target = "x/y", max_ouput = 3 }
"""

    error = refused(home, file)

    said = str(error).replace(str(home / "settings.toml"), "FILE").splitlines()
    assert said == [
        "FILE:2 port: there is no such setting; it belongs in [server]",
        "FILE:4 server.prot: there is no such setting; did you mean port?",
        "FILE:5 server.workers: expected a whole number, got text",
        "FILE:7 providers.local.kind: unknown kind 'opnai'; did you mean openai?",
        "FILE:10 providers.two.base_url: a URL must start with http:// or https:// and a host",
        'FILE:12 models.routes."a*".max_ouput: there is no such setting; did you mean max_output?',
    ]


def test_all_variables_that_are_not_set_are_told_at_once(home: Path) -> None:
    error = refused(home, '[providers.openai]\napi_key = "${ONE}"\nbase_url = "${TWO}"')

    assert [fault.key for fault in error.faults] == ["providers.openai.api_key", "providers.openai.base_url"]


def test_a_variable_that_is_not_set_hides_no_other_fault_and_is_told_once(home: Path) -> None:
    error = refused(
        home,
        '[server]\nprot = 1\nport = "${ONE}"\napi_keys = ["${TWO}"]\n'
        '[providers.local]\nkind = "openai"\nbase_url = "${THREE}"\nconnect_timeout = -1\n'
        '[keys.ana]\nkey = "dm-ana-0123456789"\nrole = "king"\nexpires = "tomorrow"\n',
    )

    assert {fault.key for fault in error.faults} == {
        *("server.port", "server.api_keys", "providers.local.base_url", "server.prot"),
        *("providers.local.connect_timeout", "keys.ana.role", "keys.ana.expires"),
    }
    assert len(error.faults) == 7


def test_a_file_with_the_mark_of_a_windows_editor_is_read(home: Path) -> None:
    assert load(home, "\ufeff[server]\r\nport = 7\r\n").server.port == 7


def test_a_command_may_be_text_or_a_list(home: Path) -> None:
    providers = load(home, '[providers.a]\nkind="claude_cli"\ncommand="claude"').providers
    assert providers["a"].command == ("claude",)

    providers = load(home, '[providers.a]\nkind="claude_cli"\ncommand=["claude", "-x"]').providers
    assert providers["a"].command == ("claude", "-x")


@pytest.mark.parametrize(
    ("links", "found"),
    [
        (
            ["Issues, https://git.example/issues", "Documentation, https://git.example/docs"],
            "https://git.example/docs/x.md",
        ),
        (["Issues, https://git.example/issues"], "docs/x.md"),
        ([], "docs/x.md"),
    ],
    ids=["a release", "without documentation", "a checkout"],
)
def test_a_document_is_found_where_the_installed_package_says(
    links: list[str], found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Message()
    for link in links:
        told["Project-URL"] = link
    monkeypatch.setattr(metadata, "metadata", lambda name: told)

    assert find_document("x.md") == found
