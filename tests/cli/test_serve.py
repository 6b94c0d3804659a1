"""`dragoman serve` up to the moment in which it becomes gunicorn: what it refuses, says and hands on."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest
from click.testing import Result

from app.settings import load_settings
from tests.cli.machine import Machine
from tests.credentials.issuer import make_jwt


class Replaced:
    """What the process was to become: program, arguments, and the environment at that moment."""

    def __init__(self) -> None:
        self.arguments: list[str] = []
        self.environ: dict[str, str] = {}

    def __call__(self, program: str, arguments: list[str]) -> None:
        self.arguments = [program, *arguments[1:]]
        self.environ = dict(os.environ)


@pytest.fixture
def replaced(monkeypatch: pytest.MonkeyPatch) -> Replaced:
    replaced = Replaced()
    monkeypatch.setattr("os.execv", replaced)
    return replaced


def started(result: Result, replaced: Replaced) -> str:
    assert result.exit_code == 0, result.output
    assert replaced.arguments
    return result.stdout


def refused(result: Result, replaced: Replaced) -> str:
    assert result.exit_code == 1
    assert replaced.arguments == []
    return result.stderr


# ---- what is handed on


def test_the_process_becomes_the_launch_script_without_the_working_folder_on_its_path(
    machine: Machine, replaced: Replaced, port: int
) -> None:
    result = machine.run("serve", "--port", str(port))

    started(result, replaced)
    assert replaced.arguments[1] == "-P"
    assert Path(replaced.arguments[2]).parts[-3:] == ("app", "server", "launch.py")
    assert Path(replaced.arguments[2]).is_file()
    assert replaced.arguments[3:] == []


def test_reload_is_handed_to_the_script(machine: Machine, replaced: Replaced, port: int) -> None:
    started(machine.run("serve", "--port", str(port), "--reload"), replaced)

    assert replaced.arguments[3:] == ["--reload"]


def test_every_option_reaches_the_settings_of_the_new_process(machine: Machine, replaced: Replaced, port: int) -> None:
    token = machine.write("t.json", '{"access_token": "opaque-token"}')
    options = f"--host 127.0.0.2 --port {port} --workers 3 --token t.json --small-model demo/s --big-model demo/b"

    result = machine.run("serve", *options.split(), "--log-level", "debug", "--allow-open")

    started(result, replaced)
    settings = load_settings(None, replaced.environ, {})
    server = settings.server
    assert (server.host, server.port, server.workers, server.log_level) == ("127.0.0.2", port, 3, "debug")
    assert server.allow_open
    assert (settings.models.small, settings.models.big) == ("demo/s", "demo/b")
    assert settings.providers["oca"].token_file == str(token)


def test_names_of_other_gateways_for_options_reach_the_settings(
    machine: Machine, replaced: Replaced, port: int
) -> None:
    machine.write("dragoman.toml", '[providers.up]\nkind = "openai"\napi_key = "sk-file"\n')
    options = ("--auth-token", "dm-of-the-command-01", "--plugin-setting", "up.idle_timeout=7")

    started(machine.run("serve", "-p", str(port), *options, "--plugin-setting", "up.api_key=sk-0001"), replaced)

    settings = load_settings(None, replaced.environ, {})
    assert settings.server.api_keys == ("dm-of-the-command-01",)
    assert (settings.providers["up"].idle_timeout, settings.providers["up"].api_key) == (7.0, "sk-0001")


def test_without_a_command_it_serves(machine: Machine, replaced: Replaced, port: int) -> None:
    started(machine.run(PORT=str(port)), replaced)


@pytest.mark.parametrize("given", ["up", "up=1", ".x=1", "up.=1", "up.idle_timeout=soon"])
def test_a_setting_of_a_provider_that_is_none_is_refused(machine: Machine, replaced: Replaced, given: str) -> None:
    machine.write("dragoman.toml", '[providers.up]\nkind = "openai"\napi_key = "sk-file"\n')

    assert "up" in refused(machine.run("serve", "--plugin-setting", given), replaced) or given.startswith(".")


def test_the_chosen_file_reaches_the_new_process(machine: Machine, replaced: Replaced, port: int) -> None:
    file = machine.write("mine.toml", f"[server]\nport = {port}\n[providers.demo]")

    started(machine.run("serve", "-c", "mine.toml"), replaced)

    assert replaced.environ["DRAGOMAN_CONFIG"] == str(file)
    assert load_settings(None, replaced.environ, {}).server.port == port


def test_the_token_belongs_to_the_configured_oca_provider(machine: Machine, replaced: Replaced, port: int) -> None:
    machine.write("dragoman.toml", '[providers.work]\nkind = "oca"\nmode = "external"')
    machine.write("t.json", '{"ocaApiKey": "opaque-token"}')

    started(machine.run("serve", "--port", str(port), "--token", "t.json"), replaced)

    providers = load_settings(None, replaced.environ, {}).providers
    assert set(providers) == {"work"}
    assert providers["work"].token_file == str(machine.folder / "t.json")


FIRST_STARTS = {
    "at a terminal": (True, "[providers.oca]", (), True),
    "in the background": (False, "[providers.oca]", (), False),
    "unwanted by flag": (True, "[providers.oca]", ("--no-browser",), False),
    "unwanted by setting": (True, "[server]\nopen_browser = false\n[providers.oca]", (), False),
    "with a token": (True, '[providers.oca]\naccess_token = "opaque-token"', (), False),
    "without such a provider": (True, "[providers.demo]", (), False),
}


@pytest.mark.parametrize(("terminal", "settings", "options", "opens"), FIRST_STARTS.values(), ids=FIRST_STARTS)
def test_the_login_page_is_opened_where_a_user_needs_it(
    machine: Machine,
    replaced: Replaced,
    port: int,
    monkeypatch: pytest.MonkeyPatch,
    terminal: bool,
    settings: str,
    options: tuple[str, ...],
    opens: bool,
) -> None:
    monkeypatch.setattr("app.cli.serving.serve.at_terminal", lambda: terminal)
    machine.write("dragoman.toml", settings)

    started(machine.run("serve", "--port", str(port), *options), replaced)

    assert replaced.arguments[3:] == (["--open", f"http://127.0.0.1:{port}/login"] if opens else [])


# ---- what it says


def test_the_screen_tells_all_that_a_newcomer_needs(machine: Machine, replaced: Replaced, port: int) -> None:
    screen = started(machine.run("serve", "--port", str(port), OPENAI_API_KEY="sk-secret"), replaced)

    assert "openai      credential from OPENAI_API_KEY" in screen
    assert "all other names     -> openai/gpt-5" in screen
    assert f"ANTHROPIC_BASE_URL=http://127.0.0.1:{port} ANTHROPIC_AUTH_TOKEN=any-text claude" in screen
    assert f"OPENAI_BASE_URL=http://127.0.0.1:{port}/v1 OPENAI_API_KEY=any-text" in screen
    assert f"Starting server on :{port}" in screen
    assert "sk-secret" not in screen
    assert len(screen.splitlines()) <= 24


def test_the_screen_names_the_key_where_keys_exist_only_by_command(
    machine: Machine, replaced: Replaced, port: int
) -> None:
    machine.run("keys", "create", "alice")

    screen = started(machine.run("serve", "--port", str(port)), replaced)

    assert "ANTHROPIC_AUTH_TOKEN=$DRAGOMAN_API_KEY claude" in screen
    assert "OPENAI_API_KEY=$DRAGOMAN_API_KEY" in screen
    assert "any-text" not in screen


def test_long_names_of_providers_keep_the_screen_in_columns(machine: Machine, replaced: Replaced, port: int) -> None:
    machine.write("dragoman.toml", '[providers.a-long-name-indeed]\nkind = "openai"\napi_key = "k"\n[providers.demo]')

    screen = machine.run("serve", "--port", str(port)).stdout

    assert "a-long-name-indeed credential from providers.a-long-name-indeed.api_key\n" in screen
    assert "demo               built in" in screen


def test_the_screen_says_that_the_token_was_loaded(machine: Machine, replaced: Replaced, port: int) -> None:
    machine.write("t.json", '{"access_token": "opaque-token"}')

    screen = started(machine.run("serve", "--port", str(port), "--token", "t.json"), replaced)

    assert "Successfully loaded new access token from t.json" in screen
    assert "opaque-token" not in screen


TOKENS = {
    "over, and nothing can renew it": ({"access_token": make_jwt(-3600)}, False, "oca         expired: "),
    "over, renewed when it is needed": (
        {"access_token": make_jwt(-3600), "refresh_token": "r"},
        True,
        "credential from",
    ),
    "valid": ({"access_token": make_jwt(3600)}, True, "credential from"),
}


@pytest.mark.parametrize(("login", "is_success", "said"), TOKENS.values(), ids=TOKENS)
def test_the_screen_says_of_a_token_what_the_status_says(
    machine: Machine, replaced: Replaced, port: int, login: dict[str, str], is_success: bool, said: str
) -> None:
    machine.write("t.json", json.dumps(login))

    screen = started(machine.run("serve", "--port", str(port), "--token", "t.json"), replaced)

    assert ("Successfully loaded new access token" in screen) is is_success
    assert said in screen


def test_the_screen_names_the_command_for_a_login_that_is_missing(
    machine: Machine, replaced: Replaced, port: int
) -> None:
    machine.write(
        "dragoman.toml", '[providers.work]\nkind = "oca"\n[providers.own]\nkind = "codex"\napi_key = "sk-secret"'
    )

    screen = started(machine.run("serve", "--port", str(port)), replaced)

    assert "work        no usable login; run: dragoman login work" in screen
    assert "own         credential from providers.own.api_key" in screen


@pytest.mark.parametrize(
    ("file", "variable"),
    [
        ("", "PROXY_API_KEY"),
        ("", "SECURITY__AUTH_TOKEN"),
        ('[keys.ana]\nkey = "${ANA_KEY}"\n', "ANA_KEY"),
        ('[server]\napi_keys = ["${TEAM_KEY}"]\n[keys.ana]\nkey = "dm-ana"\n', "TEAM_KEY"),
    ],
)
def test_the_screen_names_the_variable_that_holds_a_key(
    machine: Machine, replaced: Replaced, port: int, file: str, variable: str
) -> None:
    machine.write("dragoman.toml", f"{file}[providers.demo]\n")

    screen = started(machine.run("serve", "--port", str(port), **{variable: "dm-secret-0123456789"}), replaced)

    assert f"ANTHROPIC_AUTH_TOKEN=${variable} " in screen
    assert "dm-secret" not in screen


def test_the_screen_asks_for_a_key_where_all_keys_have_names(machine: Machine, replaced: Replaced, port: int) -> None:
    machine.write("dragoman.toml", '[keys.ana]\nkey = "dm-ana-0123456789"\n[providers.demo]\n')

    said = started(machine.run("serve", "-p", str(port)), replaced)

    assert "ANTHROPIC_AUTH_TOKEN=$DRAGOMAN_API_KEY" in said
    assert "dm-ana-0123456789" not in said


def test_a_wildcard_address_is_shown_as_one_that_can_be_called(machine: Machine, replaced: Replaced, port: int) -> None:
    screen = started(machine.run("serve", "--host", "0.0.0.0", "--port", str(port), "--allow-open"), replaced)

    assert f"http://127.0.0.1:{port}" in screen


# ---- what it refuses


def test_a_wrong_setting_is_named_on_standard_error(machine: Machine, replaced: Replaced) -> None:
    machine.write("dragoman.toml", "[server]\nprot = 1")

    said = refused(machine.run("serve"), replaced)

    assert "server.prot: there is no such setting; did you mean port?" in said


def test_a_route_to_a_provider_that_is_not_there_is_named(machine: Machine, replaced: Replaced) -> None:
    assert "models.small" in refused(machine.run("serve", "--small-model", "nowhere/m"), replaced)


def test_a_start_open_to_other_machines_is_refused(machine: Machine, replaced: Replaced) -> None:
    said = refused(machine.run("serve", "--host", "0.0.0.0"), replaced)

    assert "server.api_keys" in said
    assert "PROXY_API_KEY" in said


def test_a_port_in_use_is_named(machine: Machine, replaced: Replaced) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]

        said = refused(machine.run("serve", "--port", str(port)), replaced)

    assert f"server.port: 127.0.0.1:{port} is in use" in said


def test_an_address_of_another_machine_is_named(machine: Machine, replaced: Replaced) -> None:
    said = refused(machine.run("serve", "--host", "192.0.2.7", "--allow-open"), replaced)

    assert "192.0.2.7:8080 cannot be used" in said


TOKEN_FILES = {
    "missing": (None, "No such file"),
    "empty": ("\n", "empty"),
    "without a token": ('{"openRouterApiKey": "x"}', "access token not found in token file"),
    "broken": ('{"access_token": "x', "JSON"),
}


@pytest.mark.parametrize(("content", "cause"), TOKEN_FILES.values(), ids=TOKEN_FILES)
def test_a_token_file_of_no_use_is_fatal(machine: Machine, replaced: Replaced, content: str | None, cause: str) -> None:
    if content is not None:
        machine.write("secrets.json", content)

    said = refused(machine.run("serve", "--token", "secrets.json"), replaced)

    assert "FATAL: Could not perform initial load of token file secrets.json" in said
    assert cause in said


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_an_unreadable_token_file_is_fatal(machine: Machine, replaced: Replaced) -> None:
    machine.write("secrets.json", '{"access_token": "x"}').chmod(0)

    assert "Permission denied" in refused(machine.run("serve", "--token", "secrets.json"), replaced)


def test_a_folder_as_token_file_is_fatal(machine: Machine, replaced: Replaced) -> None:
    assert "FATAL: Could not perform" in refused(machine.run("serve", "--token", str(machine.folder)), replaced)


def test_a_model_that_answers_to_every_name_is_shown_as_such(machine: Machine, replaced: Replaced, port: int) -> None:
    screen = started(machine.run("serve", "--port", str(port)), replaced)

    assert "all names           -> demo/demo" in screen


def test_a_token_makes_the_start_of_the_first_recipe(machine: Machine, replaced: Replaced, port: int) -> None:
    machine.write("t.json", '{"access_token": "opaque-token"}')

    screen = started(machine.run("serve", "--port", str(port), "--token", "t.json"), replaced)

    assert "oca         credential from " in screen
    assert "names with haiku    -> oca/grok-code-fast-1" in screen
    assert "all other names     -> oca/gpt-4.1" in screen
    assert "demo" not in screen


def test_a_bare_model_beside_a_token_is_one_of_oracles(machine: Machine, replaced: Replaced, port: int) -> None:
    machine.write("t.json", '{"access_token": "opaque-token"}')

    started(machine.run("serve", "--port", str(port), "--token", "t.json", "--big-model", "gpt-4.1"), replaced)

    assert load_settings(None, replaced.environ, {}).models.big == "oca/gpt-4.1"


def test_help_has_its_short_option_here_too(machine: Machine) -> None:
    assert "Start the gateway" in machine.run("serve", "-h").stdout


@pytest.mark.parametrize("given", ["abc", "-1", "70000", "1.5"])
def test_a_port_that_is_none_is_refused_in_plain_words(machine: Machine, given: str) -> None:
    result = machine.run("serve", "--port", given)

    assert result.exit_code == 2
    assert f"'{given}' is not a whole number from 0 to 65535" in result.stderr


def test_lines_to_copy_fit_a_narrow_terminal(machine: Machine, replaced: Replaced) -> None:
    screen = started(machine.run("serve", "--port", "0"), replaced)

    assert max(len(line) for line in screen.splitlines() if "_BASE_URL=" in line) <= 80


def test_the_screen_shows_the_window_of_a_model(machine: Machine, replaced: Replaced, port: int) -> None:
    machine.write("dragoman.toml", '[providers.ollama]\ncontext_window = 32768\n[models]\ndefault = "ollama/qwen3:8b"')

    assert "-> ollama/qwen3:8b (32768 tokens)" in machine.run("serve", "--port", str(port)).stdout
